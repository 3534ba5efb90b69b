"""A message as the API answers it, and as webhooks send it."""

from urllib.parse import quote

import msgspec

from postroom.messages.parsed import Attachment, Authentication, MailAddress, ParsedMessage

INBOX = "INBOX"


class ShownAttachment(Attachment, frozen=True):
    """A part of a message that is not shown as its text, and the URL of its content. `part` is its
    number as in IMAP, `size` the number of its bytes after decoding. `inline`: the message wants
    the part to be shown within its text."""

    url: str


class ShownMessage(msgspec.Struct, frozen=True, rename={"from_": "from"}):
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
    date: str | None
    received_at: str
    size: int
    text: str | None
    html: str | None
    text_truncated: bool
    html_truncated: bool
    attachments: tuple[ShownAttachment, ...]
    raw_url: str
    authentication: Authentication | None
    spam: bool | None
    parse_error: str | None


class Place(msgspec.Struct, frozen=True):
    """Where a message is: the account, the mailbox (a folder), and the message's number there."""

    account_id: int
    address: str
    user_id: str
    mailbox: str
    uidvalidity: int
    uid: int

    @property
    def message_id(self) -> str:
        return f"{self.uidvalidity}.{self.uid}"

    def url(self, base: str, rest: str) -> str:
        """The URL of a part of the message; `base` is the API's URL, without a slash at its end."""
        query = "" if self.mailbox == INBOX else f"?mailbox={quote(self.mailbox, safe='')}"
        return f"{base}/v2/email-accounts/{self.account_id}/messages/{self.message_id}/{rest}{query}"


def show(place: Place, parsed: ParsedMessage, received_at: str, base: str) -> ShownMessage:
    """Returns the message with the URLs of its contents."""
    known = {name: getattr(parsed, name) for name in ParsedMessage.__struct_fields__ if name != "attachments"}
    attachments = tuple(
        ShownAttachment(**msgspec.structs.asdict(one), url=place.url(base, f"attachments/{one.part}"))
        for one in parsed.attachments
    )
    return ShownMessage(
        account_id=place.account_id,
        address=place.address,
        user_id=place.user_id,
        message_id=place.message_id,
        mailbox=place.mailbox,
        received_at=received_at,
        attachments=attachments,
        raw_url=place.url(base, "raw"),
        **known,
    )
