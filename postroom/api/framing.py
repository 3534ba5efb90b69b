"""Where a request ends: the grammar of its head, which bytes are its body, and where its chunks
end.

llhttp, which reads a head after this module has seen it, takes more than RFC 9112 allows, and
ends a request that offers an upgrade at its head. Two parsers that count differently are how one
client's body becomes another client's request, so what is not certain is refused, and the
connection ends (decision 0130).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from postroom.errors import Refused

Header = tuple[bytes, bytes]

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# RFC 9112 3, without the empty lines before it that section 2.2 would have ignored. llhttp is
# strict in the headers.
LINE = re.compile(_NAME + rb" [!-~]++ HTTP/1\.[01]\r\n")
EMPTY_LINES = re.compile(rb"(?:\r\n)*+\r?")
BEGIN = re.compile(_NAME)
END = b"\r\n\r\n"

# RFC 3986 3.2.2 without the comma, which some programs use to merge two headers into one.
_CHARACTERS = rb"[0-9A-Za-z\-._~!$&'()*+;=]*+"
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|" + _CHARACTERS + rb"(?:%[0-9A-Fa-f]{2}" + _CHARACTERS + rb")*+)(?::[0-9]*)?"
)
_NAMED = re.compile(rb"[0-9A-Za-z.\-]++(?::[0-9]*)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*+)([^?#]*+)(?:\?([^#]*+))?(?:#.*)?", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"(" + _NAME + rb"):[\t -~\x80-\xff]*+\r\n")
LONGEST_LINE = 16 * 1024

# The headers that frame a request, or say where it goes and what becomes of its connection.
FRAMING = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect"))
CHUNKED = -1

NOT_HTTP = "This is not HTTP/1.1."


class Framing(NamedTuple):
    """What a head says of its request: the size of its body in bytes, or CHUNKED, and of its
    connection."""

    body: int
    keeps_alive: bool
    expects_continue: bool


class Target(NamedTuple):
    """A request target. `host` is that of an absolute one, which counts in place of the Host
    header."""

    path: bytes
    query: bytes
    host: bytes | None = None


PLAIN = Framing(0, True, False)


def framing(version: str, headers: Sequence[Header], is_upgrade: bool) -> Framing:
    """How a request is framed (RFC 9112 6.3), from its headers that are in FRAMING, with names
    in lower case. Raises Refused."""
    if len(headers) == 1 and headers[0][0] == b"host" and version == "1.1" and _NAMED.fullmatch(headers[0][1]):
        return PLAIN  # as most are
    hosts, lengths, codings, options = 0, [], [], b""
    offers = expects = False
    for name, raw in headers:
        value = raw.strip(b" \t")
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise unframed("The Host header must name one host, and at most a port (RFC 9112 3.2).")
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"connection":
            options = options + b"," + value.lower() if options else value.lower()
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        elif name == b"upgrade":
            offers = True
        else:
            expects = expects or value.lower() == b"100-continue"
    is_new = version == "1.1"
    if hosts > 1 or (is_new and not hosts):
        raise unframed("An HTTP/1.1 request must have exactly one Host header (RFC 9112 3.2).")
    body = _body(lengths, codings, is_new) if lengths or codings else 0
    words = {option.strip(b" \t") for option in options.split(b",")} if options else ()
    if body and (is_upgrade or (offers and b"upgrade" in words)):
        raise unframed("A request with a body must not have an Upgrade header: use plain HTTP/1.1.")
    return Framing(body, is_new and b"close" not in words, expects and is_new and body != 0)


def _body(lengths: list[bytes], codings: list[bytes], is_new: bool) -> int:
    if codings:
        if codings != [b"chunked"] or lengths or not is_new:
            raise unframed("Send Transfer-Encoding: chunked, once and alone, or one Content-Length (RFC 9112 6).")
        return CHUNKED
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise unframed("Content-Length must be one number of bytes in plain digits (RFC 9112 6.2).")
    return int(lengths[0])


def target(method: str, text: bytes) -> Target:
    """A request target (RFC 9112 3.2): a path, or a whole URL of HTTP, or `*` for OPTIONS.
    Raises Refused."""
    if method == "CONNECT":
        raise unframed("This server is not a proxy: CONNECT is refused.")
    if text.startswith(b"/"):
        path, _, query = text.partition(b"?")
        if b"#" in text:
            path, _, query = text.partition(b"#")[0].partition(b"?")
        return Target(path, query)
    if text == b"*" and method == "OPTIONS":
        return Target(text, b"")
    absolute = _ABSOLUTE.fullmatch(text)
    if absolute is None or not absolute[1] or not _HOST.fullmatch(absolute[1]) or absolute[1].startswith(b":"):
        raise unframed("The request target must be a path, or a URL of HTTP (RFC 9112 3.2).")
    return Target(absolute[2] or b"/", absolute[3] or b"", absolute[1])


def unframed(detail: str = NOT_HTTP) -> Refused:
    """What is raised where it is not certain where a request ends, or to whom it goes."""
    return Refused("invalid_request", detail)


class Chunks:
    """Finds the end of a chunked body (RFC 9112 7.1) while it comes."""

    def __init__(self) -> None:
        self.ended = False
        self._line = b""  # the part of a line that has come
        self._left = 0  # bytes of the chunk that have not come
        self._see = self._see_size

    def take(self, data: bytes) -> int:
        """How many of these bytes belong to the body. Raises Refused."""
        at, size = 0, len(data)
        while at < size and not self.ended:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            newline = data.find(b"\n", at)
            end = size if newline < 0 else newline + 1
            self._line += data[at:end]
            at = end
            if len(self._line) > LONGEST_LINE:
                raise unframed("A line of a chunked body is too long.")
            if newline >= 0:
                line, self._line = self._line, b""
                self._see(line)
        return at

    def _see_size(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise unframed("The size of a chunk is not valid (RFC 9112 7.1).")
        self._left = int(size[1], 16)
        self._see = self._see_end if self._left else self._see_trailer

    def _see_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise unframed("A chunk is longer than its size (RFC 9112 7.1).")
        self._see = self._see_size

    def _see_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.ended = True
            return
        trailer = _TRAILER.fullmatch(line)
        if trailer is None or trailer[1].lower() in FRAMING:
            raise unframed("A trailer is invalid, or is a field that frames a request (RFC 9110 6.5.1).")
