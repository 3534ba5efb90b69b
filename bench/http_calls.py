"""Calls over HTTP: get, lists, create, reset, update, delete, each beside the limit that it is
compared with.

python -m bench.http_calls [--postgres] [--workers N] [--accounts N] [--domains N]
"""

import argparse
import http.client
import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from argon2 import PasswordHasher

from bench import load
from bench.instance import Instance, constant, start
from bench.load import Load, Request
from bench.report import Row, median, show, side_by_side
from postroom.accounts import passwords
from postroom.accounts.commands import CreateAccount, create
from postroom.actor import Actor
from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.db.writer import run_alone

LIST = "/v2/email-accounts"
Once = tuple[str, str, str]  # method, path, body
_tags = (f"{os.getpid():x}r{number}x" for number in itertools.count())


def get(instance: Instance) -> Request:
    return Request("GET", f'"{LIST}/" .. ({instance.first} + pick({instance.accounts}) - 1)')


def page(instance: Instance) -> Request:
    deepest = instance.first + max(0, instance.accounts - 60)
    return Request("GET", f'"{LIST}?limit=50&after=" .. (pick({deepest}) - 1)')


def domain_page(domains: int) -> Request:
    return Request("GET", f'"/v2/domains/d" .. (pick({domains}) - 1) .. ".test/email-accounts?limit=50"')


def creation(domains: int, password: bool = False) -> Request:
    """Each run creates names of its own."""
    chosen = ',\\"password\\":\\"correct horse " .. n .. " battery\\"' if password else ""
    body = (
        f'"{{\\"domain\\":\\"d" .. (n % {domains}) .. ".test\\",\\"local_part\\":\\"{next(_tags)}" .. n .. '
        f'"\\",\\"user_id\\":\\"user_" .. (n % 1000) .. "\\"{chosen}}}"'
    )
    return Request("POST", f'"{LIST}/create"', body)


def update(instance: Instance) -> Request:
    path = f'"{LIST}/" .. ({instance.first} + pick({instance.accounts}) - 1)'
    return Request("PUT", path, '"{\\"display_name\\":\\"Name " .. n .. "\\"}"')


def reset(instance: Instance) -> Request:
    path = f'"{LIST}/" .. ({instance.first} + pick({instance.accounts}) - 1) .. "/password/reset"'
    return Request("POST", path, '"{}"')


def reads(instance: Instance, domains: int, name: str) -> Iterator[Row]:
    targets = (0.20, None) if "PostgreSQL" in name else (0.50, 0.70)
    with constant("answer", answer=_answer(instance, f"{LIST}/{instance.first}")) as (url, pids):
        yield _beside(f"get by id, {name}", instance, get(instance), url, pids, "bare answer", targets[0])
    with constant("answer", answer=_answer(instance, f"{LIST}?limit=50")) as (url, pids):
        yield _beside(f"list of 50, {name}", instance, page(instance), url, pids, "bare answer", None)
        yield _beside(f"list of 50 by domain, {name}", instance, domain_page(domains), url, pids, "bare answer", None)
    if targets[1] and "SQLite" in name:
        path = instance.database.removeprefix("sqlite:///")
        with constant("page", path, str(instance.organization)) as (url, pids):
            yield _beside(f"list of 50, {name}", instance, page(instance), url, pids, "bare, same SQL", targets[1])


def _beside(
    question: str, instance: Instance, request: Request, url: str, pids: list[int], limit: str, at_least: float | None
) -> Row:
    runs: list[Load] = []
    others: list[Load] = []

    def ours(number: int) -> float:
        runs.append(instance.run(request, seed=number))
        return runs[-1].per_second

    def bare(number: int) -> float:
        others.append(load.run(url, request, {"x-api-key": instance.key}, pids, seed=number))
        return others[-1].per_second

    found, best = side_by_side(ours, bare)
    more = f"{_more(runs)} (bare {statistics.median(run.cpu_us for run in others):.0f})"
    return Row(question, found.value, "/s", found.spread, limit, best.value, at_least, more=more)


def _more(runs: list[Load]) -> str:
    middle = sorted(runs, key=lambda run: run.per_second)[len(runs) // 2]
    return f"p50 {middle.p50:.1f} ms, p99 {middle.p99:.1f} ms, {middle.cpu_us:.0f} µs CPU"


def writes(instance: Instance, domains: int, name: str) -> Iterator[Row]:
    runs: list[Load] = []

    def ours(number: int) -> float:
        runs.append(instance.run(creation(domains), seed=number))
        return runs[-1].per_second

    with constant("answer", answer=_answer(instance, f"{LIST}/{instance.first}")) as (url, pids):
        nothing = creation(domains)
        found, bare, alone = side_by_side(
            ours,
            lambda number: load.run(url, nothing, {"x-api-key": instance.key}, pids, seed=number).per_second,
            lambda _: commits_alone(instance),
        )
    at_least = 0.15 if "SQLite" in name else None
    yield Row(f"create, {name}", found.value, "/s", found.spread, "bare answer", bare.value, at_least, more=_more(runs))
    bound = 2.0 if "SQLite" in name else 1.0
    yield Row(f"create, {name}", found.value, "/s", found.spread, "a commit each", alone.value, bound)
    p99 = sorted(run.p99 for run in runs)[len(runs) // 2]
    yield Row(f"create, {name}: p99", p99, "ms", 0.0, at_most=12 if "SQLite" in name else None)
    if "SQLite" in name:
        syncs = median([syncs_alone(instance) for _ in range(3)])
        yield Row(f"a commit each, {name}", alone.value, "/s", alone.spread, "4 KiB and fdatasync", syncs.value)
    for question, request in (("update", update(instance)), ("reset", reset(instance))):
        yield _plain(f"{question}, {name}", instance, lambda request=request: request)  # type: ignore[misc]
    yield from deletes(instance, name)
    found, hashes = side_by_side(
        lambda number: instance.run(creation(domains, password=True), seed=number).per_second,
        lambda _: hashes_alone(),
    )
    yield Row(f"create, password chosen, {name}", found.value, "/s", found.spread, "bare Argon2id", hashes.value, 0.75)


def _plain(question: str, instance: Instance, request: Callable[[], Request]) -> Row:
    runs: list[Load] = []

    def ours(number: int) -> float:
        runs.append(instance.run(request(), seed=number))
        return runs[-1].per_second

    (found,) = side_by_side(ours)
    return Row(question, found.value, "/s", found.spread, more=_more(runs))


def deletes(instance: Instance, name: str) -> Iterator[Row]:
    """Each account is deleted once, the last ones first, so that the others stay for what comes
    after."""
    rounds = 3
    share = min(instance.accounts // 4, 4000) // rounds

    def ours(number: int) -> float:
        last = instance.first + instance.accounts - 1 - number * share
        return each(instance, [deletion(id_) for id_ in range(last, last - share, -1)])

    (found,) = side_by_side(ours, rounds=rounds)
    yield Row(f"delete, {name}", found.value, "/s", found.spread)


def deletion(id_: int) -> Once:
    return "POST", f"{LIST}/delete", f'{{"id":{id_}}}'


def each(instance: Instance, requests: Sequence[Once], threads: int = 16) -> float:
    """Requests a second, each of them sent once: wrk does not stop after so many requests;
    threads do."""
    pending, lock = iter(requests), threading.Lock()

    def work() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", instance.service.ports["port"])) as connection:
            while True:
                with lock:
                    request = next(pending, None)
                if request is None:
                    return
                connection.request(*request, {"x-api-key": instance.key, "content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(requests) / (time.perf_counter() - began)


def commits_alone(instance: Instance, seconds: float = 2.0) -> float:
    """The same SQL without HTTP, a commit for each account, one after the other, and the
    checkpoints that it makes due: what it left in the WAL, the next measurement would pay."""
    tag, number = next(_tags), 0
    hashed = passwords.hash_generated(passwords.generate())
    connection = engine_for(instance.database).writer()

    def one(tx: Tx) -> None:
        command = CreateAccount("d0.test", f"{tag}{number}", f"user_{number % 1000}", None, hashed)
        create(tx, Actor(instance.organization), command)

    try:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            number += 1
            run_alone(connection, one)
            connection.checkpoint(idle=False)
        rate = number / (time.perf_counter() - began)
        connection.checkpoint(idle=True)
        return rate
    finally:
        connection.close()


def syncs_alone(instance: Instance, seconds: float = 0.5) -> float:
    """What the disk allows: 4 KiB are appended and brought to it, one after the other, where the
    database is."""
    folder, number = Path(instance.database.removeprefix("sqlite:///")).parent, 0
    with tempfile.TemporaryFile(dir=folder) as file:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            number += 1
        return number / (time.perf_counter() - began)


def hashes_alone(seconds: float = 2.0) -> float:
    """Argon2id on every core, with the parameters of the product."""
    hasher, counts, end = PasswordHasher(2, 19_456, 1), [], time.perf_counter() + seconds

    def work() -> None:
        count = 0
        while time.perf_counter() < end:
            hasher.hash("correct horse battery staple")
            count += 1
        counts.append(count)

    workers = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def _answer(instance: Instance, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", instance.service.ports["port"])) as connection:
        connection.request("GET", path, headers={"x-api-key": instance.key})
        return connection.getresponse().read()


def measure(
    accounts: int, domains: int, *, postgres: bool = False, workers: int = 1, brief: bool = False
) -> Iterator[Row]:
    """Every call on one set of data; `brief` leaves it at get, list and create."""
    engine = "PostgreSQL" if postgres else "SQLite"
    name = f"{engine}, {domains:,} × {accounts // domains:,}" + (f", {workers} workers" if workers > 1 else "")
    with start(accounts, domains, postgres=postgres, workers=workers) as instance:
        yield from itertools.islice(reads(instance, domains, name), 2 if brief else None)
        yield from itertools.islice(writes(instance, domains, name), 3 if brief else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--domains", type=int, default=1)
    options = parser.parse_args()
    for row in measure(options.accounts, options.domains, postgres=options.postgres, workers=options.workers):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
