"""The part of the database that the domain code sees: a transaction that has the current time and
runs statements with `:name` parameters."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from postroom.errors import Busy

Row = tuple[Any, ...]

SAVEPOINT, RELEASE = "SAVEPOINT job", "RELEASE SAVEPOINT job"


class ConnectionLost(Busy):
    """The connection is gone, together with its transaction. The next statement opens a new
    connection."""


class SerializationConflict(Busy):
    """This transaction was in conflict with another one and was rolled back. It can be run
    again."""


class EarlierJobFailed(BaseException):
    """A queued statement from before the last SAVEPOINT has failed, and nothing after it was
    carried out. This is no Exception, because a job may catch exceptions."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Statements(Protocol):
    """Runs statements. `fetch` returns all rows at once, because an open cursor would prevent
    checkpoints. `run` may queue its statement: the next `fetch` then runs the queued statements in
    order, and raises their errors."""

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]: ...

    def run(self, sql: str, params: Mapping[str, Any]) -> None: ...


class Connection(Statements, Protocol):
    """One connection of an engine. One thread uses it at a time."""

    def close(self) -> None: ...


class WriteConnection(Connection, Protocol):
    """A connection that writes."""

    def in_transaction(self) -> bool: ...

    def transaction(self) -> AbstractContextManager[None]:
        """Begins a transaction; the block commits it or rolls it back. Raises Busy if others block
        it for too long."""
        ...

    def limit_lock_waits(self) -> None:
        """Makes the following statements of this transaction wait only briefly for the locks of
        others, because the transaction itself already holds locks that others wait for."""

    def checkpoint(self, *, idle: bool) -> None:
        """Copies the write-ahead log into the database if that is due; if `idle`, all of the log.
        Called between transactions. Raises Busy if a reader prevents it."""


class Tx:
    """A transaction, or a read. `now` is the time of its start in milliseconds since 1970 UTC."""

    __slots__ = ("_connection", "now")

    def __init__(self, connection: Statements) -> None:
        self._connection = connection
        self.now = time.time_ns() // 1_000_000

    def all(self, sql: str, **params: Any) -> list[Row]:
        """Returns all rows of a statement."""
        return self._connection.fetch(sql, params)

    def one(self, sql: str, **params: Any) -> Row | None:
        """Returns the first row, or None."""
        rows = self._connection.fetch(sql, params)
        return rows[0] if rows else None

    def run(self, sql: str, **params: Any) -> None:
        """Runs a statement whose rows nobody needs. If the statement fails, the transaction fails,
        at the latest at its end."""
        self._connection.run(sql, params)
