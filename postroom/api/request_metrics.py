"""Counts requests by route and status, and their time by route, for /metrics.

Each process counts for itself (decision 0082), under its own name, and its answer at /metrics
includes the other processes' counts from their files. So every series belongs to one process and
only grows until that process restarts, as Prometheus expects of a counter. In a sum, one restart
would look like a reset of all counts.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import msgspec

from postroom.db import Database
from postroom.log import log

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds, each included
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SHARE_SECONDS = 1.0


class RouteCounter(msgspec.Struct):
    """The requests of one method, route and status. The last bucket counts those that took longer
    than every bound."""

    method: str
    route: str
    status: int
    count: int = 0
    seconds: float = 0.0
    buckets: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))


class ProcessCounters(msgspec.Struct):
    """The counts of one process, and the number of writes that wait in it."""

    process: str
    waiting: int
    routes: list[RouteCounter]


class ProcessSlot(msgspec.Struct, frozen=True):
    """The name of this process among those that serve the same port, and the folder where they
    leave their counts."""

    name: str = "api"
    names: Sequence[str] = ("api",)
    folder: Path = Path()


ALONE = ProcessSlot()


class RequestMetrics:
    """The counts of this process. No count has a name that a client made up: an unknown route
    counts as `none`."""

    def __init__(self, database: Database, slot: ProcessSlot) -> None:
        self._database = database
        self._slot = slot
        self._found: dict[tuple[str, str | None, int], RouteCounter] = {}
        self._is_shared = len(slot.names) > 1
        self._is_to_come = False
        if self._is_shared:  # counts left by an earlier process, perhaps of another version
            self._path(slot.name).unlink(missing_ok=True)

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Counts one request that has been answered."""
        counter = self._found.get((method, route, status))
        if counter is None:
            counter = self._new(method, route, status)
        counter.count += 1
        counter.seconds += seconds
        counter.buckets[bisect_left(BOUNDS, seconds)] += 1
        if self._is_shared and not self._is_to_come:
            self._is_to_come = True
            asyncio.get_running_loop().call_later(SHARE_SECONDS, self._share)

    def processes(self) -> list[ProcessCounters]:
        """The counts of each process; those of the others are up to one second old."""
        others = (self._read(name) for name in self._slot.names if name != self._slot.name)
        return [self._own(), *(process for process in others if process)]

    def _new(self, method: str, route: str | None, status: int) -> RouteCounter:
        known = method if method in METHODS else "other"
        counter = self._found.setdefault((known, route, status), RouteCounter(known, route or "none", status))
        if known == method:
            self._found[method, route, status] = counter
        return counter

    def _own(self) -> ProcessCounters:
        return ProcessCounters(self._slot.name, self._database.waiting, list(self._found.values()))

    def _path(self, name: str) -> Path:
        return self._slot.folder / f"{name}.counts"

    def _share(self) -> None:
        self._is_to_come = False
        path = self._path(self._slot.name)
        new = path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(self._own()))
            new.replace(path)
        except OSError as error:
            log.warning("the counts of requests are not shared", reason=error.strerror)

    def _read(self, name: str) -> ProcessCounters | None:
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=ProcessCounters)
        except FileNotFoundError:  # that process has answered nothing yet
            return None
