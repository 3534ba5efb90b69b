"""The endpoints that ask Dovecot about one account. The account is found first: nobody learns of a foreign one."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.api.context import Answer, Call, path_id, sent_user
from postroom.api.fields import raise_for, text_problems
from postroom.mailboxes.interface import OpenSession


class MailboxQuery(msgspec.Struct, frozen=True):
    user_id: str | UnsetType = UNSET


class UsageAnswer(msgspec.Struct, frozen=True):
    """How much mail there is, in all folders, and whether the Sieve script that runs now redirects mail."""

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


async def usage(call: Call, query: MailboxQuery) -> Answer:
    """Says how large the mailbox of an account is, as Dovecot counts it now, and whether a script forwards its mail."""
    account = await _account(call, query)
    found = await call.services.mailboxes.usage(account.id)
    return Answer(UsageAnswer(account.id, account.address, *msgspec.structs.astuple(found)))


async def sessions(call: Call, query: MailboxQuery) -> Answer:
    """Lists the open sessions of an account: IMAP, POP3 and ManageSieve."""
    account = await _account(call, query)
    found = await call.services.mailboxes.sessions(account.id)
    return Answer(SessionsAnswer(account.id, account.address, found))


async def _account(call: Call, query: MailboxQuery) -> Account:
    raise_for(text_problems(query.user_id))
    id_, user_id = path_id(call), sent_user(call.actor, query.user_id)
    return await call.services.database.read(lambda tx: accounts.get(tx, call.actor, id_, user_id))
