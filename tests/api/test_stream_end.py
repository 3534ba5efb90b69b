"""A stop does not wait for the client of a stream who does not read, and the bounds of streams."""

import socket
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from postroom.api import connection
from postroom.api.event_stream import MOST_OF_ACCOUNT, MOST_STREAMS, EventStreams
from postroom.db import migrate
from postroom.errors import Busy, TooMany
from postroom.messages.mailbox_states import MailboxState
from tests.harness.server import ApiServer
from tests.harness.service import LONG, wait_for

FAR = 3600.0


def test_a_client_that_does_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would end its connection in the time of this test."""
    monkeypatch.setattr(connection, "STALL_SECONDS", FAR)
    url = f"sqlite:///{tmp_path / 'postroom.db'}"
    migrate(url)
    running = ApiServer.start(url)
    api = running.__enter__()
    tenant = api.new_tenant()
    api.messages.states = {f"{number} {'x' * 200}": MailboxState(1, 1, 1, 0) for number in range(50_000)}
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", api.port))
        path = f"/v2/email-accounts/{tenant.account()['id']}/changes"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {tenant.key}\r\n\r\n".encode())
        wait_for("the first events", lambda: b"data" in client.recv(4096, socket.MSG_PEEK))
        stopping = Thread(target=running.__exit__, args=(None, None, None), daemon=True)
        stopping.start()
        stopping.join(LONG)
        assert not stopping.is_alive(), "it waits for a client that does not read"


def test_bounds() -> None:
    streams = EventStreams()
    for _ in range(MOST_OF_ACCOUNT):
        streams.enter(1)
    with pytest.raises(TooMany):
        streams.enter(1)
    for account_id in range(2, 2 + MOST_STREAMS - MOST_OF_ACCOUNT):
        streams.enter(account_id)
    with pytest.raises(Busy):
        streams.enter(0)
    streams.leave(2)
    streams.enter(0)
