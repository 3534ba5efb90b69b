"""The answers of the API about messages, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape


class Mailbox(Shape, frozen=True):
    """A mailbox (a folder) of an account. `special_use` is what the mailbox is for (RFC
    6154), or None."""

    mailbox: str
    special_use: str | None
    messages: int
    unseen: int
    uidvalidity: str
    uidnext: int
    highestmodseq: int


class Mailboxes(Shape, frozen=True):
    """The mailboxes of an account, INBOX first."""

    items: list[Mailbox]


class MailAddress(Shape, frozen=True):
    """An address in a header field, as the message has it. Nobody has checked the address."""

    name: str | None
    address: str


class MessageAuthentication(Shape, frozen=True):
    """Results of SPF, DKIM and DMARC (RFC 8601), such as `pass`, as the filter of this instance
    wrote them. None: the filter has not said."""

    spf: str | None
    dkim: str | None
    dmarc: str | None


class Attachment(Shape, frozen=True):
    """A part of a message that is not shown as its text, and the URL of its content. `part` is its
    number as in IMAP, `size` the number of its bytes after decoding. `inline`: the message wants
    the part to be shown within its text."""

    part: str
    filename: str | None
    content_type: str
    size: int
    content_id: str | None
    inline: bool
    url: str


class ListedMessage(Shape, frozen=True, rename={"from_": "from"}):
    """A message in a list. What its sender chose is not checked. `flags` are those of IMAP;
    `preview` is the beginning of the text."""

    id: str
    mailbox: str
    uid: int
    from_: MailAddress | None
    to: tuple[MailAddress, ...]
    subject: str | None
    date: datetime | None
    received_at: datetime
    size: int
    flags: tuple[str, ...]
    preview: str
    has_attachments: bool


class Message(Shape, frozen=True, rename={"from_": "from"}):
    """A message. Everything in it but `authentication` and `spam` was chosen by its sender: nobody
    has checked it."""

    account_id: int
    address: str
    user_id: str
    message_id: str
    mailbox: str
    rfc_message_id: str | None
    in_reply_to: str | None
    references: tuple[str, ...]
    from_: MailAddress | None
    to: tuple[MailAddress, ...]
    cc: tuple[MailAddress, ...]
    reply_to: MailAddress | None
    delivered_to: str | None
    subject: str | None
    date: datetime | None
    received_at: datetime
    size: int
    text: str | None
    html: str | None
    text_truncated: bool
    html_truncated: bool
    attachments: tuple[Attachment, ...]
    raw_url: str
    authentication: MessageAuthentication | None
    spam: bool | None
    parse_error: str | None


class ShownMessageAnswer(Shape, frozen=True):
    message: Message


class EditedMessage(Shape, frozen=True):
    """A message after a change."""

    id: str
    mailbox: str
    flags: tuple[str, ...]


class ShownEditedMessageAnswer(Shape, frozen=True):
    message: EditedMessage


class DeletedMessage(Shape, frozen=True):
    """A message that was deleted, and its id in the Trash, or null."""

    id: str
    new_id: str | None


class DeletedMessages(Shape, frozen=True):
    """`mailbox` is where the deleted messages are now, or null."""

    mailbox: str | None
    deleted: list[DeletedMessage]
    not_found: list[str]


class Added(Shape, frozen=True):
    """A message that is new in the mailbox."""

    uid: int


class Updated(Shape, frozen=True):
    """A message whose flags have changed, and its flags now."""

    uid: int
    modseq: str
    flags: tuple[str, ...]


class Removed(Shape, frozen=True):
    """A message that is not in the mailbox any more."""

    uid: int


class Changes(Shape, frozen=True):
    """The changes since a token, by UID in ascending order."""

    added: list[Added]
    updated: list[Updated]
    removed: list[Removed]


class Synced(Shape, frozen=True):
    """What has changed in a mailbox, and the token for the next call. `reset`: the answer begins
    anew, so the client forgets what it has. `more`: the answer ends early, and the next call may
    have more changes."""

    mailbox: str
    uidvalidity: str
    token: str
    changes: Changes
    reset: bool
    more: bool


class SentMessage(Shape, frozen=True):
    """A message that is in Postfix's queue. `id` and `mailbox` are those of the copy; None if there
    is no copy, and `sent_copy` says why."""

    id: str | None
    mailbox: str | None
    rfc_message_id: str
    queued_at: datetime
    recipients: list[str]
    sent_copy: str


class SentMessageAnswer(Shape, frozen=True):
    message: SentMessage
