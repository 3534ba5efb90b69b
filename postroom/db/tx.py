"""What a noun sees of the database: a transaction that knows the time and runs statements with
`:name` parameters."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from postroom.errors import Busy

Row = tuple[Any, ...]

SAVEPOINT, RELEASE = "SAVEPOINT job", "RELEASE SAVEPOINT job"


class ConnectionLost(Busy):
    """The connection is gone, and what was under way on it; the next statement opens another
    one."""


class SerializationConflict(Busy):
    """Two transactions were in each other's way and this one gave way: it was not carried out
    and can be run again."""


class EarlierJobFailed(BaseException):
    """A statement from before the last SAVEPOINT, which was left for later, has failed; nothing
    after it was carried out. Not an Exception: a job may catch those."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Statements(Protocol):
    """What carries statements out. `fetch` returns all rows at once, because an open cursor would
    hold back checkpoints. `run` may leave its statement for the next `fetch` to carry out, in
    order, and to fail."""

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]: ...

    def run(self, sql: str, params: Mapping[str, Any]) -> None: ...


class Connection(Statements, Protocol):
    """One connection of an engine, used by one thread at a time."""

    def close(self) -> None: ...


class WriteConnection(Connection, Protocol):
    """A connection that writes."""

    def in_transaction(self) -> bool: ...

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction that is begun; the block commits it or rolls it back. Raises Busy when
        others are in the way for too long."""
        ...

    def limit_lock_waits(self) -> None:
        """What follows in this transaction waits only shortly for the locks of others, because it
        keeps them from what was done before."""

    def checkpoint(self, *, idle: bool) -> None:
        """Between transactions: folds the log into the database where that is due, and all of it
        when `idle`. Raises Busy when a reader is in the way."""


class Tx:
    """A transaction, or a moment of reading. `now` is in milliseconds since 1970 UTC, the same
    all through."""

    __slots__ = ("_connection", "now")

    def __init__(self, connection: Statements) -> None:
        self._connection = connection
        self.now = time.time_ns() // 1_000_000

    def all(self, sql: str, **params: Any) -> list[Row]:
        """All rows of a statement."""
        return self._connection.fetch(sql, params)

    def one(self, sql: str, **params: Any) -> Row | None:
        """The first row, or None."""
        rows = self._connection.fetch(sql, params)
        return rows[0] if rows else None

    def run(self, sql: str, **params: Any) -> None:
        """A statement whose rows nobody needs. Where it fails, the transaction does, at the
        latest at its end."""
        self._connection.run(sql, params)
