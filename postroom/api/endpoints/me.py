"""The owner's page: the owner of an account signs in with its address and password, changes the
password, and sees and ends sessions.

The routes take the cookie of the page's session and no key (decision 0268). They are for a browser,
so they take no Idempotency-Key and no client calls them (decision 0270).
"""

import functools
import re

import msgspec

from postroom.accounts import commands as accounts
from postroom.accounts import owner_sessions
from postroom.accounts.model import Account
from postroom.actor import OWNER_SCOPE, Actor
from postroom.api.authentication import is_cross_site
from postroom.api.context import PublicRequest, RequestContext, Result, Services
from postroom.api.cookies import OWNER, csrf_token, end_session, session_token, set_session
from postroom.api.decoding import NoQuery
from postroom.api.endpoints.client_settings import profile_of, settings_of
from postroom.api.endpoints.mailboxes import SessionsAnswer
from postroom.api.fields import parse_password, raise_if_any
from postroom.api.route import PUBLIC, route
from postroom.auth.tokens import new_token
from postroom.db import Tx
from postroom.domains.client_settings import Server
from postroom.errors import FieldError, Refused, invalid
from postroom.mailboxes.interface import SignIn
from postroom.mailboxes.session_revocations import Ended
from postroom.parameters import NewPassword, OwnAddress, OwnPassword

WRONG = "The address or the password is wrong."
ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: OwnAddress
    password: OwnPassword


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    old: OwnPassword
    new: NewPassword


class OwnAccount(msgspec.Struct, frozen=True):
    """The owner's account."""

    address: str
    display_name: str | None


class OwnerAnswer(msgspec.Struct, frozen=True):
    """What the page needs: the account, what a mail client needs, and Apple's profile without the
    password, null if neither IMAP nor POP3 is on. Writes send `csrf_token` in x-csrf-token."""

    account: OwnAccount
    imap: list[Server]
    pop3: list[Server]
    submission: list[Server]
    managesieve: list[Server]
    profile: str | None
    csrf_token: str


class SignedOutAnswer(msgspec.Struct, frozen=True):
    ok: bool


class RenewedAnswer(msgspec.Struct, frozen=True):
    """The page's own session goes on with another token. `sessions_ended` is false where Dovecot
    does not answer now: the worker ends the sessions later."""

    ok: bool
    sessions_ended: bool
    csrf_token: str


@route(
    "POST",
    "/v2/me/session",
    PUBLIC,
    "Sign in as owner",
    OwnerAnswer,
    status=201,
    refuses=(
        "unauthorized",
        "account_not_active",
        "csrf_refused",
        "too_many_requests",
        "mail_off",
        "mail_unavailable",
    ),
    is_kept=False,
)
async def sign_in(request: PublicRequest, _query: NoQuery, body: SignInBody) -> Result:
    """Signs the owner of an account in with its address and its own password: no app password and
    no key works. Dovecot checks the password like that of a mail client."""
    if is_cross_site(request.headers):
        raise Refused("csrf_refused", "Only the page /me can sign in here.")
    services, token = request.services, new_token()
    # Dovecot logs the names that it refuses: a password typed as the address must not be one.
    is_address = ADDRESS.fullmatch(body.address)
    found = is_address and await services.mailboxes.sign_in(body.address, body.password, request.client_address)
    if not found:
        raise Refused("unauthorized", WRONG)
    if found.refusal is not None:
        raise Refused("account_not_active", found.refusal)
    # The organization is that of the account, which the transaction finds.
    actor = Actor(
        0,
        frozenset({OWNER_SCOPE}),
        request_id=request.request_id,
        client_address=request.client_address,
        account_id=found.account_id,
    )

    def work(tx: Tx) -> Result:
        account = owner_sessions.start(tx, actor, found.generation, token)
        return Result(_described(services, account, token), 201, set_session(request.headers, OWNER, token, None))

    return await services.database.write(work)


@route("DELETE", "/v2/me/session", OWNER_SCOPE, "Sign out", SignedOutAnswer, is_kept=False)
async def sign_out(context: RequestContext, _query: NoQuery) -> Result:
    """Ends the session of the page."""
    await context.services.database.write(lambda tx: owner_sessions.end(tx, context.actor))
    return Result(SignedOutAnswer(True), headers=end_session(OWNER))


@route("GET", "/v2/me", OWNER_SCOPE, "Show own account", OwnerAnswer)
async def get(context: RequestContext, _query: NoQuery) -> Result:
    """Shows the account of the session, and what a mail client needs."""
    account = await context.services.database.read(lambda tx: own_account(tx, context.actor))
    return Result(_described(context.services, account, session_token(context.headers, OWNER) or ""))


@route(
    "POST",
    "/v2/me/password",
    OWNER_SCOPE,
    "Change own password",
    RenewedAnswer,
    refuses=("account_not_active", "mail_off", "mail_unavailable"),
    is_kept=False,
)
async def change_password(context: RequestContext, _query: NoQuery, body: PasswordBody) -> Result:
    """Replaces the password by a chosen one. The old one no longer works and every other session
    has ended by the time of the answer. App passwords stay."""
    services = context.services
    account = await services.database.read(lambda tx: own_account(tx, context.actor))
    problems: list[FieldError] = []
    password = parse_password(body.new, account, problems, "new")
    raise_if_any(problems)
    found = await services.mailboxes.sign_in(account.address, body.old, context.actor.client_address or "")
    _check_own(found, account)
    stored = await services.hashers.hash_chosen(str(password))

    def work(tx: Tx) -> Result:
        return _renewed(tx, context, *accounts.set_password(tx, context.actor, account, stored))

    return await context.write(work)


@route(
    "GET",
    "/v2/me/sessions",
    OWNER_SCOPE,
    "List own sessions",
    SessionsAnswer,
    refuses=("mail_off", "mail_unavailable"),
)
async def sessions(context: RequestContext, _query: NoQuery) -> Result:
    """Lists the sessions of mail clients that are open now: IMAP, POP3 and ManageSieve."""
    account = await context.services.database.read(lambda tx: own_account(tx, context.actor))
    found = await context.services.mailboxes.sessions(account.id)
    return Result(SessionsAnswer(account.id, account.address, found))


@route("POST", "/v2/me/sessions/end", OWNER_SCOPE, "End own sessions", RenewedAnswer, is_kept=False)
async def end_sessions(context: RequestContext, _query: NoQuery) -> Result:
    """Ends every session of mail clients, and every other session of the page. Programs that know
    a password log in again."""

    def work(tx: Tx) -> Result:
        account = own_account(tx, context.actor)
        return _renewed(tx, context, *accounts.sign_out(tx, context.actor, account.id, None))

    return await context.write(work)


def own_account(tx: Tx, actor: Actor) -> Account:
    """The account of the session. Raises not_found if it was deleted meanwhile."""
    return accounts.get(tx, actor, actor.account_id or 0, None)


def _described(services: Services, account: Account, token: str) -> OwnerAnswer:
    host = services.client_host()
    return OwnerAnswer(
        OwnAccount(account.address, account.display_name),
        **msgspec.structs.asdict(settings_of(host, account)),
        profile=profile_of(host, account),
        csrf_token=csrf_token(token),
    )


def _check_own(found: SignIn | None, account: Account) -> None:
    """Raises a Refused unless this is the right password of the account."""
    if found is None or (found.account_id, found.generation) != (account.id, account.generation):
        raise _wrong_old()
    if found.refusal is not None:
        raise Refused("account_not_active", found.refusal)


def _wrong_old() -> Refused:
    return invalid(FieldError("old", "wrong", "This is not your password."))


def _renewed(tx: Tx, context: RequestContext, account: Account, ended: Ended) -> Result:
    """The result of a change that has ended every session, with a new one for this page."""
    token = new_token()
    owner_sessions.renew(tx, context.actor, own_account(tx, context.actor), token)
    done, pending = (RenewedAnswer(True, is_ended, csrf_token(token)) for is_ended in (True, False))
    record_pending = functools.partial(
        accounts.record_pending_revocations, actor=context.actor, account=account, ended=[ended]
    )
    return Result(
        done,
        headers=set_session(context.headers, OWNER, token, None),
        revoked_sessions=(ended,),
        payload_if_pending=pending,
        record_pending=record_pending,
    )
