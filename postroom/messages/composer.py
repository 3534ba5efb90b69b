"""Builds a message from a draft (RFC 5322, 2045, 2047, 2231), in ASCII with lines of at most 998
octets, by Python's `email` (decision 0324).

No value of a draft can begin a header field: the fields of the message are made of encoded or
quoted values, and `_line` refuses everything else. Attachments are written in pieces behind their
header, so that the memory for a message does not grow with them.
"""

import binascii
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from email.generator import BytesGenerator
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from io import BytesIO
from typing import IO
from urllib.parse import quote

from postroom.errors import FieldError, invalid
from postroom.messages.drafts import Draft, DraftAttachment, without_repeats
from postroom.messages.people import Person

POLICY = SMTP.clone(refold_source="none", cte_type="7bit")
LONGEST_LINE = 998  # RFC 5322 2.1.1
LINE_LETTERS = 76  # RFC 2045 6.8
PIECE_LETTERS = LINE_LETTERS * 1000
NOBODY = "undisclosed-recipients:;"
_FIELD = re.compile(r"[ -~\t]*(?:\n[ \t][ -~\t]*)*")
# Largest number of characters of a content type: `email` parses it anew for each parameter.
LONGEST_TYPE = 255
_TYPE = re.compile(
    r"(?P<main>[A-Za-z0-9!#$&^_.+-]{1,127})/(?P<sub>[A-Za-z0-9!#$&^_.+-]{1,127})"
    r'(?P<more>(?:\s*;\s*[A-Za-z0-9-]{1,60}=(?:[A-Za-z0-9_.+-]{1,200}|"[A-Za-z0-9 _.:/+-]{1,200}"))*)'
)
# The types that have parts of their own, and those that `email` takes for them, as message_x.
_WITH_PARTS = re.compile(r"(?:multipart|message)(?:[_-]|$)", re.IGNORECASE)
# A name that every reader takes for itself: `=?` would begin an encoded word (RFC 2047).
_PLAIN_NAME = re.compile(r"(?:(?!=\?)[ !#-\[\]-~])+")
_NAME_LETTERS = 60  # of a piece of a longer or another name (RFC 2231 3)
_PARAMETER = re.compile(r';\s*([A-Za-z0-9-]+)=(?:"([^"]*)"|([A-Za-z0-9_.+-]+))')


def compose(draft: Draft, message_id: str, at: datetime, file: IO[bytes]) -> None:
    """Writes the message; `at` is its Date. Raises `invalid_request` for an attachment that is no
    base64."""
    message = _with_fields(draft, message_id, at)
    _set_texts(message, draft)
    slots = {f"{secrets.token_hex(24)}": one for one in draft.attachments}
    for slot, attachment in slots.items():
        _attach(message, slot, attachment, has_html=draft.html is not None)
    frame = BytesIO()
    BytesGenerator(frame, policy=POLICY).flatten(message)
    rest = frame.getvalue()
    # In the order of the message, which is not that of the draft: related parts come first.
    order = sorted(slots, key=lambda slot: rest.index(slot.encode()))
    numbers = {slot: number for number, slot in enumerate(slots)}
    for slot in order:
        before, _, rest = rest.partition(slot.encode())
        file.write(before)
        _write_content(file, slots[slot].content_base64, numbers[slot])
    file.write(rest)


def content_type_of(text: str) -> tuple[str, str, dict[str, str]] | None:
    """Reads a content type with its parameters; None if it is none, is too long, or has
    parts of its own."""
    found = _TYPE.fullmatch(text) if len(text) <= LONGEST_TYPE else None
    if found is None or _WITH_PARTS.match(found["main"]):
        return None
    return found["main"], found["sub"], {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(text)}


def _with_fields(draft: Draft, message_id: str, at: datetime) -> EmailMessage:
    message = EmailMessage(POLICY)
    fields = {
        "MIME-Version": "1.0",
        "From": draft.from_.field(),
        "To": _list(draft.to) or ("" if draft.cc else NOBODY),
        "Cc": _list(draft.cc),
        "Reply-To": draft.reply_to.field() if draft.reply_to else "",
        "Subject": _text("Subject", draft.subject or ""),
        "Date": format_datetime(at),
        "Message-ID": message_id,
        "In-Reply-To": draft.in_reply_to or "",
        "References": "\n ".join(draft.references),
    }
    for name, value in (*fields.items(), *((name, _text(name, value)) for name, value in draft.headers)):
        if value:
            message.set_raw(name, _line(name, value))
    return message


def _list(people: Iterable[Person]) -> str:
    return ",\n ".join(one.field() for one in without_repeats(people))


def _text(name: str, value: str) -> str:
    """Returns a text as the value of a field: as it is if every reader reads the same."""
    if value.isascii() and "=?" not in value and len(name) + 2 + len(value) <= LONGEST_LINE and value == value.strip():
        return value
    return Header(value, "utf-8", maxlinelen=LINE_LETTERS, header_name=name).encode(linesep="\n")


def _line(name: str, value: str) -> str:
    """Returns a field's value that is certain to be one field."""
    longest = max(map(len, f"{name}: {value}".split("\n")))
    if not _FIELD.fullmatch(value) or longest > LONGEST_LINE:
        raise ValueError(f"a value of {name} that is no header field")
    return value


def _set_texts(message: EmailMessage, draft: Draft) -> None:
    texts = [(draft.text, "plain"), (draft.html, "html")]
    sent = [(text, kind) for text, kind in texts if text is not None] or [("", "plain")]
    for number, (text, kind) in enumerate(sent):
        add = message.add_alternative if number else message.set_content
        add(text, subtype=kind)


def _attach(message: EmailMessage, slot: str, attachment: DraftAttachment, *, has_html: bool) -> None:
    """Adds a part with its header; its content is only the name of its slot."""
    main, sub, parameters = content_type_of(attachment.content_type) or ("application", "octet-stream", {})
    is_shown = attachment.content_id is not None
    html = message.get_body(("related", "html")) if has_html and is_shown else None
    add = message.add_attachment if html is None else html.add_related
    add(b"", main, sub, params=parameters)
    part = list((html or message).iter_parts())[-1]
    del part["Content-Disposition"]
    disposition = "inline" if is_shown else "attachment"
    fields = {"Content-Disposition": disposition + _filename(attachment.filename or "")}
    fields |= {"Content-ID": f"<{attachment.content_id}>"} if is_shown else {}
    for name, value in fields.items():
        part.set_raw(name, _line(name, value))
    part.set_payload(slot)


def _filename(name: str) -> str:
    """Returns the parameter of Content-Disposition (RFC 2183 2.3), in pieces if it must be encoded
    (RFC 2231); nothing for an attachment without a name."""
    if not name or _PLAIN_NAME.fullmatch(name):
        return name and f';\n filename="{name}"'
    letters = [quote(letter, safe="") for letter in name]
    pieces = ["utf-8''"]
    for letter in letters:
        if len(pieces[-1]) + len(letter) > _NAME_LETTERS:
            pieces.append("")
        pieces[-1] += letter
    places = [f"*{number}*" for number in range(len(pieces))] if len(pieces) > 1 else ["*"]
    return "".join(f";\n filename{place}={piece}" for place, piece in zip(places, pieces, strict=True))


def _write_content(file: IO[bytes], content: str, number: int) -> None:
    """Writes base64 in lines. Raises `invalid_request`."""
    content = content.replace("\r", "").replace("\n", "") if "\n" in content else content
    for at in range(0, len(content), PIECE_LETTERS):
        piece, is_last = content[at : at + PIECE_LETTERS], at + PIECE_LETTERS >= len(content)
        try:
            data = piece.encode("ascii")
            binascii.a2b_base64(data, strict_mode=True)
            if not is_last and data.endswith(b"="):
                raise ValueError
        except ValueError:
            field = f"attachments[{number}].content_base64"
            raise invalid(FieldError(field, "invalid", "Send base64 (RFC 4648, 4).")) from None
        file.write(b"\r\n".join(data[start : start + LINE_LETTERS] for start in range(0, len(data), LINE_LETTERS)))
        if not is_last:
            file.write(b"\r\n")
