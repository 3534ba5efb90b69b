"""The interface of every engine's reader (decision 0196), and the threads for slow reads."""

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from postroom.db.tx import Connection, ConnectionLost, Tx
from postroom.errors import Busy

T = TypeVar("T")

SLOW_READ_THREADS = 2
# Longest time in seconds that a request waits: for a list slot, for a slow read and its thread, and
# for a ping.
LIST_SECONDS = 10.0
SLOW_READ_SECONDS = 40.0
PING_SECONDS = 3.0


class Reader(ABC):
    """The reads of a process. Each returns the result of `work`, and raises Busy or what `work`
    raises."""

    size_sql: str  # SQL for the size of the database in bytes

    def __init__(self, connect: Callable[[], Connection], lists_at_once: int) -> None:
        self._lists = asyncio.Semaphore(lists_at_once)
        self._slow_threads = ReadThreads(connect, SLOW_READ_THREADS)

    @abstractmethod
    async def read(self, work: Callable[[Tx], T]) -> T:
        """A fast read, which an index answers."""

    @abstractmethod
    async def read_many(self, work: Callable[[Tx], T]) -> T:
        """A read of many rows. Only a few run at a time, and the loop does other work between
        them."""

    async def read_slow(self, work: Callable[[Tx], T]) -> T:
        """A slow read (a deep offset, a sum). It never blocks the loop."""
        async with at_most(SLOW_READ_SECONDS):
            return await self._slow_threads.run(work)

    async def ping(self) -> None:
        """Raises Busy if the database does not answer."""
        async with at_most(PING_SECONDS):
            await self._probe(lambda tx: tx.one("SELECT name FROM mail_host WHERE id = 1"))

    async def size(self) -> int:
        """Returns the size of the database in bytes."""
        row = await self.read_slow(lambda tx: tx.one(self.size_sql))
        return int(row[0]) if row else 0

    async def _probe(self, work: Callable[[Tx], T]) -> T:
        return await self.read(work)

    @contextlib.asynccontextmanager
    async def _list_slot(self) -> AsyncIterator[None]:
        async with at_most(LIST_SECONDS):
            await self._lists.acquire()
        try:
            yield
        finally:
            self._lists.release()

    def close(self) -> None:
        self._slow_threads.close()


class ReadThreads:
    """A few threads. Each has its own connection, which is opened when first needed."""

    def __init__(self, connect: Callable[[], Connection], threads: int) -> None:
        self._connect = connect
        self._local = threading.local()
        self._opened: list[Connection] = []
        self._pool = ThreadPoolExecutor(threads, "reader")

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, work)

    def _read(self, work: Callable[[Tx], T]) -> T:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            self._opened.append(connection)
        try:
            return work(Tx(connection))
        except ConnectionLost:  # after an outage; a read changes nothing, so it can be repeated
            return work(Tx(connection))

    def close(self) -> None:
        self._pool.shutdown()
        for connection in self._opened:
            connection.close()


@contextlib.asynccontextmanager
async def at_most(seconds: float) -> AsyncIterator[None]:
    """Raises Busy if the block takes longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Busy("The database takes too long. Try again.") from None
