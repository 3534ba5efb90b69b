"""What a measurement says: rows with a median, its spread, what it is compared with, and the
target."""

import os
import platform
import sqlite3
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 3  # bench.all --quick makes it fewer


@dataclass(frozen=True)
class Row:
    """One line. `ratio` is value over limit; `target` is what it should be, as text and as a
    bound."""

    question: str
    value: float
    unit: str
    spread: float
    limit: str = ""
    limit_value: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    more: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.limit_value if self.limit_value else None

    @property
    def verdict(self) -> str:
        measure = self.value if self.ratio is None else self.ratio
        if self.at_least is not None:
            return f"{'met' if measure >= self.at_least else 'MISSED'}: ≥ {self.at_least:g}"
        if self.at_most is not None:
            return f"{'met' if measure <= self.at_most else 'MISSED'}: ≤ {self.at_most:g}"
        return ""


@dataclass(frozen=True)
class Median:
    value: float
    spread: float


def median(values: Sequence[float]) -> Median:
    """The median, and half of the range as a fraction of it."""
    middle = statistics.median(values)
    return Median(middle, (max(values) - min(values)) / 2 / middle if middle else 0.0)


def side_by_side(*runs: Callable[[int], float], rounds: int | None = None) -> list[Median]:
    """Runs that are compared take turns, so that a noisy moment hits all of them. Each gets the
    round's number."""
    found: list[list[float]] = [[] for _ in runs]
    for number in range(rounds or ROUNDS):
        for place, run in enumerate(runs):
            found[place].append(run(number))
    return [median(values) for values in found]


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(row: Row) -> str:
    limit = f"{row.ratio:5.2f} × {row.limit} ({number(row.limit_value or 0)})" if row.ratio is not None else ""
    value = f"{number(row.value):>9} {row.unit:<5} ±{row.spread * 100:3.0f} %"
    return f"{row.question:<52} {value}  {limit}  {row.verdict}  {row.more}".rstrip()


def machine() -> str:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "?",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GB, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )
