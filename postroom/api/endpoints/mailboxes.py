"""The endpoints that ask Dovecot about one account. The account is found first: nobody learns of
a foreign one."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT
from postroom.api.route import route
from postroom.mailboxes.interface import OpenSession
from postroom.parameters import UserId


class MailboxQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class UsageAnswer(msgspec.Struct, frozen=True):
    """How much mail there is, in all folders, and whether the Sieve script that runs now
    redirects mail."""

    id: int
    address: str
    used_bytes: int
    messages: int
    forwards_by_script: bool


class SessionsAnswer(msgspec.Struct, frozen=True):
    """Who is logged in now."""

    id: int
    address: str
    sessions: list[OpenSession]


@route(
    "GET",
    "/v2/email-accounts/:id/usage",
    "accounts:read",
    "Show usage",
    UsageAnswer,
    missing=NO_ACCOUNT,
    refuses=("mail_off", "mail_unavailable"),
)
async def usage(context: RequestContext, query: MailboxQuery) -> Result:
    """Says how large the mailbox of an account is, as Dovecot counts it now, and whether a
    script forwards its mail."""
    account = await _account(context, query)
    found = await context.services.mailboxes.usage(account.id)
    return Result(UsageAnswer(account.id, account.address, *msgspec.structs.astuple(found)))


@route(
    "GET",
    "/v2/email-accounts/:id/sessions",
    "accounts:read",
    "List open sessions",
    SessionsAnswer,
    missing=NO_ACCOUNT,
    refuses=("mail_off", "mail_unavailable"),
)
async def sessions(context: RequestContext, query: MailboxQuery) -> Result:
    """Lists the open sessions of an account: IMAP, POP3 and ManageSieve."""
    account = await _account(context, query)
    found = await context.services.mailboxes.sessions(account.id)
    return Result(SessionsAnswer(account.id, account.address, found))


async def _account(context: RequestContext, query: MailboxQuery) -> Account:
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    return await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
