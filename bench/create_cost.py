"""What a create costs, in µs of CPU time: its transaction alone, in a batch, and the whole request
without sockets.

    python -m bench.create_cost

One process, no client; best of many rounds, so that what else the machine does hardly shows.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.connection_cost import Nowhere
from bench.fill import fill
from bench.parts import application, connect, on_a_new_database
from bench.report import Row, show
from postroom.accounts import passwords
from postroom.accounts.commands import CreateAccount, create
from postroom.actor import Actor
from postroom.api.connection import Connection, configure
from postroom.db import Tx, open_database
from postroom.db.database import engine_for

ACCOUNTS = 20_000
TOGETHER = 32  # as many as the connections of the other measurements
ROUNDS = 60


class Answers(Nowhere):
    """Takes answers, and says when all that were wanted have come."""

    def __init__(self) -> None:
        super().__init__()
        self._left, self._all = 0, asyncio.Event()

    def want(self, count: int) -> None:
        self._left = count
        self._all.clear()

    async def wait(self) -> None:
        await self._all.wait()

    def write(self, data: Any) -> None:
        assert data.startswith(b"HTTP/1.1 201"), data
        self._left -= 1
        if self._left == 0:
            self._all.set()


class Creates:
    """The ways to make accounts that are measured, each over a range of numbers and in seconds
    of CPU time."""

    def __init__(self, url: str) -> None:
        organization, self._key, _ = fill(url, ACCOUNTS, 1)
        self._database, self._connection = open_database(url), engine_for(url).writer()
        self._actor, self._hashed = Actor(organization), passwords.hash_generated(passwords.generate())
        app, self._answers = application(self._database), Answers()
        self._clients = [connect(Connection, configure(app)) for _ in range(TOGETHER)]
        for client in self._clients:
            client.connection_made(self._answers)

    def close(self) -> None:
        self._connection.close()
        self._database.close()

    def _alone(self, number: int) -> Callable[[Tx], object]:
        command = CreateAccount("d0.test", f"alone{number}", f"user_{number % 1000}", None, self._hashed)
        return lambda tx: create(tx, self._actor, command)

    async def one(self, numbers: range) -> float:
        began = time.process_time()
        for number in numbers:
            await self._database.write(self._alone(number))
        return time.process_time() - began

    async def batch(self, numbers: range) -> float:
        began = time.process_time()
        await asyncio.gather(*(self._database.write(self._alone(number)) for number in numbers))
        return time.process_time() - began

    async def statements(self, numbers: range) -> float:
        with self._connection.transaction():
            began = time.process_time()
            for number in numbers:
                self._alone(number)(Tx(self._connection))
            spent = time.process_time() - began
            self._connection.fetch("COMMIT", {})
        return spent

    async def whole(self, numbers: range) -> float:
        began = time.process_time()
        self._answers.want(len(numbers))
        for client, number in zip(self._clients, numbers, strict=True):
            body = b'{"domain":"d0.test","local_part":"whole%d","user_id":"user_%d"}' % (number, number % 1000)
            head = f"POST /v2/email-accounts/create HTTP/1.1\r\nHost: x\r\nx-api-key: {self._key}\r\ncontent-type: "
            head += f"application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            client.data_received(head.encode() + body)
        await self._answers.wait()
        return time.process_time() - began


async def costs(url: str) -> dict[str, float]:
    """µs of each, the best of many rounds."""
    creates = Creates(url)
    kinds = {
        "one": creates.one,
        "batch": creates.batch,
        "statements": creates.statements,
        "whole": creates.whole,
    }
    best = dict.fromkeys(kinds, float("inf"))
    for number in range(ROUNDS):
        for place, (name, run) in enumerate(kinds.items()):
            first = (number * len(kinds) + place) * TOGETHER
            best[name] = min(best[name], await run(range(first, first + TOGETHER)) / TOGETHER * 1e6)
    creates.close()
    return best


def measure() -> Iterator[Row]:
    with _no_output():  # the log, which belongs to it
        best = on_a_new_database(costs)
    for what, value in (
        (f"create, {TOGETHER} at once, whole", best["whole"]),
        (f"of that: the transaction, {TOGETHER} a commit, with the thread and its commit", best["batch"]),
        ("of that: the ten statements", best["statements"]),
        ("of that: HTTP, the key, the password, JSON, the line of the log", best["whole"] - best["batch"]),
        ("a transaction and a commit for each", best["one"]),
    ):
        yield Row(what, value, "µs", 0.0)


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Redirects the file descriptor of the standard output to nowhere, because a logger keeps the
    stream that it was made with."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    for row in measure():
        print(show(row))
