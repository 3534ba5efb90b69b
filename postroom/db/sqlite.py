"""SQLite: WAL with synchronous=FULL, so that what was acknowledged survives a power cut.

SQLite before 3.51.3 can corrupt a database when a checkpoint runs beside a commit. So no
connection checkpoints by itself (wal_autocheckpoint=0); a writer does it between its batches,
and a lock file keeps the writers of several processes (API, worker, command line) apart.
"""

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postroom.db.tx import Connection, Row
from postroom.errors import Busy, OutcomeUnknown

IDENTITY = "INTEGER PRIMARY KEY AUTOINCREMENT"
EXACT_TEXT = "TEXT"
BUSY_SECONDS = 5.0
CHECKPOINT_SECONDS = 1.0
WAL_PAGES_MAX = 32_768  # 128 MB
# One waits for the lock, all others for their turn to do so.
LOCK_PAUSE, TURN_PAUSE = 0.0002, 0.001


class SQLiteConnection:
    """A connection used by one thread at a time."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        try:
            _create(path)
            self._raw = sqlite3.connect(
                path,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                cached_statements=256,
                check_same_thread=False,
            )
            self._setup(writes)
        except (OSError, sqlite3.Error) as error:
            raise Busy(f"The database cannot be opened: {error}.") from error

    def _setup(self, writes: bool) -> None:
        for pragma in ("journal_mode=WAL", "wal_autocheckpoint=0", "foreign_keys=1", "cache_size=-65536"):
            self._raw.execute(f"PRAGMA {pragma}")
        # What a savepoint may have to bring back stays in memory: in a file it was a third of a
        # create. And whoever writes waits outside of SQLite, where it can be told not to (`begun`).
        writing = ("synchronous=FULL", "temp_store=MEMORY", "busy_timeout=0")
        for pragma in writing if writes else ("query_only=1",):
            self._raw.execute(f"PRAGMA {pragma}")

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        try:
            return self._raw.execute(sql, params).fetchall()
        except sqlite3.OperationalError as error:
            if sql == "COMMIT" and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                raise OutcomeUnknown from error  # it may stand whole in the WAL, and a crash would bring it back
            raise _refused(error) from error

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.fetch(sql, params)

    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def close(self) -> None:
        self._raw.close()


class SQLite:
    """The engine behind `sqlite:///path`."""

    identity = IDENTITY
    exact_text = EXACT_TEXT
    patience: str | None = None
    size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    runs_in_loop = True  # a statement takes microseconds, less than a hop to a thread
    has_roles = False

    def __init__(self, url: str) -> None:
        self._path = Path(url.removeprefix("sqlite:///"))
        self._checkpointed = 0.0

    def reader(self) -> SQLiteConnection:
        return SQLiteConnection(self._path, writes=False)

    def loop_reads(self) -> None:
        """There is no server to wait for."""

    def writer(self, *, is_patient: bool = False) -> SQLiteConnection:  # noqa: ARG002
        return SQLiteConnection(self._path, writes=True)

    @contextmanager
    def exclusive(self, *, waits: bool = True) -> Iterator[None]:
        """Only one process writes or checkpoints. Raises Busy when another one does not let go, or
        has it.

        Whoever waits for the lock holds the turn, so that a busy process cannot take the lock
        again and again.
        """
        deadline = time.monotonic() + (BUSY_SECONDS if waits else -1)
        with _opened(f"{self._path}-lock") as lock:
            with _opened(f"{self._path}-turn") as turn:
                _wait_for(turn, deadline, TURN_PAUSE)
                _wait_for(lock, deadline, LOCK_PAUSE)
            yield

    @contextmanager
    def begun(self, connection: Connection, *, waits: bool = True) -> Iterator[None]:
        """A transaction that is begun, and alone. Raises Busy when others are in the way: at
        once, or after a while."""
        with self.exclusive(waits=waits):
            deadline = time.monotonic() + (BUSY_SECONDS if waits else -1)
            while not _begins(connection, deadline):
                time.sleep(TURN_PAUSE)
            yield

    def checkpoint(self, connection: SQLiteConnection, *, idle: bool) -> None:
        """Checkpoint between batches: often and gently under load, whole when idle or when the
        WAL grew large."""
        now = time.monotonic()
        if not idle and now - self._checkpointed < CHECKPOINT_SECONDS:
            return
        with self.exclusive():
            if idle:
                if _truncate(connection):
                    raise Busy("A reader keeps the WAL.")
                return
            self._checkpointed = now
            _, pages, _ = connection.fetch("PRAGMA wal_checkpoint(PASSIVE)", {})[0]
            if pages > WAL_PAGES_MAX:
                _truncate(connection)


def _truncate(connection: SQLiteConnection) -> bool:
    """Empties the WAL, or says that a reader is in the way. It does not wait: a backup reads for
    long, and behind a checkpoint that waits for it all writes would."""
    return bool(connection.fetch("PRAGMA wal_checkpoint(TRUNCATE)", {})[0][0])


def _begins(connection: Connection, deadline: float) -> bool:
    """Of a program that writes the file behind our back the lock knows nothing."""
    try:
        connection.fetch("BEGIN IMMEDIATE", {})
    except Busy as error:
        is_locked = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        if not is_locked or time.monotonic() > deadline:
            raise
        return False
    return True


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
