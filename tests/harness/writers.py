"""A writer that is watched at its work, and ways to keep it busy."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.db.tx import Connection, Row
from postroom.db.writer import Engine, LoopReads, Writer

ADD = "INSERT INTO organizations (name, created_at) VALUES (:name, 1) RETURNING id"
FIND = "SELECT name FROM organizations WHERE name = :name"


def add(name: str) -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        tx.run(ADD, name=name)
        return name

    return work


class Watched:
    """A connection that counts commits and fails at a statement when told to."""

    def __init__(self, connection: Connection) -> None:
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

    def in_transaction(self) -> bool:
        return self._connection.in_transaction()

    def close(self) -> None:
        self.statements.append("closed")
        self._connection.close()

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


class WatchedEngine:
    """A real engine whose writing connection is watched."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = engine_for(url)
        self.identity, self.exact_text = self._engine.identity, self._engine.exact_text
        self.begin = "BEGIN IMMEDIATE" if url.startswith("sqlite") else "BEGIN"
        self.runs_in_loop = self._engine.runs_in_loop
        self.patience = self._engine.patience
        self.size, self.has_roles = self._engine.size, self._engine.has_roles
        self.watched = Watched(self._engine.writer())
        self.begun_in: list[str] = []

    def reader(self) -> Connection:
        return self._engine.reader()

    def loop_reads(self) -> LoopReads | None:
        return self._engine.loop_reads()

    def writer(self, *, is_patient: bool = False) -> Watched:
        return self.watched

    def begun(self, connection: Watched, *, waits: bool = True) -> contextlib.AbstractContextManager[None]:
        self.begun_in.append(threading.current_thread().name)
        return self._engine.begun(connection, waits=waits)

    def checkpoint(self, connection: Watched, *, idle: bool) -> None:
        self._engine.checkpoint(connection, idle=idle)


def found(engine: Engine, name: str) -> bool:
    """Whether another connection sees the row."""
    other = engine.reader()
    try:
        return bool(other.fetch(FIND, {"name": name}))
    finally:
        other.close()


@contextlib.asynccontextmanager
async def held(writer: Writer) -> AsyncIterator[None]:
    """While this lasts the writer's thread is busy with a job, and what is sent waits."""
    go = threading.Event()
    job = await begun(writer, go)
    try:
        yield
    finally:
        go.set()
        await job


async def begun(writer: Writer, go: threading.Event, more: Callable[[Tx], Any] = lambda _: None) -> asyncio.Task[Any]:
    """A job that the thread is at until it is told to go on with `more`."""
    entered, loop = asyncio.Event(), asyncio.get_running_loop()

    def wait(tx: Tx) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(30)
        more(tx)

    job = asyncio.create_task(writer.write(wait, is_long=True))
    await entered.wait()
    return job


async def sent(writer: Writer, *works: Callable[[Tx], Any]) -> list[asyncio.Task[Any]]:
    """The jobs, in the queue."""
    tasks = [asyncio.create_task(writer.write(work)) for work in works]
    await asyncio.sleep(0)
    return tasks


def run(engine: WatchedEngine, test: Callable[[Writer], Any]) -> Any:
    async def go() -> Any:
        writer = Writer(engine)
        try:
            return await test(writer)
        finally:
            await asyncio.to_thread(writer.close)

    return asyncio.run(go())
