"""Clients that hold connections, a clock that jumps, and a restart of PostgreSQL, while other
clients work."""

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from postroom.api.connection import MOST_CONNECTIONS
from tests.faults.conftest import new_ledger
from tests.faults.ledger import Ledger
from tests.faults.load import Load, settled
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service, wait_for

pytestmark = pytest.mark.long
FAKETIME = "faketime/libfaketimeMT.so.1"


@contextmanager
def many_files() -> Iterator[None]:
    """This process needs this number of connections itself."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(20_000, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def opened(service: Service, stack: ExitStack, number: int) -> socket.socket:
    address = (f"127.0.{number // 250}.{number % 250 + 1}", 0)
    return stack.enter_context(socket.create_connection(("127.0.0.1", service.ports["port"]), 30, address))


def test_10_000_connections(ledger: Ledger, mailbox: str) -> None:
    """900 are accepted, the others get a 503. When they end, all clients are served again."""
    with many_files(), ExitStack() as stack:
        crowd = [opened(ledger.service, stack, number) for number in range(10_000)]
        told = 0
        for client in crowd[MOST_CONNECTIONS:]:
            client.settimeout(60)
            try:
                said = client.recv(64)
            except ConnectionResetError:  # more refusals than can be sent at a time
                continue
            assert said == b"" or said.startswith(b"HTTP/1.1 503 ")
            told += said != b""
        assert told > 0
    wait_for("an answer", lambda: ledger.service.get("/healthz")[0] == 200)
    with Load(ledger, mailbox) as load:
        load.wait_for(50)
    ledger.compare()


def test_slow_clients(ledger: Ledger, mailbox: str) -> None:
    """800 clients send a byte of the head from time to time (slowloris). Others are served, and the
    slow clients are disconnected."""
    stop = threading.Event()
    with many_files(), ExitStack() as stack:
        crowd = [opened(ledger.service, stack, number) for number in range(800)]
        for client in crowd:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nx-crumb: ")

        def drip() -> None:
            while not stop.wait(1):
                for client in crowd:
                    try:
                        client.send(b"x")
                    except OSError:
                        continue

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with Load(ledger, mailbox) as load:
                load.wait_for(100)
            for client in crowd:
                client.settimeout(60)
                try:
                    assert client.recv(64).startswith(b"HTTP/1.1 408 ")
                except ConnectionResetError:
                    continue
        finally:
            stop.set()
            thread.join()
    ledger.compare()


def test_the_clock_jumps() -> None:
    """One day back and ten days ahead: ids and events stay in order, and no request fails."""
    (library,) = Path("/usr/lib").glob(f"*/{FAKETIME}")  # from the package faketime
    with Service.new(mail="off", rate_limit="off") as service:
        service.start()
        ledger = new_ledger(service)
        assert service.stop() == 0
        now = service.data.parent / "now"
        now.write_text("+0")
        now.chmod(0o644)
        preload = [f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={now}", "FAKETIME_NO_CACHE=1"]
        service.prefix = ("env", *preload, "DONT_FAKE_MONOTONIC=1")
        service.launch("--only", "api")
        wait_for("the API", lambda: "}'" in service.said() or service.ended())
        with Load(ledger) as load:
            for jump in ("-1d", "+0", "+10d", "-1y", "+1d"):
                load.wait_for(30)
                now.write_text(jump)
            load.wait_for(30)
        ledger.compare()
        client = ledger.client()
        events = client.get("/v2/events", limit=500)["items"]
        assert [event["id"] for event in events] == sorted(event["id"] for event in events)
        times = [event["created_at"] for event in events]
        assert times != sorted(times), "the clock did not jump"
        client.close()
        assert service.stop() == 0


def test_postgresql_is_restarted_under_load() -> None:
    """An immediate stop is a crash. What was acknowledged survives it, and Postroom needs no
    restart."""
    with PostgresServer.start() as postgres, Service.new(mail="off", rate_limit="off") as service:
        service.settings["database_url"] = postgres.new_database()
        service.start()
        ledger, api = new_ledger(service), service.pid("api")
        for _ in range(3):
            with Load(ledger) as load:
                load.wait_for(50)
                postgres.restart()
                load.wait_for(50)
            assert service.pid("api") == api
            wait_for("all readers", lambda: settled(ledger))
            ledger.compare()
