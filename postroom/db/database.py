"""A process's hold on the database: the read path, the slow read path and the writer."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from postroom.db.sqlite import SQLite
from postroom.db.tx import Connection, ConnectionLost, Tx
from postroom.db.writer import Engine, Writer, run_alone
from postroom.errors import Busy

T = TypeVar("T")

READ_THREADS = 8
SEARCH_THREADS = 2
# Where a server finds the rows: one list is made from what it has sent while it looks for the next.
MANY_AT_ONCE = 2
# Turns of the loop that each such list leaves to others before it asks: a create takes eight.
TURNS_BETWEEN = 8
# Seconds that whoever asks waits in all: for the turn of a long list, for a search and its thread,
# for a sign of life.
LIST_SECONDS = 10.0
SEARCH_SECONDS = 40.0
PING_SECONDS = 3.0


def engine_for(url: str) -> Engine:
    """The engine of a `sqlite:///` or `postgresql://` URL."""
    if url.startswith("sqlite:///"):
        return SQLite(url)
    from postroom.db.postgres import Postgres  # its driver takes as long to load as half of the API

    return Postgres(url)


def open_database(url: str) -> "Database":
    """Opens the database of this process. Raises Busy when it cannot be reached."""
    return Database(engine_for(url))


class Database:
    """Reads in the loop where they are cheap, slow reads in threads, writes through the one
    writer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inline = engine.reader() if engine.runs_in_loop else None
        self._many = asyncio.Semaphore(MANY_AT_ONCE if self._inline is None else 1)
        self._locked_out = False  # the last read in the loop, or in a thread since, did not get in
        self._in_loop = engine.loop_reads()
        self._readers = _Readers(engine, READ_THREADS)
        self._searchers = _Readers(engine, SEARCH_THREADS)
        self._writer: Writer | None = None

    async def read(self, work: Callable[[Tx], T]) -> T:
        """A read that an index answers at once. Where another process keeps readers out, SQLite
        waits for ten seconds and cannot be told to wait less: the next ones wait in threads
        then, until one of them gets in."""
        if self._in_loop is not None:
            answer: T = await self._in_loop.run(work)
            return answer
        if self._inline is not None and not self._locked_out:
            try:
                return work(Tx(self._inline))
            except Busy:
                self._locked_out = True
                raise
        found = await self._readers.run(work)
        self._locked_out = False
        return found

    async def read_many(self, work: Callable[[Tx], T]) -> T:
        """A read of many rows, as `read`. In the loop there is one in a turn, however many have
        come: a write takes several turns, and each would wait for all of them."""
        async with _at_most(LIST_SECONDS):
            await self._many.acquire()
        try:
            for _ in range(TURNS_BETWEEN if self._inline is None else 1):
                await asyncio.sleep(0)
            if self._inline is None:
                return await self.read(work)
        finally:
            self._many.release()
        return await self.read(work)  # outside: in threads they need not wait for each other

    async def read_slow(self, work: Callable[[Tx], T]) -> T:
        """A read that may take long (a deep offset, a sum): it never holds up the loop."""
        async with _at_most(SEARCH_SECONDS):
            return await self._searchers.run(work)

    async def ping(self) -> None:
        """Raises Busy when the database does not answer."""
        work: Callable[[Tx], object] = lambda tx: tx.one("SELECT name FROM mail_host WHERE id = 1")  # noqa: E731
        async with _at_most(PING_SECONDS):
            await (self._searchers.run(work) if self._in_loop is None else self._in_loop.run(work))

    @property
    def waiting(self) -> int:
        """How many writes wait for the writer."""
        return self._writer.waiting if self._writer else 0

    async def size(self) -> int:
        """The bytes of the whole database."""
        row = await self.read_slow(lambda tx: tx.one(self._engine.size))
        return int(row[0]) if row else 0

    async def write(self, work: Callable[[Tx], T], *, is_long: bool = False) -> T:
        """A transaction; the answer comes after the commit. One that may touch any number of
        rows says so, and never holds up the loop. Raises Busy, and whatever `work` raises."""
        if self._writer is None:
            self._writer = Writer(self._engine)
        result: T = await self._writer.write(work, is_long=is_long)
        return result

    def write_sync(self, work: Callable[[Tx], T]) -> T:
        """A transaction without an event loop, on a connection of its own."""
        connection = self._engine.writer(is_patient=True)
        try:
            result: T = run_alone(connection, self._engine, work)
        finally:
            connection.close()
        return result

    def close(self) -> None:
        """Finishes the writes that wait and closes every connection."""
        if self._writer is not None:
            self._writer.close()
        if self._in_loop is not None:
            self._in_loop.close()
        self._readers.close()
        self._searchers.close()
        if self._inline is not None:
            self._inline.close()


@contextlib.asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Raises Busy when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Busy("The database takes too long. Try again.") from None


class _Readers:
    """A few threads, each with a connection of its own, opened when first needed."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._local = threading.local()
        self._opened: list[Connection] = []
        self._pool = ThreadPoolExecutor(threads, "reader")

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def _read(self, work: Callable[[Tx], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._engine.reader()
            self._opened.append(connection)
        try:
            return work(Tx(connection))
        except ConnectionLost:  # after an outage; a read changes nothing, so it may be asked again
            return work(Tx(connection))

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._opened:
            connection.close()
