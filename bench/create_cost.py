"""What a create costs, in µs of CPU time: its transaction alone, in a batch, and the whole request without sockets.

    python -m bench.create_cost

One process, no client; best of many rounds, so that what else the machine does hardly shows.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from bench.connection_cost import Nowhere
from bench.fill import fill
from bench.parts import application, connect, on_a_new_database
from bench.report import Row, show
from postroom import passwords
from postroom.accounts import CreateAccount, create
from postroom.actor import Actor
from postroom.api.connection import Connection, configure
from postroom.db import Tx, open_database
from postroom.db.database import engine_for

ACCOUNTS = 20_000
TOGETHER = 32  # as many as the connections of the other measurements
ROUNDS = 60


class Answers(Nowhere):
    """Takes answers and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def write(self, data: Any) -> None:
        assert data.startswith(b"HTTP/1.1 201"), data
        self.count += 1


async def costs(url: str) -> dict[str, float]:
    organization, key, _ = fill(url, ACCOUNTS, 1)
    database, engine = open_database(url), engine_for(url)
    connection = engine.writer()
    app, answers = application(database), Answers()
    clients = [connect(Connection, configure(app)) for _ in range(TOGETHER)]
    for client in clients:
        client.connection_made(answers)
    actor, hashed = Actor(organization), passwords.hash_generated(passwords.generate())

    def alone(number: int) -> Callable[[Tx], object]:
        command = CreateAccount("d0.test", f"alone{number}", f"user_{number % 1000}", None, hashed)
        return lambda tx: create(tx, actor, command)

    async def batch(numbers: range) -> None:
        await asyncio.gather(*(database.write(alone(number)) for number in numbers))

    async def one(numbers: range) -> None:
        for number in numbers:
            await database.write(alone(number))

    async def statements(numbers: range) -> float:
        with engine.begun(connection):
            began = time.process_time()
            for number in numbers:
                alone(number)(Tx(connection))
            spent = time.process_time() - began
            connection.fetch("COMMIT", {})
        return spent

    async def whole(numbers: range) -> None:
        wanted = answers.count + len(numbers)
        for client, number in zip(clients, numbers, strict=True):
            body = b'{"domain":"d0.test","local_part":"whole%d","user_id":"user_%d"}' % (number, number % 1000)
            head = f"POST /v2/email-accounts/create HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\ncontent-type: "
            head += f"application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            client.data_received(head.encode() + body)
        while answers.count < wanted:
            await asyncio.sleep(0.0005)

    def timed(run: Callable[[range], Awaitable[None]]) -> Callable[[range], Awaitable[float]]:
        async def spent(numbers: range) -> float:
            began = time.process_time()
            await run(numbers)
            return time.process_time() - began

        return spent

    kinds = {"one": timed(one), "batch": timed(batch), "statements": statements, "whole": timed(whole)}
    best = dict.fromkeys(kinds, float("inf"))
    for number in range(ROUNDS):
        for place, (name, run) in enumerate(kinds.items()):
            first = (number * len(kinds) + place) * TOGETHER
            best[name] = min(best[name], await run(range(first, first + TOGETHER)) / TOGETHER * 1e6)
    connection.close()
    database.close()
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
    """Whoever holds the standard output writes to nowhere: a logger keeps the one that it was made with."""
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
