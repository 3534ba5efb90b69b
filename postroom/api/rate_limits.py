"""How many calls a key may make, and how many wrong keys an address may send.

A key and all that were made with it count as one, or a key would make itself more calls by
making keys (decision 0072). An address is judged by its wrong keys alone, and even then a key that
has been right before is looked up, so that nobody is locked out by a neighbour behind the same
address (decision 0026). Each process counts for itself and therefore gives its share of the limit
(decision 0025).
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
# Keys or addresses that are counted at the same time, and right keys that are remembered.
MOST = 20_000


class Rate(NamedTuple):
    """So many calls in so many seconds."""

    calls: int
    seconds: int


WRONG_KEYS = Rate(300, 60)


@dataclass(slots=True)
class _Window:
    ends: float
    used: int = 0


class Windows:
    """A counter for each name, in a window that begins with its first call (decision 0024). Memory
    is bounded: the oldest goes."""

    def __init__(self, rate: Rate, clock: Clock, most: int = MOST) -> None:
        self.rate = rate
        self._clock = clock
        self._most = most
        self._windows: OrderedDict[str | int | None, _Window] = OrderedDict()  # in the order of their ends

    def __len__(self) -> int:
        return len(self._windows)

    def consume(self, name: str | int | None) -> tuple[int, float]:
        """Counts one call. What is left (below 0: refused) and the seconds until all is there
        again."""
        now = self._clock()
        window = self._windows.get(name)
        if window is None or window.ends <= now:
            window = self._begin(name, now)
        window.used += 1
        return self.rate.calls - window.used, window.ends - now

    def wait(self, name: str | int | None) -> float:
        """The seconds until one more call is allowed; 0 when it is now. Counts nothing."""
        window = self._windows.get(name)
        return max(0.0, window.ends - self._clock()) if window and window.used >= self.rate.calls else 0.0

    def _begin(self, name: str | int | None, now: float) -> _Window:
        windows = self._windows
        windows.pop(name, None)
        for oldest in list(islice(windows, 2)):  # two go for each that comes, so what is over does not pile up
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
        self._right: OrderedDict[int, None] = OrderedDict()
        self._policy = (b"ratelimit-policy", b'"default";q=%d;w=%d' % self._keys.rate)

    def check_address(self, address: str, key: str | None) -> None:
        """Asked before the database is. Raises TooMany when this address has sent too many wrong
        keys."""
        if self._on and len(self._addresses) and (key is None or hash(key) not in self._right):
            wait = self._addresses.wait(network_of(address))
            if wait:
                raise TooMany(
                    "This address has sent too many requests without a valid API key: wait for Retry-After.",
                    ceil(wait),
                )

    def record_failure(self, address: str) -> None:
        """No key, or one that is not valid, came from this address."""
        if self._on:
            self._addresses.consume(network_of(address))

    def remember_key(self, key: str | None) -> None:
        """This key is valid. Only Python's hash of it is kept, which is salted in every process."""
        mark = hash(key)
        if mark not in self._right:
            if len(self._right) >= MOST:
                self._right.popitem(last=False)
            self._right[mark] = None

    def consume(self, root_id: int | None) -> tuple[Headers, int]:
        """Counts a call of a family of keys. The headers that tell of it, and 0 or the seconds
        to wait."""
        if not self._on:
            return (), 0
        left, seconds = self._keys.consume(root_id)
        state = b'"default";r=%d;t=%d' % (max(left, 0), ceil(seconds))
        return (self._policy, (b"ratelimit", state)), ceil(seconds) if left < 0 else 0


def parse_rate(text: str) -> Rate | None:
    """`6000/minute` as a rate, `off` as none. The settings have checked the form."""
    calls, _, unit = text.partition("/")
    return Rate(int(calls), UNITS[unit]) if unit else None


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()


def _share(rate: Rate, workers: int) -> Rate:
    return Rate(rate.calls // workers, rate.seconds)
