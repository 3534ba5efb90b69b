"""SQLite: WAL with synchronous=FULL, so that what was acknowledged survives a power cut.

SQLite before 3.51.3 can corrupt a database when a checkpoint runs beside a commit. So no
connection checkpoints by itself (wal_autocheckpoint=0); a writer does it between its batches,
and a lock file keeps the writers of several processes (API, worker, command line) apart.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from postroom.db.reader import Reader, ReadThreads
from postroom.db.tx import Row, Tx
from postroom.errors import Busy, OutcomeUnknown

READ_THREADS = 8
BUSY_SECONDS = 5.0
CHECKPOINT_SECONDS = 1.0
WAL_PAGES_MAX = 32_768  # 128 MB
# Seconds between two tries: one process tries the lock, all others try to be that process.
LOCK_PAUSE, WAITER_PAUSE = 0.0002, 0.001

T = TypeVar("T")


class SQLiteConnection:
    """A connection that reads, used by one thread at a time."""

    pragmas: tuple[str, ...] = ("query_only=1",)

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _create(path)
            self._raw = sqlite3.connect(
                path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                cached_statements=256,
                check_same_thread=False,
            )
            always = ("journal_mode=WAL", "wal_autocheckpoint=0", "foreign_keys=1", "cache_size=-65536")
            for pragma in always + self.pragmas:
                self._raw.execute(f"PRAGMA {pragma}")
        except (OSError, sqlite3.Error) as error:
            raise Busy(f"The database cannot be opened: {error}.") from error

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        try:
            return self._raw.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            if sql == "COMMIT" and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                raise OutcomeUnknown from error  # it may stand whole in the WAL, and a crash would bring it back
            raise _refused(error) from error

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.fetch(sql, params)

    def close(self) -> None:
        self._raw.close()


class SQLiteWriter(SQLiteConnection):
    """A connection that writes and checkpoints while no other process does."""

    # What a savepoint may have to bring back stays in memory: in a file it was a third of a create.
    # And a writer waits in our code (`transaction`): SQLite waits longer each time, in no order.
    pragmas = ("synchronous=FULL", "temp_store=MEMORY", "busy_timeout=0")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._checkpointed = 0.0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with exclusive(self._path):
            deadline = time.monotonic() + BUSY_SECONDS
            while True:
                try:
                    self.fetch("BEGIN IMMEDIATE", {})
                    break
                except Busy as error:  # the lock file does not keep out a program that is not ours
                    is_locked = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_locked or time.monotonic() > deadline:
                        raise
                    time.sleep(WAITER_PAUSE)
            yield

    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def limit_lock_waits(self) -> None:
        """There is one lock, and this transaction has it."""

    def checkpoint(self, *, idle: bool) -> None:
        """Often and gently under load, whole when idle or when the WAL grew large."""
        now = time.monotonic()
        if not idle and now - self._checkpointed < CHECKPOINT_SECONDS:
            return
        with exclusive(self._path):
            if idle:
                if self._truncate():
                    raise Busy("A reader keeps the WAL.")
                return
            self._checkpointed = now
            _, pages, _ = self.fetch("PRAGMA wal_checkpoint(PASSIVE)", {})[0]
            if pages > WAL_PAGES_MAX:
                self._truncate()

    def _truncate(self) -> bool:
        """Empties the WAL, or says that a reader is in the way. It does not wait: a backup reads
        for long, and all writes would wait behind the checkpoint."""
        return bool(self.fetch("PRAGMA wal_checkpoint(TRUNCATE)", {})[0][0])


class SQLiteReader(Reader):
    """Reads in the loop: a statement takes microseconds, less than a hop to a thread.

    While another process keeps readers out, SQLite waits for BUSY_SECONDS and cannot be told to
    wait less: then reads wait in threads, until one of them gets in.
    """

    size_sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"

    def __init__(self, path: Path) -> None:
        super().__init__(partial(SQLiteConnection, path), lists_at_once=1)
        self._connection = SQLiteConnection(path)
        self._threads = ReadThreads(partial(SQLiteConnection, path), READ_THREADS)
        self._locked_out = False  # the last read did not get in

    async def read(self, work: Callable[[Tx], T]) -> T:
        if self._locked_out:
            found = await self._threads.run(work)
            self._locked_out = False
            return found
        try:
            return work(Tx(self._connection))
        except Busy:
            self._locked_out = True
            raise

    async def read_many(self, work: Callable[[Tx], T]) -> T:
        """One in an iteration of the loop, however many have come: a write takes several
        iterations, and each would wait for all of them."""
        async with self._list_slot():
            await asyncio.sleep(0)
        return await self.read(work)  # outside: in threads they need not wait for each other

    async def _probe(self, work: Callable[[Tx], T]) -> T:
        return await self._searchers.run(work)

    def close(self) -> None:
        super().close()
        self._threads.close()
        self._connection.close()


class SQLite:
    """The engine behind `sqlite:///path`."""

    types: ClassVar[dict[str, str]] = {"identity": "INTEGER PRIMARY KEY AUTOINCREMENT", "exact_text": "TEXT"}

    def __init__(self, url: str) -> None:
        self._path = Path(url.removeprefix("sqlite:///"))

    def connect(self) -> SQLiteConnection:
        return SQLiteConnection(self._path)

    def reader(self) -> SQLiteReader:
        return SQLiteReader(self._path)

    def writer(self, *, has_deadlines: bool = True) -> SQLiteWriter:  # noqa: ARG002
        return SQLiteWriter(self._path)

    def view_readers(self, tx: Tx, views: list[str]) -> list[str]:  # noqa: ARG002
        """Nobody: SQLite has no roles."""
        return []


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process writes or checkpoints. Raises Busy when another one does not let go.

    Of all that wait, one waits for the lock and the others wait for its place, so that a busy
    process cannot take the lock again and again.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with _opened(f"{path}-lock") as lock:
        with _opened(f"{path}-turn") as waiters_lock:
            _wait_for(waiters_lock, deadline, WAITER_PAUSE)
            _wait_for(lock, deadline, LOCK_PAUSE)
        yield


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A lock file; what is locked is free again when it is closed, or its process is dead."""
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise Busy("The database cannot be written now. Try again later.", seconds=5) from error
    try:
        yield lock
    finally:
        os.close(lock)


def _wait_for(lock: int, deadline: float, pause: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Busy("The database is busy. Try again.") from None
            time.sleep(pause)
        else:
            return


def _create(path: Path) -> None:
    """Makes the file unreadable to others, whatever the umask. One that exists is not even
    opened: closing it again would drop the locks of this process's other connections
    (sqlite.org/howtocorrupt.html, 2.2)."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _refused(error: sqlite3.OperationalError) -> Exception:
    """Locked, full or unwritable passes; anything else is a mistake of ours and stays what it
    is."""
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return Busy("The database is busy. Try again.")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return Busy("The database cannot be written now. Try again later.", seconds=5)
    return error
