"""Setup links: making one, and the two routes without a key that the page of a link asks.

The base of a link is a setting and never a header (decision 0259).
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts import setup_links
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.api.context import PublicRequest, RequestContext, Result, Services, path_id, resolve_user
from postroom.api.decoding import NoQuery
from postroom.api.endpoints.account_views import SETUP_NOTE
from postroom.api.endpoints.client_settings import profile_of, settings_of
from postroom.api.fields import parse_password, raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT
from postroom.api.projections import timestamp
from postroom.api.route import PUBLIC, route
from postroom.auth.tokens import new_token
from postroom.db import Tx
from postroom.domains.client_settings import Server
from postroom.errors import FieldError
from postroom.mail_host import MailHost
from postroom.parameters import ExpiresIn, Password, SetupToken, UserId

DAY = 86400
NO_LINK = "This link is wrong, expired or used. Ask for a new one where you got it."


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class LinkBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    expires_in: ExpiresIn = DAY


class LinkAnswer(msgspec.Struct, frozen=True):
    """Only this answer has the link."""

    setup_url: str
    setup_expires_at: str
    note: str = SETUP_NOTE


class LookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: SetupToken


class LookAnswer(msgspec.Struct, frozen=True):
    address: str
    expires_at: str


class AcceptBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: SetupToken
    password: Password


class AcceptAnswer(msgspec.Struct, frozen=True):
    """What the owner enters in a mail client. `profile` is Apple's, without the password; null if
    neither IMAP nor POP3 is on."""

    address: str
    imap: list[Server]
    pop3: list[Server]
    submission: list[Server]
    managesieve: list[Server]
    profile: str | None


def url_of(services: Services, token: str) -> str:
    """The link of a token, which stands behind the # so that no server sees it."""
    return f"{services.public_url}/setup#{token}"


@route(
    "POST",
    "/v2/email-accounts/:id/setup-link",
    "accounts:write",
    "Make setup link",
    LinkAnswer,
    status=201,
    missing=NO_ACCOUNT,
)
async def create(context: RequestContext, query: UserQuery, body: LinkBody) -> Result:
    """Makes a link with which the owner sets the password, once. It ends an earlier link; the
    password in use stays until the link is used."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    token = new_token()

    def work(tx: Tx) -> Result:
        account = accounts.lock(tx, context.actor, id_, user_id)
        expires_at = setup_links.make(tx, context.actor, account, token, body.expires_in)
        return Result(LinkAnswer(url_of(context.services, token), timestamp(expires_at)), 201)

    return await context.write(work)


@route(
    "POST",
    "/setup/look",
    PUBLIC,
    "Look at setup link",
    LookAnswer,
    missing=NO_LINK,
    refuses=("too_many_requests",),
    is_kept=False,
)
async def look(request: PublicRequest, _query: NoQuery, body: LookBody) -> Result:
    """Shows the address of a setup link, and until when the link works."""
    found = await request.services.database.read(lambda tx: setup_links.find(tx, body.token))
    return Result(LookAnswer(found.address, timestamp(found.expires_at)))


@route(
    "POST",
    "/setup/accept",
    PUBLIC,
    "Use setup link",
    AcceptAnswer,
    missing=NO_LINK,
    refuses=("too_many_requests",),
    is_kept=False,
)
async def accept(request: PublicRequest, _query: NoQuery, body: AcceptBody) -> Result:
    """Sets the password that the owner chose, and uses the link up. Open sessions end."""
    services = request.services
    found = await services.database.read(lambda tx: setup_links.find(tx, body.token))
    problems: list[FieldError] = []
    password = parse_password(body.password, found, problems)
    raise_if_any(problems)
    stored = await services.hashers.hash_chosen(str(password))
    actor = Actor(
        found.organization_id,
        frozenset(),
        request_id=request.request_id,
        client_address=request.client_address,
    )
    context = RequestContext(services, actor, {}, "", b"")

    def work(tx: Tx) -> Result:
        account, ended = setup_links.accept(tx, actor, body.token, stored)
        answer = _settings(services.client_host(), account)
        return Result(
            answer,
            revoked_sessions=(ended,),
            payload_if_pending=answer,
            record_pending=lambda tx: accounts.record_pending_revocations(tx, actor, account, [ended]),
        )

    return await context.write(work)


def _settings(host: MailHost, account: Account) -> AcceptAnswer:
    known = settings_of(host, account)
    ways = (known.imap, known.pop3, known.submission, known.managesieve)
    return AcceptAnswer(account.address, *ways, profile_of(host, account))
