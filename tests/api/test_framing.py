"""Where a request ends. A request whose end is uncertain is refused once, and nothing after it is
taken for a request."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.api import framing
from postroom.errors import Refused
from tests.api.raw import CREATE, body_for
from tests.api.test_connection import HEALTH, Client, assert_problem, client, connected, head
from tests.api.two_parsers import agree, ours
from tests.harness.server import ApiServer, Tenant

__all__ = ["client"]

# A request in the body of another request: it must never be answered.
HIDDEN = b"GET /llms.txt HTTP/1.1\r\nHost: hidden\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UNCERTAIN = {
    "an upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "an upgrade to WebSocket with a body": POST
    + b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "an upgrade with a chunked body": POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN),
    "CONNECT": b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
    "CONNECT to a path": b"CONNECT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "CONNECT to a URL": b"CONNECT http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length and chunks": POST + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % len(HIDDEN),
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n" % len(HIDDEN),
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN),
    "the same length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": POST + b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN),
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n",
    "a length in two parts": POST + b"Content-Length: 0 0\r\n\r\n",
    "no length": POST + b"Content-Length:\r\n\r\n",
    "a length that overflows 64 bits": POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "a length that overflows 128 bits": POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two headers": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and identity": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked behind a comma": POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "no coding": POST + b"Transfer-Encoding:\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "a tab before the colon": POST + b"Content-Length\t: 0\r\n\r\n",
    "a header without a name": POST + b": x\r\n\r\n",
    "a header without a colon": POST + b"Content-Length\r\n\r\n",
    "a folded header": POST + b"X: y\r\n Content-Length: 1\r\n\r\n",
    "a folded first header": b"POST / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a bare LF": POST + b"X: y\nContent-Length: 1\r\n\r\n",
    "bare LFs": b"GET / HTTP/1.1\nHost: x\n\n",
    "a bare LF at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a bare CR": POST + b"X: y\rContent-Length: 1\r\n\r\n",
    "bare CRs": b"GET / HTTP/1.1\rHost: x\r\r",
    "a NUL in a header": POST + b"X: a\0b\r\n\r\n",
    "a NUL in a name": POST + b"X\0: a\r\n\r\n",
    "a control character in a header": POST + b"X: a\x0bb\r\n\r\n",
    "two spaces in the request line": b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space at the end of the request line": b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space before the method": b" GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an empty line before it": b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bare LF before it": b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"HELLO / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 by number": b"GET / HTTP/0.9\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"GET / RTSP/1.0\r\nHost: x\r\n\r\n",
    "ICE": b"SOURCE / ICE/1.0\r\nHost: x\r\n\r\n",
    "http in lower case": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "an authority as target": b"GET x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "another scheme": b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL without a host": b"GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL with a user": b"GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a chunk without a size": CHUNKED + b"\r\n\r\n",
    "a chunk size with a sign": CHUNKED + b"+0\r\n\r\n",
    "a chunk size with 0x": CHUNKED + b"0x0\r\n\r\n",
    "a chunk size with a space": CHUNKED + b"0 \r\n\r\n",
    "a chunk size that overflows": CHUNKED + b"1" + b"0" * 16 + b"\r\n",
    "a chunk size that ends in a bare LF": CHUNKED + b"0\n\r\n",
    "a chunk extension that ends in a bare LF": CHUNKED + b"0;x\n\r\n",
    "a chunk extension with a bare CR": CHUNKED + b"0;x\ry\r\n\r\n",
    "a chunk that is longer than its size": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "a chunk that ends in a bare LF": CHUNKED + b"1\r\na\n0\r\n\r\n",
    "a trailer that frames": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "a trailer of codings": CHUNKED + b"0\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a trailer that names a host": CHUNKED + b"0\r\nHost: y\r\n\r\n",
    "a trailer with a space before the colon": CHUNKED + b"0\r\nx : y\r\n\r\n",
    "a folded trailer": CHUNKED + b"0\r\nx: y\r\n z\r\n\r\n",
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_an_uncertain_request_ends_the_connection(client: Client, name: str) -> None:
    """The request before it is answered, the uncertain request is refused, and the bytes after it
    are never taken for a request."""
    client.send(HEALTH + UNCERTAIN[name] + HIDDEN + HIDDEN)
    assert client.answer().json == {"status": "ok"}
    assert_problem(client.answer(), 400, "invalid_request")
    assert client.ended()


@pytest.mark.parametrize("name", UNCERTAIN)
def test_a_strict_parser_sees_no_more(name: str) -> None:
    found = agree(UNCERTAIN[name] + HIDDEN)
    assert (found.requests, found.refusals, found.has_ended) == ([], 1, True)


CERTAIN = {
    "a body of a known size": (POST + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN, HIDDEN),
    "a length with zeros in front": (POST + b"Content-Length: 003\r\n\r\nabc", b"abc"),
    "a length with a tab": (POST + b"Content-Length:\t3 \r\n\r\nabc", b"abc"),
    "chunks": (CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN), HIDDEN),
    "Chunked": (POST + b"transfer-encoding: Chunked \r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "chunks with extensions": (CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n', b"abc"),
    "trailers": (CHUNKED + b"3\r\nabc\r\n0\r\nx: y\r\nz:\r\n\r\n", b"abc"),
    "an upgrade without a body": (POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b""),
    "an upgrade with an empty body": (POST + b"Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", b""),
    "Upgrade that no Connection names": (POST + b"Upgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "a body of GET": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
    "a whole URL": (b"GET http://y:80 HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "Latin-1 in a header": (POST + b"X: \xe4\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", CERTAIN)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_certain_request_keeps_the_connection(name: str, size: int) -> None:
    data, body = CERTAIN[name]
    found = agree(*((data * 2)[at : at + size] for at in range(0, 2 * len(data), size)))
    assert [one.body for one in found.requests] == [body, body]
    assert not found.has_ended


LAST = {
    "close": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "close behind a tab": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: x,\tClose\r\n\r\n",
    "close in another header": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that asks to be kept": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.0 with a body": b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("name", LAST)
def test_nothing_after_the_last_request_is_a_request(name: str) -> None:
    found = agree(LAST[name] + HIDDEN)
    assert (len(found.requests), found.refusals, found.has_ended) == (1, 0, True)


FIELDS = st.sampled_from(
    b"Content-Length: 5|Content-Length: 05|Content-Length: 4|Content-Length: 5,5|Content-Length:\t0|"
    b"Transfer-Encoding: chunked|Transfer-Encoding:chunked|Transfer-Encoding: gzip, chunked|Connection: close|"
    b"Connection: keep-alive|Connection: Upgrade|Connection:\tupgrade, x|Upgrade: h2c|Upgrade: x|Host: y|"
    b"Expect: 100-continue|X : y|X: y".split(b"|")
)
LINES = st.sampled_from(
    b"POST / HTTP/1.1|GET /a HTTP/1.1|PUT / HTTP/1.0|CONNECT x:1 HTTP/1.1|HEAD / HTTP/1.1".split(b"|")
)


@settings(max_examples=300)
@given(LINES, st.lists(FIELDS, max_size=4), st.sampled_from([b"", b"abcde", b"5\r\nabcde\r\n0\r\n\r\n", HIDDEN]))
def test_any_head_is_as_many_requests_as_a_strict_parser_sees(line: bytes, fields: list[bytes], body: bytes) -> None:
    """A small sample of tests/fuzz/test_connection.py, which tries many more."""
    agree(b"\r\n".join([line, b"Host: x", *fields, b"", body]) + HIDDEN)


# --- Host


@pytest.mark.parametrize(
    "hosts",
    [(), (b"Host: x", b"Host: x"), (b"Host: x", b"host: y")]
    + [
        (b"Host: " + name,)
        for name in (b"a b", b"a,b", b"a/b", b"a@b", b"a:b", b"a:1:2", b"[::1", b"\xe4", b'"a"', b"a\\b", b"%zz")
    ],
    ids=repr,
)
def test_a_host_is_one_host(client: Client, hosts: tuple[bytes, ...]) -> None:
    """RFC 9112 3.2: a request has exactly one valid Host."""
    client.send(b"\r\n".join([b"GET /healthz HTTP/1.1", *hosts, b"", b""]) + HIDDEN)
    assert_problem(client.answer(), 400, "invalid_request")
    assert client.ended()


@pytest.mark.parametrize(
    "host", [b"", b"x", b"x.test.:3000", b"127.0.0.1:1", b"[::1]:1", b"a_b", b"x:", b"xn--bcher-kva.test"]
)
def test_a_host(client: Client, host: bytes) -> None:
    client.send(b"GET /healthz HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
    assert client.answer().status == 200


def test_http_1_0_needs_no_host(api: ApiServer) -> None:
    for hosts, status in ((b"", 200), (b"Host: x\r\n", 200), (b"Host: x\r\nHost: x\r\n", 400), (b"Host: a b\r\n", 400)):
        with connected(api) as client:
            client.send(b"GET /healthz HTTP/1.0\r\n" + hosts + b"\r\n")
            assert client.answer().status == status
            assert client.ended()


def test_the_host_of_a_whole_url_counts(client: Client, tenant: Tenant) -> None:
    """RFC 9112 3.2.2: the host of the URL wins over the Host header."""
    path = b"/.well-known/mta-sts.txt"
    asked = b"mta-sts." + tenant.domain.encode()
    for url, host, status in ((asked, b"other.test", 200), (b"other.test", asked, 404)):
        client.send(b"GET http://%b%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (url, path, host))
        assert client.answer().status == status


# --- honest clients


def test_curl_that_offers_http_2(api: ApiServer) -> None:
    """`curl --http2` offers an upgrade. Without a body, the answer is HTTP/1.1; with a body, the
    request is refused with a clear message."""
    url = f"http://127.0.0.1:{api.port}"
    command = ["curl", "-sS", "--http2", "-w", " %{http_code} %{http_version}"]
    plain = subprocess.run([*command, f"{url}/healthz", f"{url}/healthz"], capture_output=True, text=True, check=True)
    assert plain.stdout == '{"status":"ok"} 200 1.1' * 2
    posted = subprocess.run([*command, "-d", "{}", f"{url}{CREATE}"], capture_output=True, text=True, check=True)
    assert "use plain HTTP/1.1" in posted.stdout
    assert posted.stdout.endswith(" 400 1.1")
    forced = subprocess.run(
        [*command, "--http1.1", "-d", "{}", f"{url}{CREATE}"], capture_output=True, text=True, check=True
    )
    assert forced.stdout.endswith(" 401 1.1")


def test_a_body_that_is_asked_for(client: Client, tenant: Tenant) -> None:
    """Expect: 100-continue. The second request shows that the connection is still in sync."""
    body = body_for(tenant, "a")
    lines = (b"Content-Type: application/json", b"Expect: 100-Continue", b"Content-Length: %d" % len(body))
    client.send(head(tenant.key, *lines, start=b"POST " + CREATE.encode()))
    assert client.reading.readline() + client.reading.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(body + head(tenant.key))
    assert client.answer().status == 201
    assert client.answer().status == 200


def test_a_body_that_was_not_asked_for(client: Client) -> None:
    """After a refusal the client may send either its body or its next request. The server cannot
    know which, so the connection closes."""
    lines = b"Host: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(HIDDEN)
    client.send(b"POST %b HTTP/1.1\r\n%b" % (CREATE.encode(), lines))
    assert_problem(client.answer(), 401, "unauthorized")
    client.send(HIDDEN)
    assert client.ended()


def test_the_rest_of_a_body_after_its_answer_is_not_a_request(client: Client) -> None:
    client.send(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (CREATE.encode(), len(HIDDEN)))
    assert client.answer().status == 401
    client.send(HIDDEN[:10])
    client.send(HIDDEN[10:] + HEALTH)
    assert client.answer().json == {"status": "ok"}


def test_a_fault_behind_an_answer_is_not_answered(client: Client) -> None:
    """The client would take a second answer for the answer to its next request."""
    client.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.answer().json == {"status": "ok"}
    client.send(b"zz\r\n" + HEALTH)
    assert client.ended()


def test_a_pipeline_waits_for_each_answer() -> None:
    """Later requests are kept as bytes and parsed one at a time, so that few bytes never need much
    memory."""
    found = ours(HEALTH * 3 + b"x")
    assert [one.target for one in found.requests] == [b"/healthz"] * 3


def test_the_grammar_never_backtracks() -> None:
    """The expressions never backtrack: each judges the largest head in one pass."""
    line = b"GET / HTTP/1.1\r\n"
    for bad in (b"a" * 30_000, line + b"a:" + b" \t" * 15_000, line + b"a: b\r\n" * 5_000 + b"\n", b"/" * 30_000):
        assert framing.LINE.match(bad) is None or b"\r\n\r\n" not in bad
    with pytest.raises(Refused):
        framing.framing("1.1", [(b"host", b"%41" * 10_000 + b"@")], False)
