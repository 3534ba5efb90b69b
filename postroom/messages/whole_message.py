"""A message as one JSON object: its envelope and structure (RFC 9051, 7.5.2), and all of its text.
The text is encoded piece by piece, so memory does not grow with the message."""

import codecs
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET, UnsetType

from postroom.messages.content import PIECE_BYTES
from postroom.messages.headers import Fields
from postroom.messages.parsed import MailAddress
from postroom.messages.structure import Part, Raw, Structure, scan

UTF_8, LATIN_1 = "utf-8", "latin-1"
OTHER_NAMES = {
    "from_": "from",
    "message_id": "messageId",
    "in_reply_to": "inReplyTo",
    "reply_to": "replyTo",
    "disposition_parameters": "dispositionParameters",
    "child_nodes": "childNodes",
    "body_structure": "bodyStructure",
}


class Envelope(msgspec.Struct, frozen=True, rename=OTHER_NAMES):
    """The header fields that tell most of a message, as its sender wrote them."""

    date: str | None
    subject: str | None
    message_id: str | None
    in_reply_to: str | None
    from_: tuple[MailAddress, ...]
    sender: tuple[MailAddress, ...]
    reply_to: tuple[MailAddress, ...]
    to: tuple[MailAddress, ...]
    cc: tuple[MailAddress, ...]
    bcc: tuple[MailAddress, ...]


class BodyPart(msgspec.Struct, frozen=True, omit_defaults=True, rename=OTHER_NAMES):
    """A part of a message. `part` is its number as in IMAP, which the outermost multipart lacks;
    `size` is the number of its encoded bytes."""

    type: str
    part: str | UnsetType = UNSET
    parameters: dict[str, str] = {}
    id: str | UnsetType = UNSET
    encoding: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    disposition: str | UnsetType = UNSET
    disposition_parameters: dict[str, str] = {}
    child_nodes: tuple["BodyPart", ...] = ()


class WholeMessage(msgspec.Struct, frozen=True, omit_defaults=True, rename=OTHER_NAMES):
    """A message. `rfc822` is all of it: its bytes as UTF-8, or if they are none, as Latin-1, which
    `rfc822_encoding` tells."""

    uid: int
    envelope: Envelope
    flags: tuple[str, ...]
    body_structure: BodyPart
    rfc822: str
    rfc822_encoding: str | UnsetType = UNSET


def encode(raw: Raw, uid: int, flags: Iterable[str]) -> tuple[int, Iterator[bytes]]:
    """Returns the size of a WholeMessage as JSON, and the JSON piece by piece."""
    found = scan(raw)
    encoding = UTF_8 if _is_utf_8(raw) else LATIN_1
    whole = WholeMessage(
        uid,
        _envelope(found.fields),
        tuple(sorted(flags)),
        _structure(found),
        "",
        UNSET if encoding == UTF_8 else encoding,
    )
    head, mark, rest = msgspec.json.encode(whole).rpartition(b'"rfc822":"')
    size = len(head) + len(mark) + sum(map(len, _texts(raw, encoding))) + len(rest)
    return size, _pieces(head + mark, _texts(raw, encoding), rest)


def _pieces(head: bytes, texts: Iterator[bytes], rest: bytes) -> Iterator[bytes]:
    yield head
    yield from texts
    yield rest


def _is_utf_8(raw: Raw) -> bool:
    try:
        for _ in _texts(raw, UTF_8):
            pass
    except UnicodeDecodeError:
        return False
    return True


def _texts(raw: Raw, encoding: str) -> Iterator[bytes]:
    """Yields the bytes as the inner of a JSON string."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for at in range(0, len(raw), PIECE_BYTES):
        end = at + PIECE_BYTES
        yield msgspec.json.encode(decoder.decode(raw[at:end], final=end >= len(raw)))[1:-1]


def _envelope(fields: Fields) -> Envelope:
    names = ("from", "sender", "reply-to", "to", "cc", "bcc")
    return Envelope(
        fields.date(),
        fields.text("subject"),
        fields.message_id(),
        next(iter(fields.ids("in-reply-to")), None),
        *map(fields.addresses, names),
    )


def _structure(found: Structure) -> BodyPart:
    leaves = {part.number: part for part in found.parts}
    return _multipart(found, leaves, "") if "" in found.multiparts else _leaf(found.parts[0])


def _multipart(found: Structure, leaves: dict[str, Part], prefix: str) -> BodyPart:
    """The multipart whose parts have numbers with this prefix."""
    children = []
    for number in (f"{prefix}{n}" for n in range(1, len(leaves) + len(found.multiparts) + 1)):
        if f"{number}." in found.multiparts:
            children.append(_multipart(found, leaves, f"{number}."))
        elif number in leaves:
            children.append(_leaf(leaves[number]))
        else:
            break
    return BodyPart(found.multiparts[prefix], prefix[:-1] or UNSET, child_nodes=tuple(children))


def _leaf(part: Part) -> BodyPart:
    charset = part.fields.parameter("content-type", "charset")
    encoding = (part.fields.first("content-transfer-encoding") or "").partition(";")[0].strip().lower()
    return BodyPart(
        part.content_type,
        part.number,
        parameters={"charset": charset} if charset else {},
        id=next(iter(part.fields.ids("content-id")), UNSET),
        encoding=encoding or "7bit",
        size=part.end - part.start,
        disposition=part.disposition or UNSET,
        disposition_parameters={"filename": part.filename} if part.filename else {},
    )
