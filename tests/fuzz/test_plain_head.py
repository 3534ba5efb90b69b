"""The fast parser of a head returns the result of the strict parser, or none."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postroom.api import plain_head
from tests.api.two_parsers import Scope, agree, ours, scopes

LINES = st.sampled_from(
    b"GET / HTTP/1.1|GET //a?b=c?d HTTP/1.1|POST /%41%zz;x HTTP/1.1|HEAD /?a HTTP/1.1|GET /a#b HTTP/1.1|"
    b"GET /?a#b HTTP/1.1|GET / HTTP/1.0|get / HTTP/1.1|GET http://y/ HTTP/1.1|GET * HTTP/1.1|CONNECT / HTTP/1.1|"
    b"DELETE /\xc3\xa4 HTTP/1.1|GET  / HTTP/1.1|PATCH /\\ HTTP/1.1|PUT /a HTTP/1.1|GET /a%00b?%00 HTTP/1.1".split(b"|")
)
NAMES = st.sampled_from(
    b"Host|host|Content-Length|content-LENGTH|Connection|Transfer-Encoding|Upgrade|Expect|TE|Trailer|X|x-api-key|"
    b"Hosts|Connections|Keep-Alive|X-Forwarded-For|a_b|Host |X\t||\xe4".split(b"|")
)
MARKS = st.sampled_from([b": "] * 6 + [b":", b":  ", b":\t", b" : ", b""])
VALUES = st.sampled_from(
    b"x|x.test:3000|[::1]:1|a_b|0|00|5|0, 0|keep-alive|Keep-Alive|close|upgrade|keep-alive, close|chunked|"
    b"100-continue||a b|a  |\xe4|a\x00b|a\tb|x:|*/*|a\rb".split(b"|")
)
ENDS = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
FIELDS = st.tuples(NAMES, MARKS, VALUES, ENDS).map(b"".join)
HONEST = st.sampled_from(
    [
        b"Accept: */*\r\n",
        b"X-Api-Key: pr_x\r\n",
        b"Connection: keep-alive\r\n",
        b"Content-Length: 0\r\n",
        b"X:y\r\n",
        b"X:\r\n",
        b"User-Agent: a (b; c) d/1\r\n",
    ]
)


# Fields that go beside an honest host: almost plain, but with another meaning.
NEAR = [
    *(b"Content-Length: " + size for size in (b"5", b"00", b"05", b"0 ", b" 0", b"0,0", b"+0", b"0x0", b"", b"1")),
    *(b"Connection: " + word for word in (b"close", b"Upgrade", b"keep-alive, close", b"keep-alive ", b"keep-alivex")),
    *(name + b": x" for name in (b"Upgrade", b"Expect", b"Transfer-Encoding", b"HOST", b"TE", b"Trailer", b"Hosts")),
    *(b"X:" + value for value in (b"  y", b" y ", b" ", b"", b"\ty", b" y\t", b" \xe4", b" a\0", b" a:b", b" a\rb")),
    *(b"X: y\r\n" + rest for rest in (b" z", b"\tz", b"\r\nGET / HTTP/1.1", b": z", b"z", b"\nz: 1")),
    *(name + b": y" for name in (b"X ", b"X\t", b"\xe4", b"", b"a(b", b"_", b"Content-Length\0", b"content_length")),
    b"Expect: 100-continue",
    b"Upgrade: h2c\r\nConnection: Upgrade",
    b"Transfer-Encoding: chunked",
]


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Mostly honest heads, with a field or two that may be wrong."""
    fields = draw(st.lists(HONEST, max_size=4)) + draw(
        st.lists(FIELDS | st.sampled_from(NEAR).map(lambda near: near + b"\r\n"), max_size=1)
    )
    host = draw(st.sampled_from([b"Host: x\r\n"] * 4 + [b"HOST:x.test:1\r\n", b""]))
    mixed = draw(st.permutations([host, *fields]))
    return draw(LINES) + b"\r\n" + b"".join(mixed) + b"\r\n" + draw(st.sampled_from([b""] * 6 + [b"\r\n", b"abcde"]))


def slowly(data: bytes) -> list[Scope]:
    """Returns the strict parser's requests. A head that arrives in two pieces never takes the fast
    path."""
    return scopes(data[:-1], data[-1:])


@given(heads())
@example(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n")
@example(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"Host: x\r\n\r\n")
@example(b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200 + b"\r\n\r\n")
def test_fast_and_strict_agree(data: bytes) -> None:
    """A head that is accepted at once is one request, and the application sees the same in both
    ways."""
    assert ours(data) == ours(data[:-1], data[-1:])
    fast = scopes(data)
    assert fast == slowly(data)
    head = plain_head.read(data)
    if head is not None:
        agree(data)
        assert [(one.method, one.path, one.raw_path, one.query, one.headers) for one in fast] == [head]
        assert not fast[0].ends_connection


@pytest.mark.parametrize("near", NEAR, ids=repr)
@pytest.mark.parametrize("before", [True, False])
def test_what_is_almost_plain(near: bytes, before: bool) -> None:
    """Whether the fast parser accepts it or not, it means what the strict parser says."""
    fields = [near, b"Host: x"] if before else [b"Host: x", near]
    data = b"\r\n".join([b"POST /a?b HTTP/1.1", *fields, b"", b""])
    assert ours(data) == ours(data[:-1], data[-1:])
    assert scopes(data) == slowly(data)
    assert plain_head.read(data) is None or len(agree(data).requests) == 1


COMMON = {
    "curl": b"User-Agent: curl/7.88.1\r\nAccept: */*\r\n",
    "requests": b"User-Agent: python-requests/2.31\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
    b"Connection: keep-alive\r\nx-api-key: pr_x\r\nContent-Type: application/json\r\nContent-Length: 0\r\n",
    "a length before the host": b"",
    "Go": b"User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\nX-Api-Key: pr_x\r\n",
    "a proxy": b"X-Forwarded-For: 10.1.2.3, ::1\r\nX-Forwarded-Proto: https\r\nVia: 1.1 Caddy\r\nCookie: a=b; c=d\r\n",
}


@pytest.mark.parametrize("name", COMMON)
def test_what_honest_clients_send_takes_the_fast_way(name: str) -> None:
    before = b"Content-Length: 0\r\n" if "before" in name else b""
    data = b"GET /v2/email-accounts?limit=5 HTTP/1.1\r\n" + before + b"Host: x.test:3000\r\n" + COMMON[name] + b"\r\n"
    assert plain_head.read(data) is not None
    assert scopes(data) == slowly(data)
