"""Clients that the server waits for: how many per address, and clients that do not read their
answers."""

import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from postroom.api import connection as connection_module
from postroom.api.connection import Connection
from postroom.api.peers import Peers
from postroom.settings import Settings
from tests.api.test_connection import HEALTH, LONG, Client, assert_problem, connected
from tests.harness.server import ApiServer
from tests.harness.service import wait_for


def waiting(server: ApiServer, stack: ExitStack, start: bytes = b"GET") -> Client:
    """A connection with a request that is begun and not finished."""
    one = stack.enter_context(connected(server))
    one.send(start)
    return one


UNFINISHED = [b"", b"GET /", b"POST /console/session HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"]


@pytest.mark.parametrize("start", UNFINISHED, ids=["nothing", "half a head", "no body"])
def test_unfinished_requests_of_an_address_are_bounded(
    database_url: str, monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    """Unfinished requests are bounded per address. Idle connections, whose requests are answered,
    are not."""
    monkeypatch.setattr(connection_module, "MOST_WAITING", 3)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(2)]
        for client in idle:
            client.send(HEALTH)
            assert client.answer().status == 200
        held = [waiting(server, stack, start) for _ in range(3)]
        refused = stack.enter_context(connected(server))
        answer = refused.answer()
        assert_problem(answer, 429, "too_many_requests")
        assert answer.headers["retry-after"] == "1"
        assert refused.ended()
        idle[0].send(HEALTH)  # a whole request does not wait for its client
        assert idle[0].answer().status == 200
        idle[1].send(HEALTH[:9])
        assert_problem(idle[1].answer(), 429, "too_many_requests")
        with connected(server, "127.0.0.2") as stranger:
            stranger.send(HEALTH)
            assert stranger.answer().status == 200
        held[0].socket.close()
        held[0].reading.close()
        free(server)


def free(server: ApiServer) -> None:
    """Waits until the server accepts a request again."""
    for _ in range(10_000):
        if server.request("GET", "/healthz").status == 200:
            return
    raise AssertionError("the place did not become free")


def test_a_trusted_proxy_is_not_counted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    settings = Settings(rate_limit="off", trusted_proxies="127.0.0.2/32")
    with ApiServer.start(database_url, settings) as server, ExitStack() as stack:
        held = [stack.enter_context(connected(server, "127.0.0.2")) for _ in range(4)]
        for client in held:
            client.send(HEALTH[:9])
        for client in held:
            client.send(HEALTH[9:])
            assert client.answer().status == 200
        for _ in range(2):
            waiting(server, stack)
        assert_problem(stack.enter_context(connected(server)).answer(), 429, "too_many_requests")


def test_the_body_of_a_client_behind_a_proxy(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that a trusted proxy streams counts for the client that the proxy names."""
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    settings = Settings(rate_limit="off", trusted_proxies="127.0.0.2/32")
    with ApiServer.start(database_url, settings) as server, ExitStack() as stack:

        def streamed(client: bytes) -> Client:
            one = stack.enter_context(connected(server, "127.0.0.2"))
            one.send(UNFINISHED[2].replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.1, %b\r\n\r\n" % client))
            return one

        held = [streamed(b"203.0.113.7") for _ in range(2)]
        assert_problem(streamed(b"203.0.113.7").answer(), 429, "too_many_requests")
        other = streamed(b"203.0.113.8")
        other.send(b"123456789")
        assert other.answer().status == 415
        held[0].send(b"123456789")
        assert held[0].answer().status == 415
        again = streamed(b"203.0.113.7")
        again.send(b"123456789")
        assert again.answer().status == 415


def test_idle_connections_of_one_address_make_room(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address may hold more connections than its share until another address needs a place."""
    monkeypatch.setattr(connection_module, "MOST_CONNECTIONS", 5)
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        crowd = [stack.enter_context(connected(server)) for _ in range(2)]
        for number in range(5):
            client = crowd[number] if number < 2 else stack.enter_context(connected(server))
            crowd += [client] if number >= 2 else []
            client.send(HEALTH)
            assert client.answer().status == 200
        # Its own address holds every place.
        assert_problem(stack.enter_context(connected(server)).answer(), 503, "busy")
        others = [stack.enter_context(connected(server, "127.0.0.2")) for _ in range(2)]
        for other in others:
            other.send(HEALTH)
            assert other.answer().status == 200
        assert sum(is_open(client) for client in crowd) == 3


def is_open(client: Client) -> bool:
    """Whether the connection still answers a request."""
    try:
        client.send(HEALTH)
        return client.reading.readline() != b""
    except OSError:
        return False


def test_refusals_take_no_place(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection that lingers does not count. Otherwise refused clients could fill every
    place."""
    monkeypatch.setattr(connection_module, "MOST_CONNECTIONS", 4)
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    monkeypatch.setattr(connection_module, "MOST_REFUSED", 3)
    monkeypatch.setattr(connection_module, "LINGER_SECONDS", LONG)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        for _ in range(2):
            waiting(server, stack)
        for _ in range(5):  # three linger; the others get an answer too
            assert_problem(stack.enter_context(connected(server)).answer(), 429, "too_many_requests")
        for _ in range(2):
            other = stack.enter_context(connected(server, "127.0.0.2"))
            other.send(HEALTH)
            assert other.answer().status == 200


# --- clients that do not read


LARGE = b"/docs/swagger-ui-bundle.js"


def deaf(server: ApiServer, stack: ExitStack, path: bytes = LARGE, line: bytes = b"") -> Client:
    """A client that asks for much and reads nothing."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.settimeout(LONG)
    listener.connect(("127.0.0.1", server.port))
    one = stack.enter_context(connected(server, of=listener))
    with suppress(OSError):
        for _ in range(40):
            one.send(b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, line))
    return one


def held(server: ApiServer, count: int) -> None:
    """Waits until the server has exactly `count` connections."""
    wait_for(f"{count} connections", lambda: connections(server.port) == count)


def connections(port: int) -> int:
    """The number of established connections to this port, counted at the server's end."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


@pytest.mark.parametrize("path", [LARGE, b"/openapi.json"], ids=repr)
def test_a_client_that_does_not_read(database_url: str, monkeypatch: pytest.MonkeyPatch, path: bytes) -> None:
    """The server drops a client that does not read, for a file sent in pieces and for answers in
    one piece."""
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.3)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        deaf(server, stack, path)
        held(server, 0)


def test_a_client_that_reads_slowly(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps reading gets the whole answer."""
    monkeypatch.setattr(connection_module, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(connection_module, "SLOWEST_BYTES", 1)
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        size = len(server.request("GET", LARGE.decode()).text.encode())
        one = deaf(server, stack, LARGE, b"Connection: close\r\n")
        got = 0
        one.socket.settimeout(LONG)
        # At the end, because the server did not read the other requests.
        with suppress(ConnectionResetError):
            while more := one.socket.recv(50_000):
                got += len(more)
                threading.Event().wait(0.001)
        assert got > size


def test_clients_that_do_not_read_are_counted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "MOST_WAITING", 2)
    paused: list[Connection] = []
    pause = Connection.pause_writing
    monkeypatch.setattr(Connection, "pause_writing", lambda one: (pause(one), paused.append(one)))
    with ApiServer.start(database_url) as server, ExitStack() as stack:
        for _ in range(2):
            deaf(server, stack)
        wait_for("answers that are not taken", lambda: len(paused) == 2)
        assert server.request("GET", "/healthz").status == 429
        with connected(server, "127.0.0.2") as stranger:
            stranger.send(HEALTH)
            assert stranger.answer().status == 200


def test_a_closed_connection_is_not_counted(api: ApiServer) -> None:
    """When a connection ends, for whatever reason, its place is free again."""
    peers = Peers()
    one = peers.enter("2001:db8::1")
    assert peers.enter("2001:db8::2") is one
    assert peers.enter("192.0.2.1") is not one
    peers.leave(one)
    peers.leave(one)
    assert peers.enter("2001:db8::1") is not one
