"""The header fields of a message or of one of its parts (RFC 5322, 2047 and 2231).

The fields are those that Postfix and Dovecot see: a line ends with LF, so that nobody can hide a
field behind a bare CR. The values are decoded by Python's `email`. Each value has a bound, because
some of its functions take quadratic time.
"""

import re
from binascii import Error as BinasciiError
from collections.abc import Iterator
from datetime import UTC, datetime
from email import utils
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from functools import partial
from inspect import signature

from postroom.messages.charsets import clean, decode
from postroom.messages.parsed import MailAddress

# Largest number of bytes that are decoded: of a value, of a value with parameters, and of a list of
# addresses.
VALUE_BYTES = 8 * 1024
PARAMETERS_BYTES = 4 * 1024
MOST_PARAMETERS = 64
ADDRESS_LIST_BYTES = 64 * 1024
# Largest number of characters that are read of groups (RFC 5322 3.4), whose members take quadratic
# time.
GROUPS_LENGTH = 1024
MOST_FIELDS = 2000
MOST_ADDRESSES = 1000
MOST_REFERENCES = 100
LONGEST_NAME = 255
LONGEST_ID = 1000

_FIELD = re.compile(rb"^([!-9;-~]{1,200})[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.MULTILINE)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
# What comes before the first colon that is not quoted.
_BEFORE_GROUP = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^":]+)*', re.DOTALL)
_ID = re.compile(r"<[^<>\s]{1,998}>")
_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TOKEN = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")

# `strict` gives up a whole list because of one address, and is not in every Python 3.11.
_LENIENT = (
    partial(utils.getaddresses, strict=False)
    if "strict" in signature(utils.getaddresses).parameters
    else utils.getaddresses
)


class Fields:
    """The fields of one header block; the names are in lower case. `is_cut`: there are more."""

    def __init__(self, block: bytes) -> None:
        self._values: dict[str, list[bytes]] = {}
        self.is_cut = False
        for number, field in enumerate(_FIELD.finditer(block)):
            if number >= MOST_FIELDS:
                self.is_cut = True
                break
            self._values.setdefault(field[1].decode("ascii").lower(), []).append(field[2])

    def first(self, name: str, most: int = VALUE_BYTES) -> str | None:
        """Returns the first field of this name as text, unfolded but not decoded."""
        return next(self.every(name, most), None)

    def every(self, name: str, most: int = VALUE_BYTES) -> Iterator[str]:
        """Yields the fields of this name as text, unfolded but not decoded."""
        for value in self._values.get(name, ()):
            yield _FOLD.sub("", decode(value[:most], None)).strip()

    def text(self, name: str) -> str | None:
        """Returns the first field of this name, decoded, without control characters."""
        value = self.first(name)
        return None if value is None else words(value)

    def addresses(self, name: str) -> tuple[MailAddress, ...]:
        """Returns the addresses of all fields of this name."""
        found: list[MailAddress] = []
        left = ADDRESS_LIST_BYTES
        for value in self.every(name, left):
            left -= len(value)
            if left <= 0:
                value = _whole(value, len(value) - 1)
            found += _addresses(value)
            if left <= 0 or len(found) >= MOST_ADDRESSES:
                break
        return tuple(found[:MOST_ADDRESSES])

    def ids(self, name: str) -> tuple[str, ...]:
        """Returns the message ids of the first field of this name, with their <>."""
        return tuple(_ID.findall(self.first(name) or "")[:MOST_REFERENCES])

    def message_id(self) -> str | None:
        """Returns the Message-ID; what has no <> as it is."""
        found = self.ids("message-id")
        return found[0] if found else (self.text("message-id") or "")[:LONGEST_ID] or None

    def date(self) -> str | None:
        """Returns the Date in UTC as RFC 3339; None if there is none that can be read."""
        try:
            found = utils.parsedate_to_datetime(self.first("date") or "")
            at = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        return timestamp(at)

    def parameter(self, name: str, parameter: str) -> str | None:
        """Returns a parameter of a MIME field, decoded (RFC 2231, and RFC 2047 as some senders
        do)."""
        value = self.first(name, PARAMETERS_BYTES)
        if value is None or value.count(";") > MOST_PARAMETERS:
            return None
        field = Message()
        try:
            field.add_header(name, value)
            found = field.get_param(parameter, header=name)
        except (ValueError, TypeError, LookupError, MessageError):
            return None
        if isinstance(found, tuple):
            return clean(decode(found[2].encode("latin-1", "replace"), found[0]))
        return None if found is None else utils.unquote(found)

    def content_type(self) -> str:
        """Returns the type in lower case: text/plain if there is none that can be read (RFC 2045,
        5.2)."""
        found = (self.first("content-type") or "").partition(";")[0].strip().lower()
        return found if _TOKEN.fullmatch(found) else "text/plain"

    def filename(self) -> str | None:
        """Returns the name of the file, without its folders."""
        for field, parameter in (("content-disposition", "filename"), ("content-type", "name")):
            if found := self.parameter(field, parameter):
                name = re.split(r"[/\\]", words(found))[-1].strip()[:LONGEST_NAME]
                if name.strip("."):
                    return name
        return None


def timestamp(at: datetime) -> str:
    """Returns the moment, which has a zone, in UTC as RFC 3339."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def words(value: str) -> str:
    """Returns a value with its encoded words decoded (RFC 2047), and one space in place of control
    characters."""
    try:
        parts = decode_header(value[:VALUE_BYTES])
    except (MessageError, BinasciiError, ValueError, LookupError):
        return _NOT_SHOWN.sub(" ", clean(value)).strip()
    # Where there are encoded words, `email` gives the rest as bytes in raw-unicode-escape.
    text = "".join(
        part
        if isinstance(part, str)
        else decode(part, charset)
        if charset
        else part.decode("raw-unicode-escape", "replace")
        for part, charset in parts
    )
    return _NOT_SHOWN.sub(" ", clean(text)).strip()


def _addresses(value: str) -> list[MailAddress]:
    before = _BEFORE_GROUP.match(value)
    value = _whole(value, (before.end() if before else 0) + GROUPS_LENGTH)
    try:
        found = _LENIENT([value])
    except (RecursionError, ValueError, IndexError):  # comments in comments
        return []
    return [
        MailAddress(words(name)[:LONGEST_NAME] or None, _NOT_SHOWN.sub("", clean(address))[:LONGEST_ID])
        for name, address in found
        if address
    ]


def _whole(value: str, length: int) -> str:
    """Cuts a list of addresses behind the last address that is whole."""
    return value if len(value) <= length else value[: value.rfind(",", 0, length) + 1 or length]
