"""The parts of a message (RFC 2046), each as positions in the bytes, so that a message in a file
can be read without holding the message in memory.

Python's `email` would hold the message several times and looks at every line in Python: 25 MB of
empty lines take it half a minute (decision 0301). Here a regular expression finds the delimiters.
"""

import mmap
import re
from dataclasses import dataclass, field
from functools import cached_property

from postroom.messages.headers import PARAMETERS_BYTES, Fields

# Bytes of a header block that are read: of the message, and of a part.
HEADER_BYTES = 256 * 1024
PART_HEADER_BYTES = 16 * 1024
MOST_PARTS = 1000
DEEPEST = 8
LONGEST_BOUNDARY = 200
# Bytes that are searched at a time, because no other thread runs meanwhile; and of those behind, in
# which a delimiter may end that begins there.
SEARCH_BYTES = 256 * 1024
OVERLAP_BYTES = 1024

Raw = bytes | mmap.mmap

_BLANK = re.compile(rb"(?:^|\n)\r?\n")
_LATER_BLANK = re.compile(rb"\n\r?\n")


@dataclass(frozen=True)
class Part:
    """A part without parts: its number as in IMAP, its header fields, its type, and where its
    encoded content stands. `parent` is the type of the multipart around it."""

    number: str
    fields: Fields
    content_type: str
    start: int
    end: int
    parent: str | None = None

    @cached_property
    def disposition(self) -> str:
        """`attachment`, `inline` or another word of RFC 2183; empty if there is none."""
        return (self.fields.first("content-disposition", PARAMETERS_BYTES) or "").partition(";")[0].strip().lower()

    @cached_property
    def filename(self) -> str | None:
        """The name of the file, without its folders."""
        return self.fields.filename()


@dataclass
class Structure:
    """The header fields of a message and its parts, and the types of its multiparts, each by the
    beginning of the numbers of its parts: empty, `2.`, `2.1.`. `fault` says what was not read."""

    fields: Fields
    parts: list[Part] = field(default_factory=list)
    multiparts: dict[str, str] = field(default_factory=dict)
    fault: str | None = None


@dataclass
class _Open:
    """A multipart whose end has not been found. It ends at `limit` at the latest. `next` is its
    next delimiter."""

    prefix: str
    kind: str
    delimiter: re.Pattern[bytes]
    limit: int
    next: re.Match[bytes] | None
    children: int = 0


def scan(raw: Raw) -> Structure:
    """Finds the parts of a message."""
    return _Scan(raw).run()


def _search(pattern: re.Pattern[bytes], raw: Raw, start: int, end: int) -> re.Match[bytes] | None:
    """Like `pattern.search(raw, start, end)`. What is found ends with a line, or with `end`."""
    while end - start > SEARCH_BYTES + OVERLAP_BYTES:
        found = pattern.search(raw, start, start + SEARCH_BYTES + OVERLAP_BYTES)
        if found and raw[found.end() - 1 : found.end()] == b"\n":
            return found
        start += SEARCH_BYTES
    return pattern.search(raw, start, end)


class _Scan:
    """Each open multipart is searched for its next delimiter only up to the next delimiter around
    it, so each byte is searched once a level."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw
        self._open: list[_Open] = []
        self._delimiters = 0

    def run(self) -> Structure:
        fields, start = self._header(0, HEADER_BYTES, len(self._raw))
        self._found = Structure(fields)
        if start > HEADER_BYTES or fields.is_cut:
            self._found.fault = "The header is too long: only its beginning was read."
        self._enter("1", fields, start, None)
        while self._open:
            self._step()
        return self._found

    def _header(self, start: int, most: int, end: int) -> tuple[Fields, int]:
        """Returns the fields of the header block at `start`, and where its content begins."""
        stop = min(end, start + most)
        block = self._raw[start:stop]
        if blank := _BLANK.search(block):
            return Fields(block[: blank.start() + 1]), start + blank.end()
        later = _search(_LATER_BLANK, self._raw, max(stop - 2, start), end)
        return Fields(block), later.end() if later else end

    def _enter(self, number: str, fields: Fields, start: int, parent: _Open | None) -> None:
        """Opens the multipart that begins here, or adds the part."""
        kind = fields.content_type()
        if kind.startswith("multipart/"):
            if len(self._open) < DEEPEST:
                if opened := self._multipart(number, fields, start, parent):
                    self._open.append(opened)
                    self._found.multiparts[opened.prefix] = kind
                    return
                kind = "text/plain"  # without a delimiter, people still want to read the text
            else:
                self._found.fault = f"Parts are nested more than {DEEPEST} deep."
        end = self._limit() - 1 if self._open else len(self._raw)
        if start < end < len(self._raw) and self._raw[end - 1 : end] == b"\r":
            end -= 1
        self._found.parts.append(Part(number, fields, kind, start, max(start, end), parent.kind if parent else None))

    def _multipart(self, number: str, fields: Fields, start: int, parent: _Open | None) -> _Open | None:
        """Returns the multipart; None if it has no delimiter."""
        boundary = (fields.parameter("content-type", "boundary") or "").rstrip()
        if not 0 < len(boundary) <= LONGEST_BOUNDARY:
            return None
        text = re.escape(boundary.encode("utf-8", "replace"))
        delimiter, limit = re.compile(rb"\n--" + text + rb"(--)?[ \t]*(?:\r?\n|\Z)"), self._limit()
        # The first delimiter may follow the header directly.
        first = _search(delimiter, self._raw, max(start - 1, 0), limit)
        return _Open(f"{number}." if parent else "", fields.content_type(), delimiter, limit, first) if first else None

    def _limit(self) -> int:
        """Where the next line behind a delimiter of any open multipart begins; else the end."""
        found = next((one.next for one in reversed(self._open) if one.next), None)
        return found.start() + 1 if found else len(self._raw)

    def _step(self) -> None:
        """Goes to the next delimiter."""
        here = self._open[-1]
        found = here.next
        if found is None or found[1]:
            self._open.pop()
            return
        # The line break of a delimiter may begin the next one too.
        after = found.end() - 1 if self._raw[found.end() - 1 : found.end()] == b"\n" else found.end()
        here.next = _search(here.delimiter, self._raw, after, here.limit)
        self._delimiters += 1
        if self._delimiters > MOST_PARTS:
            self._found.fault = f"There are more than {MOST_PARTS} parts: only these were read."
            self._open.clear()
            return
        here.children += 1
        fields, content = self._header(found.end(), PART_HEADER_BYTES, max(found.end(), self._limit()))
        self._enter(f"{here.prefix}{here.children}", fields, content, here)
