"""A process's access to the database: one reader and one writer, as its engine makes them."""

from collections.abc import Callable
from contextlib import closing
from typing import ClassVar, Protocol, TypeVar

from postroom.db.reader import Reader
from postroom.db.sqlite import SQLite
from postroom.db.tx import Connection, Tx, WriteConnection
from postroom.db.writer import Writer, run_alone

T = TypeVar("T")


class Engine(Protocol):
    """What SQLite and PostgreSQL do each in its way. `types` stand for `{identity}` and
    `{exact_text}` in a schema file; `connect` opens a connection that only reads; a writer without
    deadlines is for migrations and the command line, for which no client waits; `view_readers` are
    the roles, beside the owner, that may read one of these views."""

    types: ClassVar[dict[str, str]]

    def connect(self) -> Connection: ...

    def reader(self) -> Reader: ...

    def writer(self, *, has_deadlines: bool = True) -> WriteConnection: ...

    def view_readers(self, tx: Tx, views: list[str]) -> list[str]: ...


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
    """Every call raises Busy, and whatever its `work` raises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = reader = engine.reader()
        self._writer: Writer | None = None
        # reader.py says what each is for.
        self.read, self.read_many, self.read_slow = reader.read, reader.read_many, reader.read_slow
        self.ping, self.size = reader.ping, reader.size

    @property
    def waiting(self) -> int:
        """How many writes wait for the writer."""
        return self._writer.waiting if self._writer else 0

    async def write(self, work: Callable[[Tx], T]) -> T:
        """A transaction in the writer's thread; returns after the commit."""
        if self._writer is None:
            self._writer = Writer(self._engine.writer())
        result: T = await self._writer.write(work)
        return result

    def write_sync(self, work: Callable[[Tx], T]) -> T:
        """A transaction without an event loop, on a connection of its own."""
        with closing(self._engine.writer(has_deadlines=False)) as connection:
            return run_alone(connection, work)

    def close(self) -> None:
        """Finishes the writes that wait and closes every connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader.close()
