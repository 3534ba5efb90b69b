"""Latency under load: what one kind of call waits while another kind runs at full speed.

python -m bench.latency [--postgres]
"""

import argparse
import threading
import time
from collections.abc import Callable, Iterator

from bench import load, report
from bench.http_calls import creation, get
from bench.instance import Instance, start
from bench.load import Load, Request
from bench.report import Row, median, show

LIST_OF_500 = Request("GET", '"/v2/email-accounts?limit=500"')


def beside(instance: Instance, foreground: Request, background: Request | None) -> tuple[Load, Load | None]:
    """Eight connections of one kind beside sixteen of the other."""
    found: list[Load] = []

    def run() -> None:
        found.append(instance.run(background, connections=16, seconds=load.SECONDS + 2))  # type: ignore[arg-type]

    busy = threading.Thread(target=run) if background else None
    if busy:
        busy.start()
        time.sleep(1)  # what wrk needs to be at full speed; nothing is decided by it
    measured = instance.run(foreground, connections=8)
    if busy:
        busy.join()
    return measured, found[0] if found else None


def measure(*, postgres: bool = False) -> Iterator[Row]:
    engine = "PostgreSQL" if postgres else "SQLite"
    questions: list[tuple[str, Callable[[Instance], Request], Callable[[], Request] | None, float | None]] = [
        ("get alone", get, None, None),
        ("get while accounts are created", get, lambda: creation(1), None),
        ("get while passwords are hashed (Argon2id)", get, lambda: creation(1, password=True), None),
        ("create alone", lambda _: creation(1), None, None),
        ("create while lists of 500 are read", lambda _: creation(1), lambda: LIST_OF_500, None),
        (
            "create while passwords are hashed (Argon2id)",
            lambda _: creation(1),
            lambda: creation(1, password=True),
            None,
        ),
    ]
    with start(20_000, 1, postgres=postgres) as instance:
        alone: dict[str, float] = {}
        for question, foreground, background, at_most in questions:
            pairs = [
                beside(instance, foreground(instance), background() if background else None)
                for _ in range(report.ROUNDS)
            ]
            found = median([measured.p99 for measured, _ in pairs])
            rate = median([measured.per_second for measured, _ in pairs]).value
            other = median([other.per_second for _, other in pairs if other]).value if background else 0
            kind = question.partition(" ")[0]
            alone.setdefault(kind, found.value)
            limit, limited = (f"{kind} alone", alone[kind]) if background else ("", None)
            more = f"{rate:,.0f}/s" + (f" beside {other:,.0f}/s" if background else "")
            yield Row(
                f"p99 of {question}, {engine}", found.value, "ms", found.spread, limit, limited, None, at_most, more
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    for row in measure(postgres=options.postgres):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
