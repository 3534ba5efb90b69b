"""The head that honest clients send, read at once: one regular expression proves that the bytes
are one whole request without a body, framed beyond doubt.

Whatever does not match is no fault: `framing` and llhttp decide about it. A head that matches
means to them what it means here, and tests/fuzz/test_plain_head.py compares the two ways. Reading
in one step saves the calls for each header, a quarter of what a connection costs a request.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from postroom.api.framing import FRAMING, Header

# A longer one is rare, and `framing` knows the bounds.
LONGEST_HEAD = 8192
MOST_HEADERS = 64

_UNCERTAIN = b"|".join(re.escape(name) for name in sorted({*FRAMING, b"te", b"trailer"}))
_PATH = rb"[0-9A-Za-z\-._~!$&'()*+,;=:@%/]*+"
_QUERY = rb"[0-9A-Za-z\-._~!$&'()*+,;=:@%/?]*+"
_KEPT = rb"(?i:Connection: ?keep-alive\r\n)"
# A name that is not uncertain, and a value of visible ASCII without spaces around it.
_OTHER = rb"(?!(?i:" + _UNCERTAIN + rb"):)[!#$%&'*+\-.^_`|~0-9A-Za-z]++: ?(?! )[ -~]*+(?<! )\r\n"
_FIELDS = rb"(?:" + _OTHER + rb"|" + _KEPT + rb")*+"
_HOST = rb"(?i:Host): ?[0-9A-Za-z.\-]++(?::[0-9]*+)?+\r\n" + _FIELDS
_NO_BODY = rb"(?i:Content-Length): ?0\r\n" + _FIELDS
_HEAD = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/" + _PATH + rb")(?:\?(" + _QUERY + rb"))? HTTP/1\.1\r\n"
    rb"(" + _FIELDS + rb"(?:" + _HOST + rb"(?:" + _NO_BODY + rb")?|" + _NO_BODY + _HOST + rb"))\r\n"
)
_FIELD = re.compile(rb"([^:]+): ?([^\r]*)\r\n")


class PlainHead(NamedTuple):
    """A request of HTTP/1.1 without a body, whose connection is kept. Names of headers are in lower
    case."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[Header]


def read(data: bytes) -> PlainHead | None:
    """The request, where these bytes are exactly one plain head; None says nothing about them."""
    head = _HEAD.fullmatch(data) if len(data) <= LONGEST_HEAD else None
    if head is None:
        return None
    method, raw_path, query, fields = head.groups(b"")
    headers = [(name.lower(), value) for name, value in _FIELD.findall(fields)]
    if len(headers) > MOST_HEADERS:
        return None
    path = raw_path.decode("ascii")
    return PlainHead(method.decode("ascii"), unquote(path) if "%" in path else path, raw_path, query, headers)
