"""SQLite in WAL mode with synchronous=FULL, so that acknowledged changes survive a power failure.

SQLite before 3.51.3 can corrupt a database if a checkpoint runs during a commit. So no connection
makes automatic checkpoints (wal_autocheckpoint=0). A writer checkpoints between its batches, and a
lock file lets only one process (API, worker, command line) write at a time.
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
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from postroom.db.reader import Reader, ReadThreads
from postroom.db.tx import Row, Tx
from postroom.errors import Busy, OutcomeUnknown

READ_THREADS = 8
BUSY_SECONDS = 5.0
CHECKPOINT_SECONDS = 1.0
WAL_PAGES_MAX = 32_768  # 128 MB
# Seconds between two attempts to lock. One process tries to take the lock; all others wait to
# become that process.
LOCK_PAUSE, WAITER_PAUSE = 0.0002, 0.001

T = TypeVar("T")


class SQLiteConnection:
    """A read-only connection that one thread uses at a time."""

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
                raise OutcomeUnknown from error  # the commit may be complete in the WAL; recovery would apply it
            raise _refused(error) from error

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.fetch(sql, params)

    def close(self) -> None:
        self._raw.close()


class SQLiteWriter(SQLiteConnection):
    """A connection that writes and checkpoints while no other process does either."""

    # temp_store: savepoint data stays in memory; in a file it took a third of the time of a create.
    # busy_timeout: a writer waits in `transaction`, because SQLite would wait longer after each
    # attempt, and in no order.
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
                except Busy as error:  # the lock file does not stop other programs than Postroom
                    is_locked = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                    if not is_locked or time.monotonic() > deadline:
                        raise
                    time.sleep(WAITER_PAUSE)
            yield

    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def limit_lock_waits(self) -> None:
        """Does nothing: SQLite has one lock, and this transaction holds it."""

    def checkpoint(self, *, idle: bool) -> None:
        """Under load makes a passive checkpoint every CHECKPOINT_SECONDS. Empties the whole WAL if
        `idle`, or if it has more than WAL_PAGES_MAX pages. Raises Busy."""
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
        """Empties the WAL. Returns True if a reader prevents that. Never waits for the reader: a
        backup reads for a long time, and all writes would wait (decision 0058)."""
        return bool(self.fetch("PRAGMA wal_checkpoint(TRUNCATE)", {})[0][0])


class SQLiteReader(Reader):
    """Reads in the event loop: a statement takes microseconds, less than a switch to a thread.

    While another process locks readers out, SQLite waits for BUSY_SECONDS and cannot be told to
    wait less. Reads then run in threads until one of them succeeds.
    """

    size_sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"

    def __init__(self, path: Path) -> None:
        super().__init__(partial(SQLiteConnection, path), lists_at_once=1)
        self._connection = SQLiteConnection(path)
        self._threads = ReadThreads(partial(SQLiteConnection, path), READ_THREADS)
        self._locked_out = False  # the last read failed with Busy

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
        """Runs one read of many rows per iteration of the loop, even if many are waiting. A write
        takes several iterations, and each iteration would wait for all of these reads."""
        async with self._list_slot():
            await asyncio.sleep(0)
        return await self.read(work)  # outside the slot: reads in threads need not wait for each other

    async def _probe(self, work: Callable[[Tx], T]) -> T:
        return await self._slow_threads.run(work)

    def close(self) -> None:
        super().close()
        self._threads.close()
        self._connection.close()


class SQLite:
    """The engine behind `sqlite:///path`."""

    types: ClassVar[dict[str, str]] = {
        "identity": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "exact_text": "TEXT",
        "list": "group_concat",
        "now": "unixepoch() * 1000",
    }
    has_functions: ClassVar[bool] = False
    writers_sql: ClassVar[str] = ""

    def __init__(self, url: str) -> None:
        self._path = Path(url.removeprefix("sqlite:///"))

    def connect(self) -> SQLiteConnection:
        return SQLiteConnection(self._path)

    def reader(self) -> SQLiteReader:
        return SQLiteReader(self._path)

    def writer(self, *, has_deadlines: bool = True) -> SQLiteWriter:  # noqa: ARG002
        return SQLiteWriter(self._path)

    def view_readers(self, tx: Tx, views: list[str]) -> list[str]:  # noqa: ARG002
        """Returns an empty list: SQLite has no roles."""
        return []


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process at a time is in this block, to write or to checkpoint. Raises Busy after
    BUSY_SECONDS (decision 0096).

    One of the waiting processes waits for the lock, and the others wait for its place, so that a
    busy process cannot take the lock again and again.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with _opened(f"{path}-lock") as lock:
        with _opened(f"{path}-turn") as waiters_lock:
            _wait_for(waiters_lock, deadline, WAITER_PAUSE)
            _wait_for(lock, deadline, LOCK_PAUSE)
        yield


def _opened(path: str) -> FileIO:
    """Opens a lock file. Its lock ends when the file is closed or the process is dead."""
    try:
        return FileIO(path, "a", opener=partial(os.open, mode=0o600))
    except OSError as error:
        raise Busy("The database cannot be written now. Try again later.", seconds=5) from error


def _wait_for(lock: FileIO, deadline: float, pause: float) -> None:
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
    """Makes the file with mode 0600. Never opens an existing file: closing that file would drop the
    locks of this process's other connections (sqlite.org/howtocorrupt.html, 2.2)."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _refused(error: sqlite3.OperationalError) -> Exception:
    """Returns Busy for a passing condition: a locked database, a full or unwritable disk. Returns
    any other error as it is, because that is a bug in Postroom."""
    code = error.sqlite_errorcode & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return Busy("The database is busy. Try again.")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return Busy("The database cannot be written now. Try again later.", seconds=5)
    return error
