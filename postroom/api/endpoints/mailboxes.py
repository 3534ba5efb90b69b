"""The endpoints that ask Dovecot about one account. The account is looked up first, so that nothing
is revealed about a foreign account."""

from functools import partial

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts import sent_counts
from postroom.accounts.model import Account
from postroom.accounts.sent_counts import Sent
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT
from postroom.api.route import route
from postroom.mailboxes.interface import OpenSession
from postroom.parameters import UserId


class MailboxQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class UsageAnswer(msgspec.Struct, frozen=True):
    """The size of the mail in all folders, the quotas, whether the active Sieve script redirects
    mail, and what the account has sent."""

    id: int
    address: str
    used_bytes: int
    messages: int
    forwards_by_script: bool
    quota_bytes: int | None
    quota_messages: int | None
    over_quota: bool
    sent: Sent


class SessionsAnswer(msgspec.Struct, frozen=True):
    """The sessions that are open now."""

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
    """Shows the size of an account's mailbox, as Dovecot counts it now, its quotas, whether a
    script forwards its mail, and to how many recipients it has written in this hour and this day
    (UTC)."""
    account = await _account(context, query)
    found = await context.services.mailboxes.usage(account.id)
    return Result(
        UsageAnswer(
            account.id,
            account.address,
            **msgspec.structs.asdict(found),
            quota_bytes=account.quota_bytes,
            quota_messages=account.quota_messages,
            over_quota=account.over_quota_at is not None,
            sent=await context.services.database.read(partial(sent_counts.get, account=account)),
        )
    )


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
