"""A stop of the service ends streams at once and in order."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.harness.service import Service
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new() as new:
        yield new.start()


def opened(box: Mailbox) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", box.platform.service.ports["port"]), timeout=60)
    path = f"/v2/email-accounts/{box.id}/changes"
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {box.platform.key}\r\n\r\n".encode())
    return client


def all_of(client: socket.socket) -> bytes:
    found = b""
    while piece := client.recv(65536):
        found += piece
    return found


def test_it_works(service: Service) -> None:
    """uvicorn says in the log if it had to give up an answer."""
    box = Platform.new(service).create()
    with closing(opened(box)) as one, closing(opened(box)) as other:
        heard = b""
        while b'"Trash"' not in heard:
            heard += one.recv(65536)
        append(box, b"Subject: x\r\n\r\nx\r\n")
        while b'"added"' not in heard:
            heard += one.recv(65536)
        assert service.stop() == 0
        assert (heard + all_of(one)).endswith(b"\r\n0\r\n\r\n")
        assert all_of(other).endswith(b"\r\n0\r\n\r\n")
    log = (service.data / "log" / "api.log").read_text()
    assert "graceful" not in log
    assert "exception" not in log.lower()
