"""A parsed message: the one shape in which the API and webhooks show a message."""

import msgspec


class MailAddress(msgspec.Struct, frozen=True):
    """An address in a header field, as the message has it. Nobody has checked the address."""

    name: str | None
    address: str


class Attachment(msgspec.Struct, frozen=True):
    """A part of a message that is not shown as its text. `part` is its number as in IMAP (RFC 9051,
    6.4.5), `size` the number of its bytes after decoding. `inline`: the message wants the part to
    be shown within its text."""

    part: str
    filename: str | None
    content_type: str
    size: int
    content_id: str | None
    inline: bool


class Authentication(msgspec.Struct, frozen=True):
    """Results of SPF, DKIM and DMARC (RFC 8601), such as `pass`, as the filter of this instance
    wrote them. None: the filter has not said."""

    spf: str | None
    dkim: str | None
    dmarc: str | None


class ParsedMessage(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a message says. Everything in it but `authentication` and `spam` was chosen by its
    sender.

    `date` is that of the header, in UTC. `text` and `html` have at most TEXT_BYTES bytes each
    (parser.py). `spam` is None if no filter has judged the message. `parse_error` says what could
    not be read; the rest is there.
    """

    rfc_message_id: str | None = None
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    from_: MailAddress | None = None
    to: tuple[MailAddress, ...] = ()
    cc: tuple[MailAddress, ...] = ()
    reply_to: MailAddress | None = None
    delivered_to: str | None = None
    subject: str | None = None
    date: str | None = None
    size: int = 0
    text: str | None = None
    html: str | None = None
    text_truncated: bool = False
    html_truncated: bool = False
    attachments: tuple[Attachment, ...] = ()
    authentication: Authentication | None = None
    spam: bool | None = None
    parse_error: str | None = None
