"""Reads a message: bytes in, ParsedMessage out. Nothing that a stranger sends raises an error here,
takes long, or needs much memory."""

import re
from collections.abc import Iterator
from itertools import islice

import msgspec

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN, RECIPIENT_HEADER
from postroom.messages import content
from postroom.messages.charsets import decode
from postroom.messages.headers import Fields
from postroom.messages.parsed import Attachment, Authentication, ParsedMessage
from postroom.messages.structure import Part, Raw, scan

# Largest number of bytes, as UTF-8, of `text` and of `html`; and of their encoded bytes that are
# read for that.
TEXT_BYTES = 256 * 1024
ENCODED_BYTES = 8 * TEXT_BYTES
BODIES = ("text/plain", "text/html")
_RESULT = re.compile(r"^\s*(spf|dkim|dmarc)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)", re.IGNORECASE)
_FOR = re.compile(r"\bfor <([^<>@\s]+@[^<>@\s]+)>")
_COMMENT = re.compile(r"\([^()]*\)")


class Trust(msgspec.Struct, frozen=True):
    """Whose header fields are believed: those of `host` (POSTROOM_HOSTNAME), and if there is a spam
    filter, what the filter writes. Postfix removes both from mail that comes in (decision 0248)."""

    host: str
    has_filter: bool


def parse(raw: Raw, trust: Trust, *, is_hidden: bool = False) -> ParsedMessage:
    """Parses a message. `is_hidden`: a hidden account got it, so its topmost field says to which
    address."""
    found = scan(raw)
    fields = found.fields
    text, text_truncated = _text(raw, found.parts, "text/plain")
    html, html_truncated = _text(raw, found.parts, "text/html")
    authentication = _authentication(fields, trust.host) if trust.has_filter else None
    return ParsedMessage(
        rfc_message_id=fields.message_id(),
        in_reply_to=next(iter(fields.ids("in-reply-to")), None),
        references=fields.ids("references"),
        from_=next(iter(fields.addresses("from")), None),
        to=fields.addresses("to"),
        cc=fields.addresses("cc"),
        reply_to=next(iter(fields.addresses("reply-to")), None),
        delivered_to=fields.first(RECIPIENT_HEADER.lower()) if is_hidden else _delivered_to(fields, trust.host),
        subject=fields.text("subject"),
        date=fields.date(),
        size=len(raw),
        text=text,
        html=html,
        text_truncated=text_truncated,
        html_truncated=html_truncated,
        attachments=tuple(_attachment(raw, part) for part in found.parts if is_attachment(part)),
        authentication=authentication,
        spam=_is_spam(fields, authentication) if trust.has_filter else None,
        parse_error=found.fault,
    )


def find_attachment(raw: Raw, number: str) -> tuple[Attachment, Iterator[bytes]] | None:
    """Returns the attachment with this number, and its content piece by piece; None if there is
    none."""
    for part in scan(raw).parts:
        if part.number == number and is_attachment(part):
            return _attachment(raw, part), content.pieces(raw, part)
    return None


def is_attachment(part: Part) -> bool:
    """Whether a part is no text of the message. A text with a file name is an attachment."""
    return part.content_type not in BODIES or part.disposition == "attachment" or part.filename is not None


def _attachment(raw: Raw, part: Part) -> Attachment:
    content_id = next(iter(part.fields.ids("content-id")), "").strip("<>") or None
    is_related = part.parent == "multipart/related" and content_id is not None
    return Attachment(
        part=part.number,
        filename=part.filename,
        content_type=part.content_type,
        size=content.size(raw, part),
        content_id=content_id,
        inline=part.disposition == "inline" or (is_related and part.disposition != "attachment"),
    )


def _text(raw: Raw, parts: list[Part], kind: str) -> tuple[str | None, bool]:
    """Returns the texts of this type, one below the other, and whether something of them is
    missing."""
    texts: list[str] = []
    left = TEXT_BYTES
    for part in parts:
        if part.content_type != kind or is_attachment(part):
            continue
        if left <= 0:
            return "\n".join(texts), True
        data = b"".join(content.pieces(raw, part, ENCODED_BYTES))
        text = decode(data, part.fields.parameter("content-type", "charset")).replace("\r\n", "\n")
        encoded = text.encode()
        texts.append(encoded[:left].decode(errors="ignore"))
        if len(encoded) > left or part.end - part.start > ENCODED_BYTES:
            return "\n".join(texts), True
        left -= len(encoded) + 1
    return ("\n".join(texts), False) if texts else (None, False)


def _delivered_to(fields: Fields, host: str) -> str | None:
    """Returns the address that the message was sent to, if our Postfix has written it down: it does
    for a message with one recipient. Our fields are the two on top, of LMTP and of Postfix; a field
    below may be forged."""
    for value in islice(fields.every("received"), 2):
        if not re.search(rf"\bby {re.escape(host)}[ \t(]", value):
            return None
        if found := _FOR.search(value):
            return None if found[1].endswith(INTERNAL_DOMAIN) else found[1]  # of a node that passed it on
    return None


def _authentication(fields: Fields, host: str) -> Authentication | None:
    """Returns the results in the first Authentication-Results of this host (RFC 8601, 2.2)."""
    for value in fields.every("authentication-results"):
        text = _COMMENT.sub(" ", _COMMENT.sub(" ", value))
        name, *results = text.split(";")
        if (name.split() or [""])[0].strip('"').rstrip(".").lower() != host.rstrip(".").lower():
            continue
        found: dict[str, str] = {}
        for result in filter(None, map(_RESULT.match, results)):
            method, said = result[1].lower(), result[2].lower()
            if method not in found or said == "pass":  # one of several signatures is enough
                found[method] = said
        return Authentication(found.get("spf"), found.get("dkim"), found.get("dmarc"))
    return None


def _is_spam(fields: Fields, authentication: Authentication | None) -> bool | None:
    """Returns the judgment of the filter; None if it has left no trace, as while it was away."""
    mark = fields.first("x-spam")
    if mark is not None:
        return mark.lower().startswith("yes")
    return False if authentication else None
