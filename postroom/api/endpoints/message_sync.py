"""The endpoint that tells what has changed in a mailbox since the last call."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.endpoints.messages import REFUSES, check_text
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_MAILBOX
from postroom.api.route import route
from postroom.messages.shown import INBOX
from postroom.messages.sync import Synced, token_of
from postroom.parameters import MailboxName, SyncToken, UidValidity, UserId


class SyncQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class SyncBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mailbox: MailboxName = INBOX
    uidvalidity: UidValidity = ""
    token: SyncToken = ""
    user_id: UserId | UnsetType = UNSET


@route(
    "POST",
    "/v2/email-accounts/:id/messages/sync",
    "messages:read",
    "Sync mailbox",
    Synced,
    missing=NO_MAILBOX,
    refuses=REFUSES,
    is_kept=False,
)
async def sync(context: RequestContext, query: SyncQuery, body: SyncBody) -> Result:
    """Tells which messages of a mailbox are new, changed or gone since the answer that had this
    token, up to 10,000 in a call. Without a token, or with the `uidvalidity` of another mailbox,
    all messages are new."""
    problems = text_problems(query.user_id, body.user_id)
    check_text(body.mailbox, "mailbox", problems)
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    token = token_of(body.token)
    account = await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
    return Result(await context.services.messages.sync(account.id, body.mailbox, body.uidvalidity, token))
