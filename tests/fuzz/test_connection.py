"""Arbitrary bytes on a connection: the server sees no request that a strict second parser does not
see, and nothing hangs."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from tests.api.two_parsers import agree, ours

SECOND = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"

METHODS = st.sampled_from(b"GET|POST|HEAD|PUT|OPTIONS|CONNECT|get|FOO|PRI|SOURCE|".split(b"|"))
TARGETS = st.sampled_from(b"/|/a?b=c|//x|*|http://x/y|HTTP://x:1|x:443|ftp://x/|http://a@b/|/\xff|/ a|/#x".split(b"|"))
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + b"HTTP/1.0|HTTP/2.0|HTTP/0.9|RTSP/1.0|http/1.1|HTTP/1.1 |HTTP/1.1\t|".split(b"|")
)
NAMES = st.sampled_from(
    b"Content-Length|Transfer-Encoding|Connection|Upgrade|Expect|Host|X|content-length |".split(b"|")
)
LENGTHS = b"0|5|05|+5|-1|0x5|5, 5|5,6|99999999999999999999|5 5|5;".split(b"|")
CODINGS = b"chunked|CHUNKED|gzip, chunked|chunked, chunked|xchunked|identity|chunked;q=1|,chunked".split(b"|")
OTHERS = b"close|keep-alive|Upgrade|\tclose|x,\tclose|h2c|websocket|100-continue|x y|a,b|\x80|x\0y|x\ry|x\r\n y".split(
    b"|"
)
VALUES = st.sampled_from([*LENGTHS, *CODINGS, *OTHERS, b""])
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\r\n"])
FIELDS = st.tuples(NAMES, st.sampled_from([b":", b": ", b":\t", b" :"]), VALUES, ENDS).map(b"".join)
CHUNKED = b"5\r\nabcde\r\n0\r\n\r\n|5;x=y\r\nabcde\r\n0\r\nt: u\r\n\r\n|5\nabcde\r\n0\r\n\r\n|5\r\nabcdefg\r\n0\r\n\r\n"
BROKEN = b"0\r\n\r\n|0\r\nContent-Length: 3\r\n\r\n|0\r\nTransfer-Encoding: gzip\r\n\r\n|FFFFFFFFFFFFFFFF1\r\n|0\r\n"
BODIES = st.sampled_from([b"", b"abcde", b"\r\n", *CHUNKED.split(b"|"), *BROKEN.split(b"|")])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Text like a request: often valid, often with a fault or two."""
    line = draw(METHODS) + b" " + draw(TARGETS) + b" " + draw(VERSIONS) + draw(ENDS)
    host = draw(
        st.sampled_from([b"Host: x\r\n"] * 6 + [b"", b"Host: x\r\nHost: y\r\n", b"Host: a b\r\n", b"Host:\r\n"])
    )
    return line + host + b"".join(draw(st.lists(FIELDS, max_size=3))) + draw(ENDS) + draw(BODIES)


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """A request with a body and some form of framing."""
    length = draw(st.sampled_from([b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0", b"X: y"]))
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n" + b"".join(draw(st.lists(FIELDS, max_size=1)))
    return head + b"\r\n" + draw(BODIES)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Returns the bytes in pieces."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(marks)]


@given(st.lists(st.one_of(requests(), framed()), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=4))
@example([b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: 34\r\n\r\n"], [])
@example([b"CONNECT / HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n"], [])
def test_what_is_like_http(parts: list[bytes], places: list[int]) -> None:
    agree(*cut(b"".join(parts) + SECOND, places))


@given(framed(), st.lists(st.tuples(st.integers(0, 200), st.sampled_from(list(b"\r\n\0\t :;,+-x05\x80"))), max_size=3))
def test_bytes_that_are_not_as_they_were(data: bytes, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(data)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    agree(bytes(changed) + SECOND)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=3))
def test_any_bytes(data: bytes, places: list[int]) -> None:
    agree(*cut(data, places))


@given(framed(), st.lists(st.integers(0, 400), max_size=6))
def test_how_it_is_cut_makes_no_difference(data: bytes, places: list[int]) -> None:
    assert ours(*cut(data + SECOND, places)) == ours(data + SECOND)
