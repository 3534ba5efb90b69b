"""The metrics endpoint: the whole instance in the text format of Prometheus.

A stranger would get wrong: it names no account, domain, user or organization, and what it counts belongs to all of
them; so a key that is bound to less than an organization is refused. What cannot be measured is left out, never 0.
"""

import platform
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from postroom import __version__, counts, lateness, moves, nodes
from postroom.actor import Actor
from postroom.api.call import Answer, Call, Measured
from postroom.api.tallies import BOUNDS, Account
from postroom.api.wire import NoQuery
from postroom.counts import Count
from postroom.db import Tx
from postroom.errors import Busy, Refused

MEDIA = CONTENT_TYPE_PLAIN_0_0_4


class Kept(msgspec.Struct, frozen=True):
    """What the database knows: accounts, since when work is due (seconds), its size in bytes; of several machines each,
    for how long it has been silent (seconds), how many accounts it has, and the moves between them by their state."""

    accounts: Count
    lags: dict[str, float]
    size: int
    silences: dict[str, float]
    homes: dict[str, int]
    moves: dict[str, int]


async def get(call: Call, _query: NoQuery) -> Answer:
    """Tells in Prometheus' text format how the instance does."""
    if call.actor.user_id is not None or call.actor.bound is not None:
        raise Refused("forbidden", "A key that is bound to a user or to domains does not see the whole instance.")
    services = call.services
    measured, parts = await services.measure(), await services.probe()
    kept: Kept | None = None
    try:
        size = await services.database.size()
        kept = await services.database.search(lambda tx: _kept(tx, call.actor, size))
        parts = {"database": None, **parts}
    except Busy as error:
        parts = {"database": error.detail, **parts}
    registry = CollectorRegistry()
    registry.register(_Everything(_everything(services.tallies.accounts(), measured, parts, kept)))
    return Answer(generate_latest(registry).decode())


class _Everything(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _kept(tx: Tx, actor: Actor, size: int) -> Kept:
    """Who asks without a key is the operator, and gets the sum over all organizations. Where accounts are, and how many
    are on their way, is for him alone: a key would learn how many others have."""
    is_operator = actor.key_id is None
    found = counts.everything(tx) if is_operator else counts.totals(tx, actor, None)
    machines = nodes.everything(tx)
    silent = {node.name: silence / 1000 for node in machines if (silence := node.silence(tx.now)) is not None}
    homes = {node.name: node.accounts for node in machines} if is_operator else {}
    return Kept(found, lateness.by_work(tx), size, silent, homes, moves.by_state(tx) if homes else {})


def _everything(
    found: list[Account], measured: Measured, parts: dict[str, str | None], kept: Kept | None
) -> Iterator[Metric]:
    yield from _requests(found)
    waiting = [((account.process,), account.waiting) for account in found]
    yield _gauge("writes_waiting", "Writes that wait for the writer of a process.", ["process"], waiting)
    up = [((part,), 0 if reason else 1) for part, reason in parts.items()]
    yield _gauge("part_up", "Whether a part answers, as in /readyz.", ["part"], up)
    build = [((__version__, platform.python_version()), 1)]
    yield _gauge("build_info", "The version that runs.", ["version", "python"], build)
    yield from _measured(measured)
    if kept:
        by_status = [((status,), getattr(kept.accounts, status)) for status in counts.STATUSES]
        yield _gauge("accounts", "Live accounts.", ["status"], by_status)
        lags = [((work,), seconds) for work, seconds in kept.lags.items()]
        yield _gauge("worker_lag_seconds", "For how long the oldest work has been due.", ["work"], lags)
        yield _gauge("database_size_bytes", "Size of the database.", [], [((), kept.size)])
        yield from _nodes(kept)


def _nodes(kept: Kept) -> Iterator[Metric]:
    if kept.silences:
        silent = [((node,), seconds) for node, seconds in kept.silences.items()]
        yield _gauge("node_silence_seconds", "For how long a node has not said that it is there.", ["node"], silent)
    if not kept.homes:
        return
    homes = [((node,), number) for node, number in kept.homes.items()]
    yield _gauge("node_accounts", "Accounts at home on a node.", ["node"], homes)
    by_phase = [((phase,), number) for phase, number in kept.moves.items()]
    yield _gauge("moves", "Accounts on their way to another node.", ["phase"], by_phase)


def _requests(found: list[Account]) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "postroom_requests", "Requests that were answered.", labels=["process", "method", "route", "status"]
    )
    times = HistogramMetricFamily(
        "postroom_request_duration_seconds", "Time to the answer.", labels=["process", "method", "route"]
    )
    for account in found:
        sums: dict[tuple[str, str], tuple[list[int], float]] = {}
        for tally in account.tallies:
            total.add_metric([account.process, tally.method, tally.route, str(tally.status)], tally.count)
            buckets, seconds = sums.get((tally.method, tally.route), ([0] * (len(BOUNDS) + 1), 0.0))
            added = [a + b for a, b in zip(buckets, tally.buckets, strict=True)]
            sums[tally.method, tally.route] = (added, seconds + tally.seconds)
        for (method, route), (buckets, seconds) in sums.items():
            times.add_metric([account.process, method, route], _cumulated(buckets), seconds)
    yield total
    yield times


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    sums = [sum(buckets[: number + 1]) for number in range(len(buckets))]
    return [(bound, float(count)) for bound, count in zip([*map(str, BOUNDS), "+Inf"], sums, strict=True)]


def _measured(measured: Measured) -> Iterator[Metric]:
    if measured.logins is not None:
        logins = CounterMetricFamily(
            "postroom_logins", "Logins at Dovecot since its start.", labels=["service", "result"]
        )
        for (service, result), number in measured.logins.items():
            logins.add_metric([service, result], number)
        yield logins
    if measured.mail_queue is not None:
        queue = [((name,), number) for name, number in measured.mail_queue.items()]
        yield _gauge("mail_queue_messages", "Messages in Postfix's queues.", ["queue"], queue)
    if measured.certificate_ends is not None:
        ends = [((), measured.certificate_ends)]
        yield _gauge("certificate_expiry_timestamp_seconds", "When the mail ports' certificate ends.", [], ends)
    if measured.worker_silence is not None:
        silence = [((), measured.worker_silence)]
        yield _gauge("worker_silence_seconds", "Since when the worker has not begun a round.", [], silence)


def _gauge(name: str, help_: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    gauge = GaugeMetricFamily(f"postroom_{name}", help_, labels=labels)
    for values, value in samples:
        gauge.add_metric(list(values), value)
    return gauge
