"""Settings for mail clients: of an account, for a request with a key; of a domain, for the mail
clients themselves.

Without a key, no answer says whether an address exists. Every address of an active domain gets the
same answer, and any other domain gets a 404.
"""

import re

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.accounts.protocols import closed
from postroom.address import LONGEST_LOCAL_PART, Address, BadAddress, parse_local_part
from postroom.api.context import PublicRequest, RequestContext, Result, path_id, resolve_user
from postroom.api.decoding import NoQuery
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.host_header import domain_behind, domain_in, host_of
from postroom.api.problems import NO_ACCOUNT, NO_HOST
from postroom.api.route import PUBLIC, route
from postroom.domains import client_settings
from postroom.domains import commands as domains
from postroom.domains.client_settings import OUTLOOK, BadRequest, ClientSettings, Server
from postroom.errors import Refused, not_found
from postroom.mail_host import MailHost
from postroom.parameters import EmailAddress, UserId

XML = "application/xml; charset=utf-8"
_ATOMS = re.compile(r"[A-Za-z0-9!#$%'*+/=?^_`{|}~.-]+")  # without &, which must never appear in our XML documents


class AccountQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class AutoconfigQuery(msgspec.Struct, frozen=True):
    emailaddress: EmailAddress | UnsetType = UNSET


class SettingsAnswer(msgspec.Struct, frozen=True):
    """Each service lists its best option first. Only the answers of create and reset contain the
    password."""

    id: int
    address: str
    display_name: str | None
    imap: list[Server]
    pop3: list[Server]
    submission: list[Server]
    managesieve: list[Server]


def settings_of(host: MailHost, account: Account) -> ClientSettings:
    """The servers for the mail clients of an account, without the protocols that are off."""
    return client_settings.settings(host, account.address, closed(account.protocols_off))


def profile_of(host: MailHost, account: Account) -> str | None:
    """Apple's profile of an account, without the password; None if neither IMAP nor POP3 is on."""
    off = closed(account.protocols_off)
    return client_settings.profile(account.id, account.address, account.display_name, host, off)


@route(
    "GET",
    "/v2/email-accounts/:id/client-settings",
    "accounts:read",
    "Show client settings",
    SettingsAnswer,
    missing=NO_ACCOUNT,
)
async def get(context: RequestContext, query: AccountQuery) -> Result:
    """Shows which servers a mail client of the account uses; a protocol that is switched off has
    none."""
    account = await _account(context, query)
    known = settings_of(context.services.client_host(), account)
    ways = (known.imap, known.pop3, known.submission, known.managesieve)
    return Result(SettingsAnswer(account.id, account.address, account.display_name, *ways))


@route(
    "GET",
    "/v2/email-accounts/:id/client-settings.mobileconfig",
    "accounts:read",
    "Apple profile",
    str,
    missing=NO_ACCOUNT,
    refuses=("protocol_off",),
    media="application/x-apple-aspen-config",
)
async def get_profile(context: RequestContext, query: AccountQuery) -> Result:
    """Makes a configuration profile for iPhone, iPad and Mac: unsigned, without the password."""
    account = await _account(context, query)
    text = profile_of(context.services.client_host(), account)
    if text is None:
        raise Refused("protocol_off", "A profile is for IMAP or POP3, and both are switched off for this account.")
    name = f'attachment; filename="{account.address}.mobileconfig"'
    return Result(text, headers=((b"content-disposition", name.encode()),))


@route(
    "GET", "/mail/config-v1.1.xml", PUBLIC, "Autoconfig", str, missing=NO_HOST, refuses=("invalid_request",), media=XML
)
async def autoconfig(public_request: PublicRequest, query: AutoconfigQuery) -> Result:
    """Answers Thunderbird and other clients at `autoconfig.` before an active domain; any other
    Host is 404."""
    return await _autoconfig(public_request, query, domain_behind("autoconfig", host_of(public_request.headers)))


@route(
    "GET",
    "/.well-known/autoconfig/mail/config-v1.1.xml",
    PUBLIC,
    "Autoconfig at the site",
    str,
    missing=NO_HOST,
    refuses=("invalid_request",),
    media=XML,
)
async def autoconfig_of_site(public_request: PublicRequest, query: AutoconfigQuery) -> Result:
    """Gives the same answer at the domain itself, if its web site passes this path on, and at
    `autoconfig.` before the domain."""
    host = host_of(public_request.headers)
    return await _autoconfig(public_request, query, domain_behind("autoconfig", host) or domain_in(host))


@route(
    "POST",
    "/autodiscover/autodiscover.xml",
    PUBLIC,
    "Autodiscover",
    str,
    missing=NO_HOST,
    refuses=("invalid_request", "payload_too_large", "unsupported_media_type"),
    is_kept=False,
    media=XML,
    takes_xml=True,
)
async def autodiscover(public_request: PublicRequest, _query: NoQuery) -> Result:
    """Answers Outlook at `autodiscover.` before an active domain, at the domain itself and at
    the mail host."""
    try:
        request = client_settings.parse_autodiscover(public_request.body)
    except BadRequest:
        raise Refused("invalid_request", "Send a request of Autodiscover (POX) without a document type.") from None
    local_part, at, text = request.address.rpartition("@")
    domain, own, host = domain_in(text), public_request.services.client_host(), host_of(public_request.headers)
    if not at or domain is None or not _is_local_part(local_part) or request.schema not in ("", OUTLOOK):
        raise not_found()
    if host not in (own.name, domain, f"autodiscover.{domain}") or not await _is_active(public_request, domain):
        raise not_found()
    return Result(client_settings.autodiscover(_login_name(local_part, domain), own))


def _is_local_part(text: str) -> bool:
    """Whether the text could be a local part at some host (RFC 5321 4.1.2, an atom with dots). This
    does not reveal whether the address exists here."""
    return len(text) <= LONGEST_LOCAL_PART and _ATOMS.fullmatch(text) is not None


def _login_name(local_part: str, domain: str) -> str:
    """The login name for this address: without a +tag, and in canonical form if possible."""
    base = local_part.partition("+")[0] or local_part
    try:
        return str(Address(parse_local_part(base), domain))
    except BadAddress:
        return f"{base}@{domain}"


async def _autoconfig(public_request: PublicRequest, query: AutoconfigQuery, domain: str | None) -> Result:
    """The autoconfig answer for a domain. At the host that clients find through the MX of many
    domains, the email address in the query says which domain is meant."""
    own = public_request.services.client_host()
    if (
        query.emailaddress is not UNSET
        and host_of(public_request.headers) == f"autoconfig.{own.name.partition('.')[2]}"
    ):
        domain = domain_in(query.emailaddress.rpartition("@")[2])
    if domain is None or not await _is_active(public_request, domain):
        raise not_found()
    return Result(client_settings.autoconfig(domain, own))


async def _is_active(public_request: PublicRequest, domain: str) -> bool:
    return await public_request.services.database.read(lambda tx: domains.is_active(tx, domain))


async def _account(context: RequestContext, query: AccountQuery) -> Account:
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    return await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
