"""A writer whose work can be observed, and ways to keep it busy."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.db.tx import Row, WriteConnection
from postroom.db.writer import Writer

ADD = "INSERT INTO organizations (name, created_at) VALUES (:name, 1) RETURNING id"
FIND = "SELECT name FROM organizations WHERE name = :name"


def add(name: str) -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        tx.run(ADD, name=name)
        return name

    return work


class Watched:
    """A connection that counts commits, and fails at a statement if told to."""

    def __init__(self, connection: WriteConnection) -> None:
        self._connection = connection
        self.statements: list[str] = []
        self.failing: dict[str, Exception] = {}

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        self._note(sql)
        return self._connection.fetch(sql, params)

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self._note(sql)
        self._connection.run(sql, params)

    def _note(self, sql: str) -> None:
        self.statements.append(sql)
        if sql in self.failing:
            raise self.failing.pop(sql)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        self._note("begin")
        with self._connection.transaction():
            yield

    def limit_lock_waits(self) -> None:
        self._connection.limit_lock_waits()

    def checkpoint(self, *, idle: bool) -> None:
        self._connection.checkpoint(idle=idle)

    def in_transaction(self) -> bool:
        return self._connection.in_transaction()

    def close(self) -> None:
        self.statements.append("closed")
        self._connection.close()

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


class WatchedEngine:
    """A real engine with an observed connection for its writer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = engine_for(url)
        self.watched = Watched(self.engine.writer())


def found(engine: WatchedEngine, name: str) -> bool:
    """Returns whether another connection sees the row."""
    other = engine.engine.connect()
    try:
        return bool(other.fetch(FIND, {"name": name}))
    finally:
        other.close()


@contextlib.asynccontextmanager
async def held(writer: Writer) -> AsyncIterator[None]:
    """In this block a job keeps the writer's thread busy, so that new jobs wait."""
    go = threading.Event()
    job = await begun(writer, go)
    try:
        yield
    finally:
        go.set()
        await job


async def begun(writer: Writer, go: threading.Event, more: Callable[[Tx], Any] = lambda _: None) -> asyncio.Task[Any]:
    """Starts a job in which the thread waits until `go` is set, and then runs `more`."""
    entered, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait(tx: Tx) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(30)
        more(tx)

    job = asyncio.create_task(writer.write(wait))
    await entered.wait()
    return job


async def sent(writer: Writer, *works: Callable[[Tx], Any]) -> list[asyncio.Task[Any]]:
    """Puts jobs into the queue and returns their tasks."""
    tasks = [asyncio.create_task(writer.write(work)) for work in works]
    await asyncio.sleep(0)
    return tasks


def run(engine: WatchedEngine, test: Callable[[Writer], Any]) -> Any:
    async def go() -> Any:
        writer = Writer(engine.watched)
        try:
            return await test(writer)
        finally:
            await asyncio.to_thread(writer.close)

    return asyncio.run(go())
