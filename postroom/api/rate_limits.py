"""Limits on the calls of a key, and on the wrong keys that an address sends.

A key and all keys that were made with it count as one; otherwise a key could raise its own limit by
making keys (decision 0072). An address is judged by its wrong keys alone. Even over that limit, a
key that was valid before is still looked up, so that a neighbor behind the same address cannot lock
anyone out (decision 0026). Each process counts for itself and therefore allows only its share of
the limit (decision 0025).
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import ceil
from typing import NamedTuple

from postroom.errors import TooMany

Headers = tuple[tuple[bytes, bytes], ...]
Clock = Callable[[], float]

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
# Maximum number of keys or addresses that are counted at a time, and of valid keys that are
# remembered.
MOST = 20_000


class Rate(NamedTuple):
    """A number of calls in a number of seconds."""

    calls: int
    seconds: int


WRONG_KEYS = Rate(300, 60)


@dataclass(slots=True)
class _Window:
    ends: float
    used: int = 0


class Windows:
    """A counter for each name, in a window that begins with its first call (decision 0024). Memory
    is bounded: the oldest window is dropped."""

    def __init__(self, rate: Rate, clock: Clock, most: int = MOST) -> None:
        self.rate = rate
        self._clock = clock
        self._most = most
        self._windows: OrderedDict[str | int | None, _Window] = OrderedDict()  # ordered by the time they end

    def __len__(self) -> int:
        return len(self._windows)

    def consume(self, name: str | int | None) -> tuple[int, float]:
        """Counts one call. Returns how many calls are left (below 0: refused) and the seconds until
        the window ends."""
        now = self._clock()
        window = self._windows.get(name)
        if window is None or window.ends <= now:
            window = self._begin(name, now)
        window.used += 1
        return self.rate.calls - window.used, window.ends - now

    def wait(self, name: str | int | None) -> float:
        """The seconds until another call is allowed, or 0 if one is allowed now. Counts nothing."""
        window = self._windows.get(name)
        return max(0.0, window.ends - self._clock()) if window and window.used >= self.rate.calls else 0.0

    def _begin(self, name: str | int | None, now: float) -> _Window:
        windows = self._windows
        windows.pop(name, None)
        for oldest in list(islice(windows, 2)):  # up to two per new window, so that expired ones do not pile up
            if windows[oldest].ends <= now or len(windows) >= self._most:
                del windows[oldest]
        window = windows[name] = _Window(now + self.rate.seconds)
        return window


class RateLimiter:
    """The limits of one process. Without a rate there are none."""

    def __init__(self, rate: Rate | None, workers: int = 1, clock: Clock = time.monotonic) -> None:
        self._on = rate is not None
        self._keys = Windows(_share(rate or WRONG_KEYS, workers), clock)
        self._addresses = Windows(_share(WRONG_KEYS, workers), clock)
        self._remembered: OrderedDict[int, None] = OrderedDict()
        self._policy = (b"ratelimit-policy", b'"default";q=%d;w=%d' % self._keys.rate)

    def check_address(self, address: str, key: str | None) -> None:
        """Checks an address before the database is asked. Raises TooMany if this address has sent
        too many wrong keys."""
        if self._on and len(self._addresses) and (key is None or hash(key) not in self._remembered):
            wait = self._addresses.wait(network_of(address))
            if wait:
                raise TooMany(
                    "This address has sent too many requests without a valid API key: wait for Retry-After.",
                    ceil(wait),
                )

    def record_failure(self, address: str) -> None:
        """Counts a request from this address that had no key or an invalid one."""
        if self._on:
            self._addresses.consume(network_of(address))

    def remember_key(self, key: str | None) -> None:
        """Remembers that this key is valid. Only Python's hash of it is kept, which is salted in
        every process."""
        mark = hash(key)
        if mark not in self._remembered:
            if len(self._remembered) >= MOST:
                self._remembered.popitem(last=False)
            self._remembered[mark] = None

    def consume(self, root_id: str | int | None) -> tuple[Headers, int]:
        """Counts a call of a family of keys, or of an account's owner. Returns the headers that
        report the count, and the seconds to wait: 0 if the call is allowed."""
        if not self._on:
            return (), 0
        left, seconds = self._keys.consume(root_id)
        state = b'"default";r=%d;t=%d' % (max(left, 0), ceil(seconds))
        return (self._policy, (b"ratelimit", state)), ceil(seconds) if left < 0 else 0


def parse_rate(text: str) -> Rate | None:
    """The rate that `6000/minute` stands for, or None for `off`. The settings have already checked
    the form."""
    calls, _, unit = text.partition("/")
    return Rate(int(calls), UNITS[unit]) if unit else None


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The unit that counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()


def _share(rate: Rate, workers: int) -> Rate:
    return Rate(rate.calls // workers, rate.seconds)
