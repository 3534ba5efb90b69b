"""The routes under /mail, for clients that know only a mail token, a mailbox and UIDs. They mean
the account that the token was made for, or the default account of its user.

The other routes of messages say more, and take a token too.
"""

import msgspec

from postroom.accounts import mail_tokens
from postroom.accounts.model import Account
from postroom.api.context import RequestContext, Result
from postroom.api.decoding import NoQuery
from postroom.api.endpoints.messages import HARMLESS, REFUSES, Tell, check_text, disposition, look_at
from postroom.api.fields import raise_if_any
from postroom.api.problems import NO_MAIL
from postroom.api.route import route
from postroom.errors import FieldError
from postroom.messages.interface import Content
from postroom.messages.message_ids import ANY_UIDVALIDITY, LARGEST_NUMBER, MessageId
from postroom.messages.missing import no_message
from postroom.messages.shown import INBOX
from postroom.messages.sync import Changes, token_of
from postroom.messages.whole_message import WholeMessage
from postroom.parameters import AttachmentPart, MailboxName, SyncToken, Uid, UidValidity


class MailSyncBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mailbox: MailboxName = INBOX
    uidvalidity: UidValidity = ""
    token: SyncToken = ""


class MailMessageQuery(msgspec.Struct, frozen=True):
    uid: Uid
    mailbox: MailboxName = INBOX


class MailAttachmentQuery(msgspec.Struct, frozen=True):
    uid: Uid
    part: AttachmentPart
    mailbox: MailboxName = INBOX


class MailSyncAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has changed in a mailbox, and the token for the next call. With `more` the answer ends
    early, and the next call may have more changes."""

    mailbox: str
    uidvalidity: str
    token: str
    changes: Changes
    more: bool = False


@route(
    "POST",
    "/mail/sync",
    "messages:read",
    "Sync mailbox of token",
    MailSyncAnswer,
    missing=NO_MAIL,
    refuses=REFUSES,
    is_kept=False,
)
async def sync(context: RequestContext, _query: NoQuery, body: MailSyncBody) -> Result:
    """Tells which messages of a mailbox are new, changed or gone since the answer that had this
    token. Without a token, or with another `uidvalidity`, all messages are new."""
    _check_mailbox(body.mailbox)
    token = token_of(body.token)
    database = context.services.database
    account_id = await database.read(lambda tx: mail_tokens.meant(tx, context.actor))
    found = await context.services.messages.sync(account_id, body.mailbox, body.uidvalidity, token)
    return Result(MailSyncAnswer(found.mailbox, found.uidvalidity, found.token, found.changes, found.more))


@route("GET", "/mail/message", "messages:read", "Get message of token", WholeMessage, missing=NO_MAIL, refuses=REFUSES)
async def get_message(context: RequestContext, query: MailMessageQuery) -> Result:
    """Returns a message: its envelope and structure, its flags, and all of its text. Everything in
    it was chosen by its sender. Reading a message does not mark it as read."""
    account, tell = await _account(context, query.mailbox, query.uid)
    found = await context.services.messages.whole(account.id, query.mailbox, query.uid)
    await tell()
    return Result(found)


@route(
    "GET",
    "/mail/attachment",
    "messages:read",
    "Get attachment of token",
    Content,
    missing=NO_MAIL,
    refuses=REFUSES,
    media="application/octet-stream",
)
async def get_attachment(context: RequestContext, query: MailAttachmentQuery) -> Result:
    """Returns the content of an attachment, decoded, as bytes that no browser runs."""
    account, tell = await _account(context, query.mailbox, query.uid)
    id_ = MessageId(ANY_UIDVALIDITY, query.uid)
    found = await context.services.messages.attachment(account.id, query.mailbox, id_, query.part)
    await tell()
    return Result(found, headers=(*HARMLESS, disposition(found.filename or f"attachment-{query.part}")))


async def _account(context: RequestContext, mailbox: str, uid: int) -> tuple[Account, Tell]:
    """The account that the token means, and a function that records that its messages are read.
    Raises not_found."""
    _check_mailbox(mailbox)
    if uid > LARGEST_NUMBER:
        raise no_message("uid")
    account_id = await context.services.database.read(lambda tx: mail_tokens.meant(tx, context.actor))
    return await look_at(context, account_id, context.actor.user_id)


def _check_mailbox(mailbox: str) -> None:
    problems: list[FieldError] = []
    check_text(mailbox, "mailbox", problems)
    raise_if_any(problems)
