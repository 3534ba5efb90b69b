"""The database as a process uses it: one reader and one writer, which the engine makes."""

from collections.abc import Callable
from contextlib import closing
from typing import ClassVar, Protocol, TypeVar

from postroom.db.reader import Reader
from postroom.db.sqlite import SQLite
from postroom.db.tx import Connection, Tx, WriteConnection
from postroom.db.writer import Writer, run_alone

T = TypeVar("T")


class Engine(Protocol):
    """The operations that differ between SQLite and PostgreSQL.

    `types` replaces `{identity}`, `{exact_text}`, `{now}` and `{list}` in a schema file.
    `has_functions` says whether the views have functions (schema/look_ups.py). `connect` opens a
    read-only connection. A writer without deadlines is for migrations and the command line, where
    no client waits. `view_readers` returns the roles, besides the owner, that may read one of the
    views. `writers_sql` finds the open transactions that have changed a table; empty where ids are
    given in the order of the commits.
    """

    types: ClassVar[dict[str, str]]
    has_functions: ClassVar[bool]
    writers_sql: ClassVar[str]

    def connect(self) -> Connection: ...

    def reader(self) -> Reader: ...

    def writer(self, *, has_deadlines: bool = True) -> WriteConnection: ...

    def view_readers(self, tx: Tx, views: list[str]) -> list[str]: ...


def engine_for(url: str) -> Engine:
    """Returns the engine for a `sqlite:///` or `postgresql://` URL."""
    if url.startswith("sqlite:///"):
        return SQLite(url)
    from postroom.db.postgres import Postgres  # loading the driver takes as long as half of the API

    return Postgres(url)


def load_driver(url: str) -> None:
    """Loads the driver, in a process that forks others."""
    engine_for(url)


def open_database(url: str) -> "Database":
    """Opens the database for this process. Raises Busy if the database cannot be reached."""
    return Database(engine_for(url))


class Database:
    """The database of a process. Every call raises Busy, and any exception that `work` raises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = reader = engine.reader()
        self._writer: Writer | None = None
        # reader.py explains these methods.
        self.read, self.read_many, self.read_slow = reader.read, reader.read_many, reader.read_slow
        self.ping, self.size = reader.ping, reader.size

    @property
    def waiting(self) -> int:
        """The number of writes that wait for the writer."""
        return self._writer.waiting if self._writer else 0

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction in the writer's thread. Returns its result after the
        commit."""
        if self._writer is None:
            self._writer = Writer(self._engine.writer())
        result: T = await self._writer.write(work)
        return result

    async def unfinished_writers(self, table: str) -> frozenset[str]:
        """Returns the open transactions that have changed a table. A row whose id is below one that
        was seen before this call, and that a later read does not show, can only come from these."""
        sql = self._engine.writers_sql
        rows = await self.read(lambda tx: tx.all(sql, table=table)) if sql else []
        return frozenset(row[0] for row in rows)

    def write_sync(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in a transaction on a new connection, without an event loop. Returns its
        result."""
        with closing(self._engine.writer(has_deadlines=False)) as connection:
            return run_alone(connection, work)

    def close(self) -> None:
        """Finishes the waiting writes and closes all connections."""
        if self._writer is not None:
            self._writer.close()
        self._reader.close()
