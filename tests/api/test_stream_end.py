"""A stop does not wait for the client of a stream who does not read, and the bounds of streams."""

import contextlib
import contextvars
import socket
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Thread

import pytest

from postroom.actor import Actor
from postroom.api import connection
from postroom.api.event_stream import MOST_OF_ACCOUNT, MOST_OF_KEY, MOST_OF_USER, MOST_STREAMS, event_streams
from postroom.db import migrate
from postroom.errors import Busy, TooMany
from postroom.messages.mailbox_states import MailboxState
from postroom.messages.shares import asker
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
    streams = event_streams()
    for _ in range(MOST_OF_ACCOUNT):
        streams.take(1)
    with pytest.raises(TooMany):
        streams.take(1)
    ends = [streams.take(account_id) for account_id in range(2, 2 + MOST_STREAMS - MOST_OF_ACCOUNT)]
    with pytest.raises(Busy):
        streams.take(0)
    for _ in range(2):
        ends[0]()
    streams.take(0)
    with pytest.raises(Busy):
        streams.take(0)


def test_shares() -> None:
    """The accounts of a user and the users of a key leave places to others. So do two keys."""
    streams, accounts = event_streams(), count(1)

    def taken(root_id: int, user_id: str | None = None, most: int = MOST_STREAMS) -> list[Callable[[], None]]:
        """Takes places, as many as there are for this key or user."""
        asker.set(Actor(1, root_id=root_id, user_id=user_id, token_id=next(accounts)))
        ends: list[Callable[[], None]] = []
        with contextlib.suppress(TooMany):
            while len(ends) < most:
                ends.append(streams.take(next(accounts)))
        return ends

    def check() -> None:
        ends = taken(1, "ann")
        assert len(ends) == MOST_OF_USER
        assert not taken(1, "ann")
        ends += taken(1, "bob", 1)
        ends += taken(1)
        assert len(ends) == MOST_OF_KEY
        assert not taken(1, "carl")
        ends += taken(2)
        assert len(ends) == MOST_OF_KEY + MOST_OF_KEY // 2
        ends += taken(3, most=1)
        assert len(ends) == MOST_OF_KEY + MOST_OF_KEY // 2 + 1
        for end in ends:
            end()

    for _ in range(2):
        contextvars.copy_context().run(check)
