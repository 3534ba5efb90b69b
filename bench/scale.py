"""Flat as it grows: calls, successions and the daemons' look-ups at a thousand accounts and at a
million.

python -m bench.scale [--postgres] [--accounts N]
"""

import argparse
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.http_calls import creation, get, page
from bench.instance import Instance, start
from bench.load import Load, Request
from bench.report import Median, Row, show, side_by_side
from postroom.accounts import commands as accounts
from postroom.accounts import queries as account_queries
from postroom.actor import Actor
from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.schema import look_ups

SMALL = 1_000
CALLS = 400
# What each daemon asks (tests/test_plans.py holds the plans): the view, and values in place of the
# usual ones.
LOOK_UPS: dict[str, tuple[str, dict[str, str]]] = {
    "Dovecot: a login": ("mail_passwords", {"app_digest": "'x'"}),
    "Dovecot: a delivery": ("mail_recipients", {}),
    "Postfix: a recipient": ("mail_aliases", {}),
    "Postfix: an alias": ("mail_aliases", {"local_part": "'x' || :local_part"}),
    "Postfix: a sender": ("mail_senders", {}),
    "Postfix: a verdict": ("mail_verdicts", {}),
    "Postfix: a catch-all": ("mail_catch_alls", {}),
    "Postfix: a session": ("mail_sessions", {"domain": "'1.acct.internal'"}),
    "Postfix: a domain": ("mail_domains", {}),
}
SCRIPT = "SELECT data_id FROM mail_scripts WHERE username = :id || '@acct.internal'"
VALUES = {
    "local_part": ":local_part",
    "domain": ":domain",
    "name": ":domain",
    "id": "CAST(:id AS BIGINT)",
    "network": "'192.0.2.1'",
}
SKIP = (
    "SELECT id FROM accounts WHERE organization_id = :organization AND deleted_at IS NULL ORDER BY id LIMIT 1 OFFSET :n"
)


class Inside:
    """The product's own functions over the database of an instance, without HTTP."""

    def __init__(self, instance: Instance, domains: int) -> None:
        self.instance = instance
        self.domains = domains
        self.actor = Actor(instance.organization)
        self.connection = engine_for(instance.database).writer()
        path = instance.database.removeprefix("sqlite:///")
        # Postfix and Dovecot prepare each look-up in SQLite anew.
        self.daemon = sqlite3.connect(path, cached_statements=0) if path != instance.database else None

    def pick(self) -> dict[str, object]:
        """An account by all its names."""
        n = random.randrange(self.instance.accounts)
        return {"local_part": f"a{n}", "domain": f"d{n % self.domains}.test", "id": self.instance.first + n}

    def look_up(self, sql: str) -> float:
        if (daemon := self.daemon) is not None:
            return self.median(lambda _: daemon.execute(sql, self.pick()).fetchall())
        return self.median(lambda tx: tx.all(sql, **self.pick()))

    def close(self) -> None:
        self.connection.close()
        if self.daemon is not None:
            self.daemon.close()

    def succession(self) -> float:
        """A user's default account is deleted and the oldest other one takes its place; then all
        is undone."""

        def work(tx: Tx) -> None:
            default = self.instance.first + random.randrange(min(1_000, self.instance.accounts // 2))
            accounts.delete(tx, self.actor, default, None, grace_ms=0)

        return self.median(work, calls=CALLS // 4)

    def page(self, offset: int) -> float:
        return self.median(lambda tx: account_queries.page(tx, self.actor, limit=51, offset=offset), calls=9)

    def skip(self, offset: int) -> float:
        return self.median(lambda tx: tx.all(SKIP, organization=self.actor.organization_id, n=offset), calls=9)

    def median(self, work: Callable[[Tx], object], calls: int = CALLS) -> float:
        """µs a call; nothing of it stays. The service may want to write meanwhile, and waits."""
        spent = []
        with self.connection.transaction():
            for _ in range(calls):
                self.connection.fetch("SAVEPOINT one", {})
                began = time.perf_counter()
                work(Tx(self.connection))
                spent.append((time.perf_counter() - began) * 1e6)
                self.connection.fetch("ROLLBACK TO SAVEPOINT one", {})
                self.connection.fetch("RELEASE SAVEPOINT one", {})
            self.connection.fetch("ROLLBACK", {})
        return statistics.median(spent)


def calls(small: Instance, big: Instance, domains: int, name: str) -> Iterator[Row]:
    """Over HTTP, in CPU time of the API's processes: what else runs on the machine is not in it."""
    questions: list[tuple[str, Callable[[Instance, int], Request], float]] = [
        ("get by id", lambda instance, _: get(instance), 1.3),
        ("list of 50 after a random id", lambda instance, _: page(instance), 1.5),
        ("create", lambda _, domains: creation(domains), 1.3),
    ]
    for question, request, at_most in questions:
        found, before, p99 = _grown(small, big, domains, request)
        more = f"p99 {p99['big']:.1f} ms, at {SMALL:,} accounts {p99['small']:.1f} ms"
        yield Row(f"{question}, {name}", found.value, "µs", found.spread, AT_SMALL, before.value, None, at_most, more)


def _grown(
    small: Instance, big: Instance, domains: int, request: Callable[[Instance, int], Request]
) -> tuple[Median, Median, dict[str, float]]:
    """CPU time on both, and the p99 of each."""
    runs: dict[str, list[Load]] = {"small": [], "big": []}

    def one(instance: Instance, which: str, number: int, domains: int) -> float:
        runs[which].append(instance.run(request(instance, domains), seed=number))
        return runs[which][-1].cpu_us

    found, before = side_by_side(
        lambda number: one(big, "big", number, domains), lambda number: one(small, "small", number, 1)
    )
    return found, before, {which: statistics.median(run.p99 for run in some) for which, some in runs.items()}


AT_SMALL = f"at {SMALL:,} accounts"


def inside(small: Instance, big: Instance, domains: int, name: str) -> Iterator[Row]:
    """Without HTTP."""
    with _inside(big, domains) as ours, _inside(small, 1) as before:
        for question, sql in _look_ups(has_functions=big.database.startswith("postgresql")):
            found = side_by_side(_looking_up(ours, sql), _looking_up(before, sql))
            yield _against(f"{question}, {name}", found, AT_SMALL, 1.5)
        found = side_by_side(lambda _: ours.succession(), lambda _: before.succession())
        yield _against(f"delete with a new default account, {name}", found, AT_SMALL)
        deep = big.accounts - 100
        found = side_by_side(lambda _: ours.page(deep), lambda _: ours.skip(deep))
        yield _against(f"page at offset {deep:,}, {name}", found, "walking the index", 1.5)


def _look_ups(*, has_functions: bool) -> Iterator[tuple[str, str]]:
    for question, (view, values) in LOOK_UPS.items():
        yield question, f"SELECT * FROM {look_ups.rows(view, VALUES | values, has_functions=has_functions)}"
    yield "Dovecot: a script", SCRIPT


def _looking_up(inside: Inside, sql: str) -> Callable[[int], float]:
    return lambda _: inside.look_up(sql)


def _against(question: str, medians: list[Median], what: str, at_most: float | None = None) -> Row:
    found, limit = medians
    return Row(question, found.value, "µs", found.spread, what, limit.value, None, at_most)


@contextmanager
def _inside(instance: Instance, domains: int) -> Iterator[Inside]:
    found = Inside(instance, domains)
    try:
        yield found
    finally:
        found.close()


def measure(most: int, *, postgres: bool = False, wide: bool = True) -> Iterator[Row]:
    """A thousand accounts beside `most` of them on one domain, and beside a tenth of these on
    1,000 domains. Each account has two aliases."""
    engine = "PostgreSQL" if postgres else "SQLite"
    with start(SMALL, 1, postgres=postgres, aliases=True) as small:
        for accounts_, domains in ((most, 1), (most // 10, 1_000))[: 1 + wide]:
            with start(accounts_, domains, postgres=postgres, aliases=True) as big:
                name = f"{engine}, {domains:,} × {accounts_ // domains:,}"
                yield from calls(small, big, domains, name)
                yield from inside(small, big, domains, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--accounts", type=int, default=1_000_000)
    options = parser.parse_args()
    for row in measure(options.accounts, postgres=options.postgres):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
