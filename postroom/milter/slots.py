"""How much may be done at once for strangers: in all, and for each of those who cause it."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Full(Exception):
    """There is no room now."""


class Slots:
    """Room of some size. A key is who causes the use of it: a client, or a domain."""

    def __init__(self, in_all: int, for_each: int) -> None:
        self._in_all = in_all
        self._for_each = for_each
        self._taken: Counter[Hashable] = Counter()
        self._sum = 0

    def take(self, key: Hashable, size: int = 1) -> bool:
        """Takes room, or answers that there is none."""
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
        """Raises Full."""
        if not self.take(key):
            raise Full
        try:
            yield
        finally:
            self.give_back(key)
