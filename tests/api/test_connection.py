"""Connections as bytes: the bounds that apply before the application is called, and bytes that
cannot be parsed."""

import http.client
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

from postroom.api import connection as connection_module
from postroom.api.connection import configure
from postroom.api.reading import LARGEST_HEAD, LARGEST_REQUEST, MOST_HEADERS
from postroom.settings import Settings
from tests.api.raw import CREATE, PATH, body_for
from tests.harness.server import ApiServer, Response, Tenant

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = 30


class Client:
    """A connection that sends bytes and reads answers."""

    def __init__(self, server: ApiServer, source: str = "127.0.0.1", of: socket.socket | None = None) -> None:
        where = ("127.0.0.1", server.port)
        self.socket = of or socket.create_connection(where, timeout=LONG, source_address=(source, 0))
        self.reading = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Response:
        """The next answer."""
        status = self.reading.readline()
        assert status, "the connection has ended"
        headers = {k.lower(): v for k, v in http.client.parse_headers(self.reading).items()}
        text = self.reading.read(int(headers["content-length"])).decode()
        return Response(int(status.split()[1]), headers, text)

    def ended(self) -> bool:
        """Waits until the server closes the connection. False if more bytes arrive."""
        try:
            return self.reading.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture
def client(api: ApiServer) -> Iterator[Client]:
    with connected(api) as one:
        yield one


@contextmanager
def connected(server: ApiServer, source: str = "127.0.0.1", of: socket.socket | None = None) -> Iterator[Client]:
    one = Client(server, source, of)
    try:
        yield one
    finally:
        one.reading.close()
        one.socket.close()


def head(key: str, *lines: bytes, start: bytes = b"GET " + PATH.encode()) -> bytes:
    return b"\r\n".join([start + b" HTTP/1.1", b"Host: x", b"x-api-key: " + key.encode(), *lines, b"", b""])


def assert_problem(answer: Response, status: int, code: str) -> None:
    """The answer is complete problem details, with `Connection: close`."""
    assert (answer.status, answer.code) == (status, code)
    assert re.fullmatch(r"[0-9a-f]{24}", answer.headers["x-request-id"])
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["connection"] == "close"
    assert "server" not in answer.headers


def test_it_works(client: Client, tenant: Tenant) -> None:
    for _ in range(3):
        client.send(head(tenant.key))
        assert client.answer().status == 200


def test_a_request_in_single_bytes(client: Client, tenant: Tenant) -> None:
    body = body_for(tenant, "a")
    lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    for byte in head(tenant.key, *lines, start=b"POST " + CREATE.encode()) + body:
        client.send(bytes([byte]))
    assert client.answer().status == 201


# --- the size of the head


def of_size(key: str, size: int) -> bytes:
    """A head that counts as `size` bytes: the target, and each header with four bytes of
    punctuation."""
    fixed = len(PATH) + len("host") + 1 + 4 + len("x-api-key") + len(key) + 4 + len("x") + 4
    return head(key, b"x: " + b"a" * (size - fixed))


@pytest.mark.parametrize("pieces", [1, 7])
def test_the_largest_head(client: Client, tenant: Tenant, pieces: int) -> None:
    for size, status in ((LARGEST_HEAD, 200), (LARGEST_HEAD + 1, 431)):
        data = of_size(tenant.key, size)
        for at in range(pieces):
            client.send(data[at * len(data) // pieces : (at + 1) * len(data) // pieces])
        answer = client.answer()
        assert answer.status == status
    assert_problem(answer, 431, "headers_too_large")
    assert client.ended()


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\nx", b"GET /?"])
def test_a_head_that_never_ends(client: Client, api: ApiServer, start: bytes) -> None:
    """A head that is too large is refused before it has arrived whole."""
    client.send(start)
    for _ in range(LARGEST_HEAD // 1024 + 1):
        client.send(b"a" * 1024)
    assert_problem(client.answer(), 431, "headers_too_large")
    assert client.ended()
    assert api.request("GET", "/healthz").status == 200


def test_a_long_target(client: Client, tenant: Tenant) -> None:
    client.send(head(tenant.key, start=b"GET /healthz?q=" + b"a" * 20_000))
    assert client.answer().status == 200
    client.send(head(tenant.key, start=b"GET /healthz?q=" + b"a" * LARGEST_HEAD))
    assert_problem(client.answer(), 431, "headers_too_large")


def test_the_number_of_headers(client: Client, tenant: Tenant) -> None:
    for more, status in ((MOST_HEADERS - 2, 200), (MOST_HEADERS - 1, 431)):
        client.send(head(tenant.key, *(b"x-%d: y" % number for number in range(more))))
        answer = client.answer()
        assert answer.status == status
    assert_problem(answer, 431, "headers_too_large")
    assert client.ended()


def test_many_small_requests_at_once_are_not_a_large_head(client: Client) -> None:
    number = 2 * LARGEST_HEAD // len(HEALTH)
    client.send(HEALTH * number + HEALTH[:-1])
    assert [client.answer().status for _ in range(number)] == [200] * number
    client.send(HEALTH[-1:])
    assert client.answer().status == 200


def test_the_answer_arrives_while_more_is_sent(client: Client, tenant: Tenant) -> None:
    client.send(of_size(tenant.key, 4 * LARGEST_HEAD))
    for _ in range(10):
        client.send(b"x" * 10_000)
    assert_problem(client.answer(), 431, "headers_too_large")


# --- bytes that are not HTTP


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n x: folded\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
    ids=ascii,
)
def test_what_is_not_http(client: Client, data: bytes) -> None:
    client.send(data)
    assert_problem(client.answer(), 400, "invalid_request")
    assert client.ended()


def test_it_is_in_the_log(client: Client, log_lines: list[str]) -> None:
    client.send(b"hello\r\n\r\n")
    id_ = client.answer().headers["x-request-id"]
    (line,) = (line for line in log_lines if id_ in line)
    assert "'status': 400" in line
    assert "'client_address': '127.0.0.1'" in line


def test_a_broken_chunk(client: Client, tenant: Tenant) -> None:
    lines = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")
    before = len(tenant.events())
    client.send(head(tenant.key, *lines, start=b"POST " + CREATE.encode()) + b"5\r\n{}")
    client.send(b"   zz\r\n")
    assert_problem(client.answer(), 400, "invalid_request")
    assert client.ended()
    assert len(tenant.events()) == before


def test_what_came_whole_before_is_answered_first(client: Client, tenant: Tenant) -> None:
    client.send(head(tenant.key) + HEALTH + b"\x00\x01\x02\r\n\r\n")
    assert "items" in client.answer().json
    assert client.answer().json == {"status": "ok"}
    assert_problem(client.answer(), 400, "invalid_request")
    assert client.ended()


def test_an_offer_to_upgrade_is_ignored(client: Client) -> None:
    """Some clients offer HTTP/2 this way with each first request."""
    offer = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    client.send(offer)
    assert client.answer().status == 200
    client.send(offer + offer + HEALTH)
    assert [client.answer().status for _ in range(3)] == [200] * 3


def test_trailers_are_not_headers(tenant: Tenant, database_url: str) -> None:
    body = body_for(tenant, "a")
    lines = (b"Content-Type: application/json", b"Transfer-Encoding: chunked", b"X-Forwarded-For: 203.0.113.7")
    chunks = b"%x\r\n%b\r\n0\r\nX-Forwarded-For: 198.51.100.1\r\nx-api-key: pr_other\r\n\r\n" % (len(body), body)
    settings = Settings(rate_limit="off", trusted_proxies="127.0.0.0/8")
    with ApiServer.start(database_url, settings) as server, connected(server) as client:
        client.send(head(tenant.key, *lines, start=b"POST " + CREATE.encode()) + chunks)
        assert client.answer().status == 201
    assert tenant.events()[-1]["client_address"] == "203.0.113.7"


def test_trailers_that_never_end(api: ApiServer, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the answer, the server stops reading trailers long before they fill the memory."""
    with hasty(monkeypatch, head_seconds=1), connected(api) as client:
        client.send(head(tenant.key, b"Transfer-Encoding: chunked") + b"0\r\n")
        assert client.answer().status == 200
        for _ in range(2 * LARGEST_REQUEST // 10_000):
            client.send(b"x: " + b"a" * 10_000 + b"\r\n")
        client.send(b"\r\n" + HEALTH)
        assert client.ended()


# --- time


@contextmanager
def hasty(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name, value in seconds.items():
            patch.setattr(connection_module, name.upper(), value)
        yield


def test_a_client_that_says_nothing(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with hasty(monkeypatch, head_seconds=0.1), connected(api) as client:
        assert client.ended()


@pytest.mark.parametrize("start", [b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_arrive(api: ApiServer, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    with hasty(monkeypatch, head_seconds=0.1, linger_seconds=0.1), connected(api) as client:
        client.send(start)
        assert_problem(client.answer(), 408, "request_timeout")
        assert client.ended()


def test_a_head_that_comes_slowly(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client cannot extend the time by sending a header now and then, neither on a new connection
    nor on a used one."""
    for before in (b"", HEALTH):
        with hasty(monkeypatch, head_seconds=0.3, linger_seconds=0.1), connected(api) as client:
            if before:
                client.send(before)
                assert client.answer().status == 200
            client.send(b"GET /healthz HTTP/1.1\r\n")
            client.socket.settimeout(0.02)
            assert trickle(client, b"x: y\r\n").startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("crumb", [b"\r\n", b"x"])
def test_crumbs_do_not_keep_a_connection(api: ApiServer, monkeypatch: pytest.MonkeyPatch, crumb: bytes) -> None:
    """Neither empty lines before a request nor the rest of an answered request's body keep a
    connection open."""
    with hasty(monkeypatch, head_seconds=0.3), connected(api) as client:
        if crumb == b"x":
            client.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            assert client.answer().status == 405
        client.socket.settimeout(0.02)
        assert trickle(client, crumb) == b""


def trickle(client: Client, crumb: bytes) -> bytes:
    """Sends crumbs until bytes arrive or the connection ends. Returns the bytes."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        try:
            client.send(crumb)
            return client.socket.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            return b""
    raise AssertionError("the connection stayed open")


def test_time_runs_for_heads_only(api: ApiServer, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body may take longer than a head, and an idle connection stays open."""
    body = body_for(tenant, "a")
    lines = (b"Content-Type: application/json", b"Content-Length: %d" % len(body))
    with hasty(monkeypatch, head_seconds=0.2), connected(api) as client, connected(api) as other:
        client.send(head(tenant.key, *lines, start=b"POST " + CREATE.encode()))
        assert other.ended()  # by now the time of a head is over for both connections
        client.send(body)
        assert client.answer().status == 201
        with connected(api) as third:
            assert third.ended()
        client.send(HEALTH)
        assert client.answer().status == 200


def test_an_idle_connection_is_closed(tenant: Tenant, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "KEEP_ALIVE_SECONDS", 0.1)
    assert configure(cast(Any, None)).timeout_keep_alive == 0.1
    with ApiServer.start(database_url) as server, connected(server) as client:
        client.send(HEALTH)
        assert client.answer().status == 200
        assert client.ended()


# --- the number of connections


def test_too_many_connections(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(connection_module, "MOST_REFUSED", 2)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(3)]
        for client in clients:
            client.send(HEALTH)
            assert client.answer().status == 200
        for _ in range(2):
            refused = stack.enter_context(connected(server))
            answer = refused.answer()
            assert_problem(answer, 503, "busy")
            assert answer.headers["retry-after"] == "1"
        assert stack.enter_context(connected(server)).ended()  # closed without an answer
        clients[0].send(HEALTH)
        assert clients[0].answer().status == 200
