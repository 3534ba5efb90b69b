"""The endpoints that read the messages of an account. What they answer comes from strangers: it is
never shown as a page of this server.

The account is looked up first, so that nothing is revealed about a foreign account. A key of the
platform reads the messages of a suspended or disabled account too (decision 0303).
"""

import unicodedata
from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts import message_reads
from postroom.accounts.model import Account
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.problems import NO_ACCOUNT, NO_MESSAGE
from postroom.api.route import route
from postroom.errors import FieldError, Refused
from postroom.messages.interface import Content, Mailbox
from postroom.messages.message_ids import MessageId, message_id_of
from postroom.messages.pages import ListedMessage, Wanted
from postroom.messages.shown import INBOX, Place, ShownMessage, show
from postroom.parameters import (
    AfterUid,
    BeforeUid,
    Limit,
    MailboxName,
    MessageFrom,
    MessageQuery,
    MessageSince,
    MessageSubject,
    MessageTo,
    MessageUntil,
    Unseen,
    UserId,
)
from postroom.webhooks import passing_messages

LONGEST_TEXT = 1000
REFUSES = ("mail_off", "mail_unavailable")
# A browser that is led to a stranger's content saves it, and runs nothing of it (decision 0304).
HARMLESS = (
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
Tell = Callable[[], Awaitable[None]]
FLAG = Meta(extra_json_schema={"enum": ["true", "false"]})


class MailboxesQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class MessagesQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    mailbox: MailboxName = INBOX
    limit: Limit = 50
    before_uid: BeforeUid | UnsetType = UNSET
    after_uid: AfterUid | UnsetType = UNSET
    unseen: Annotated[Unseen[str], FLAG, Meta(examples=["true"])] = "false"
    from_: MessageFrom | UnsetType = UNSET
    to: MessageTo | UnsetType = UNSET
    subject: MessageSubject | UnsetType = UNSET
    since: MessageSince | UnsetType = UNSET
    until: MessageUntil | UnsetType = UNSET
    q: MessageQuery | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET


class OneMessageQuery(msgspec.Struct, frozen=True):
    mailbox: MailboxName = INBOX
    user_id: UserId | UnsetType = UNSET


class MailboxesAnswer(msgspec.Struct, frozen=True):
    """The mailboxes of an account, INBOX first."""

    items: list[Mailbox]


class MessagesAnswer(msgspec.Struct, frozen=True):
    """The newest messages first."""

    items: list[ListedMessage]
    limit: int


class MessageAnswer(msgspec.Struct, frozen=True):
    message: ShownMessage


@route(
    "GET",
    "/v2/email-accounts/:id/mailboxes",
    "messages:read",
    "List mailboxes",
    MailboxesAnswer,
    missing=NO_ACCOUNT,
    refuses=REFUSES,
)
async def get_mailboxes(context: RequestContext, query: MailboxesQuery) -> Result:
    """Lists the mailboxes (folders) of an account, with the number of their messages."""
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    account = await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
    return Result(MailboxesAnswer(await context.services.messages.mailboxes(account.id)))


@route(
    "GET",
    "/v2/email-accounts/:id/messages",
    "messages:read",
    "List messages",
    MessagesAnswer,
    missing=NO_MESSAGE,
    refuses=REFUSES,
)
async def get_page(context: RequestContext, query: MessagesQuery) -> Result:
    """Lists the messages of a mailbox, newest first, with the beginning of their text. With
    `after_uid` a page has the messages that come next. A page of a long search may be short: follow
    the `Link` header until there is none."""
    problems = text_problems(query.user_id)
    wanted = _wanted(query, problems)
    raise_if_any(problems)
    account, tell = await _account(context, query.user_id)
    found = await context.services.messages.page(account.id, wanted)
    if found.items:
        await tell()
    if found.next is None:
        return Result(MessagesAnswer(found.items, query.limit))
    cursor, uid = found.next
    headers = next_link(context, uid, query.limit, cursor)
    return Result(MessagesAnswer(found.items, query.limit), headers=tuple(headers.items()))


@route(
    "GET",
    "/v2/email-accounts/:id/messages/:message_id",
    "messages:read",
    "Get message",
    MessageAnswer,
    missing=NO_MESSAGE,
    refuses=REFUSES,
)
async def get(context: RequestContext, query: OneMessageQuery) -> Result:
    """Returns a message: its addresses, subject, texts and attachments. Everything in it was chosen
    by its sender. Reading a message does not mark it as read."""
    account, tell = await _account(context, query.user_id, query.mailbox)
    id_ = message_id_of(context.path["message_id"])
    found = await context.services.messages.get(account.id, query.mailbox, id_)
    place = Place(account.id, account.address, account.user_id, query.mailbox, id_.uidvalidity, id_.uid)
    await tell()
    return Result(MessageAnswer(show(place, found.parsed, found.received_at, context.services.public_url)))


@route(
    "GET",
    "/v2/email-accounts/:id/messages/:message_id/raw",
    "messages:read",
    "Get raw message",
    Content,
    missing=NO_MESSAGE,
    refuses=REFUSES,
    media="message/rfc822",
)
async def get_raw(context: RequestContext, query: OneMessageQuery) -> Result:
    """Returns a message byte for byte, as IMAP does."""
    account, tell = await _account(context, query.user_id, query.mailbox, is_link=True)
    id_ = message_id_of(context.path["message_id"])
    found = await _linked(context, account, query.mailbox, id_, context.services.messages.raw)
    await tell()
    return Result(found, headers=(*HARMLESS, disposition(f"{id_.uidvalidity}.{id_.uid}.eml")))


@route(
    "GET",
    "/v2/email-accounts/:id/messages/:message_id/attachments/:part",
    "messages:read",
    "Get attachment",
    Content,
    missing=NO_MESSAGE,
    refuses=REFUSES,
    media="application/octet-stream",
)
async def get_attachment(context: RequestContext, query: OneMessageQuery) -> Result:
    """Returns the content of an attachment, decoded. The message shows its type: here it is bytes,
    so that no browser runs it."""
    account, tell = await _account(context, query.user_id, query.mailbox, is_link=True)
    id_ = message_id_of(context.path["message_id"])
    part = context.path["part"]

    def read(account_id: int, mailbox: str, id_: MessageId) -> Awaitable[Content]:
        return context.services.messages.attachment(account_id, mailbox, id_, part)

    found = await _linked(context, account, query.mailbox, id_, read)
    await tell()
    return Result(found, headers=(*HARMLESS, disposition(found.filename or f"attachment-{part}")))


async def _linked(
    context: RequestContext,
    account: Account,
    mailbox: str,
    id_: MessageId,
    read: Callable[[int, str, MessageId], Awaitable[Content]],
) -> Content:
    """What a link in a delivery leads to: the message in its mailbox, or after it has left that, in
    the hidden account. Raises as `read`."""
    try:
        return await read(account.id, mailbox, id_)
    except Refused as error:
        if error.code != "not_found":
            raise
        held = await context.services.database.read(
            lambda tx: passing_messages.held(tx, account.organization_id, account.id, id_.uidvalidity, id_.uid)
        )
        if held is None:
            raise
    return await read(held.account_id, INBOX, MessageId(held.uidvalidity, held.uid))


async def _account(
    context: RequestContext, sent_user: str | UnsetType, mailbox: str = INBOX, *, is_link: bool = False
) -> tuple[Account, Tell]:
    problems = text_problems(sent_user)
    check_text(mailbox, "mailbox", problems)
    raise_if_any(problems)
    return await look_at(context, path_id(context), resolve_user(context.actor, sent_user), is_link=is_link)


async def look_at(
    context: RequestContext, id_: int, user_id: str | None, *, is_link: bool = False
) -> tuple[Account, Tell]:
    """The account, and a function that records that its messages are read. Links lead to hidden
    accounts too. Raises not_found."""
    look = partial(message_reads.look, actor=context.actor, id_=id_, user_id=user_id, is_link=is_link)
    account, is_told = await context.services.database.read(look)

    async def tell() -> None:
        """The event is written before anything of a message is sent."""
        if not is_told:
            work = partial(message_reads.tell, actor=context.actor, id_=id_, user_id=user_id, is_link=is_link)
            await context.services.database.write(work)

    return account, tell


def _wanted(query: MessagesQuery, problems: list[FieldError]) -> Wanted:
    """The messages that the query asks for. Any problems are added to `problems`."""
    if query.before_uid is not UNSET and query.after_uid is not UNSET:
        problems.append(FieldError("before_uid", "invalid", "Send either this or after_uid."))
    if query.unseen not in ("true", "false"):
        problems.append(FieldError("unseen", "invalid", "Use one of: true, false."))
    texts = {"mailbox": query.mailbox, "from": query.from_, "to": query.to, "subject": query.subject, "q": query.q}
    sent = {name: text for name, text in texts.items() if isinstance(text, str)}
    for name, text in sent.items():
        check_text(text, name, problems)
    return Wanted(
        mailbox=query.mailbox,
        limit=query.limit,
        before_uid=None if query.before_uid is UNSET else query.before_uid,
        after_uid=None if query.after_uid is UNSET else query.after_uid,
        unseen=query.unseen == "true",
        from_=sent.get("from"),
        to=sent.get("to"),
        subject=sent.get("subject"),
        since=_day(query.since, "since", problems),
        until=_day(query.until, "until", problems),
        text=sent.get("q"),
    )


def check_text(text: str, field: str, problems: list[FieldError]) -> None:
    """Adds the problem with a text that Dovecot gets to `problems`."""
    if not text or len(text) > LONGEST_TEXT or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        message = f"Use 1 to {LONGEST_TEXT} characters, without control characters."
        problems.append(FieldError(field, "invalid", message))


def _day(sent: str | UnsetType, field: str, problems: list[FieldError]) -> date | None:
    if sent is UNSET:
        return None
    try:
        found = date.fromisoformat(sent)
        if len(sent) == 10 and sent.isascii():
            return found
    except ValueError:
        pass
    problems.append(FieldError(field, "invalid", "Use a day, like 2027-01-31."))
    return None


def disposition(filename: str) -> tuple[bytes, bytes]:
    """The header that makes a browser save the content (RFC 6266)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in filename)
    value = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
    return b"content-disposition", value.encode()
