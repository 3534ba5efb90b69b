"""Bounds for concurrent work on mail from outside: in all, and for each client or domain."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Full(Exception):
    """There is no room for more work now."""


class Slots:
    """Room of a fixed size. A key says who uses the room: a client or a domain."""

    def __init__(self, in_all: int, for_each: int) -> None:
        self._in_all = in_all
        self._for_each = for_each
        self._taken: Counter[Hashable] = Counter()
        self._sum = 0

    def take(self, key: Hashable, size: int = 1) -> bool:
        """Takes room. Returns False if there is not enough."""
        if self._sum + size > self._in_all or self._taken[key] + size > self._for_each:
            return False
        self._taken[key] += size
        self._sum += size
        return True

    def give_back(self, key: Hashable, size: int = 1) -> None:
        self._sum -= size
        self._taken[key] -= size
        if not self._taken[key]:
            del self._taken[key]

    @contextmanager
    def one(self, key: Hashable) -> Iterator[None]:
        """Takes room for one during the block. Raises Full."""
        if not self.take(key):
            raise Full
        try:
            yield
        finally:
            self.give_back(key)
