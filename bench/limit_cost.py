"""What one check of a rate limit costs, in µs: our windows, and the library `limits` where it is
installed.

python bench/limit_cost.py        (pip install limits, for the comparison)
"""

import time
import tracemalloc
from collections.abc import Callable
from itertools import cycle

from postroom.api.rate_limits import MOST, Rate, RateLimiter, Windows

ROUNDS = 5
CALLS = 200_000


def cost(call: Callable[[int], object], names: int) -> float:
    """µs a call over so many names, best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        order = [name for name, _ in zip(cycle(range(names)), range(CALLS), strict=False)]
        started = time.perf_counter()
        for name in order:
            call(name)
        best = min(best, (time.perf_counter() - started) / CALLS * 1e6)
    return best


def ours() -> dict[str, Callable[[int], object]]:
    rate = Rate(10**9, 60)
    windows, limits = Windows(rate, time.monotonic), RateLimiter(rate)

    def whole(name: int) -> object:
        """Everything that a request with a valid key pays, while some address is blocked."""
        limits.check_address("192.0.2.1", key)
        limits.remember_key(key)
        return limits.consume(name)

    key = "pr_" + "x" * 43
    limits.record_failure("203.0.113.9")
    return {"windows": windows.consume, "all that a valid call pays": whole}


def theirs() -> dict[str, Callable[[int], object]]:
    try:
        from limits import RateLimitItemPerMinute
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
    except ImportError:
        return {}
    found: dict[str, Callable[[int], object]] = {}
    for kind in (FixedWindowRateLimiter, SlidingWindowCounterRateLimiter, MovingWindowRateLimiter):
        limiter, item = kind(MemoryStorage()), RateLimitItemPerMinute(6_000)

        def hit(name: int, limiter=limiter, item=item) -> object:  # type: ignore[no-untyped-def]
            return limiter.hit(item, str(name))

        def hit_and_tell(name: int, limiter=limiter, item=item) -> object:  # type: ignore[no-untyped-def]
            limiter.hit(item, str(name))
            return limiter.get_window_stats(item, str(name))

        found |= {f"limits, {kind.__name__}": hit, f"limits, {kind.__name__} with its state": hit_and_tell}
    return found


def main() -> None:
    for what, call in (ours() | theirs()).items():
        print(f"{what:65} {cost(call, 1):6.2f} µs (1 name) {cost(call, 1000):6.2f} µs (1000 names)", flush=True)
    windows = Windows(Rate(10, 60), time.monotonic)
    tracemalloc.start()
    for number in range(3 * MOST):
        windows.consume(f"2001:db8:{number}")
    print(f"memory of {len(windows)} windows: {tracemalloc.get_traced_memory()[0] / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
