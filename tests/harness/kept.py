"""A database for the tests whose `write_sync` keeps its connections. A new connection for each call
costs a PostgreSQL server ten times as much as the call."""

from collections.abc import Callable
from typing import TypeVar

from postroom.db.database import Database, engine_for
from postroom.db.tx import Tx, WriteConnection
from postroom.db.writer import run_alone

T = TypeVar("T")


class KeptDatabase(Database):
    def __init__(self, url: str) -> None:
        super().__init__(engine_for(url))
        self._free: list[WriteConnection] = []

    def write_sync(self, work: Callable[[Tx], T]) -> T:
        connection = self._free.pop() if self._free else self._engine.writer(has_deadlines=False)
        try:
            return run_alone(connection, work)
        finally:
            self._free.append(connection)

    def close(self) -> None:
        while self._free:
            self._free.pop().close()
        super().close()
