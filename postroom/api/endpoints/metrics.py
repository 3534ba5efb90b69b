"""The metrics endpoint, in the text format of Prometheus.

The operator sees the whole instance: without a key if the settings allow it, or with a key of the
organization `operator`. Any other key sees its organization's accounts and which parts answer, and
nothing about other organizations. A key that is bound to a user or to domains is refused (decision
0166). No account, domain, user or organization is named. A value that cannot be measured is left
out, never 0.
"""

import platform
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from postroom import __version__
from postroom.accounts import login_attacks, login_bans, purges
from postroom.actor import Actor
from postroom.api.context import Measured, RequestContext, Result
from postroom.api.decoding import NoQuery
from postroom.api.request_metrics import BOUNDS, ProcessCounters
from postroom.api.route import route
from postroom.cluster import moves, nodes
from postroom.db import Tx
from postroom.domains import check_schedule
from postroom.errors import Busy, Refused
from postroom.mailboxes import session_revocations
from postroom.tenants import organizations, usage
from postroom.tenants.usage import Count
from postroom.webhooks import deliveries, lanes

MEDIA = CONTENT_TYPE_PLAIN_0_0_4


class Kept(msgspec.Struct, frozen=True):
    """What the database knows about the whole instance: for how long work has been overdue
    (seconds), the database's size (bytes), and the numbers of banned networks, of accounts under
    attack, of pending deliveries to webhooks, and of webhooks that fail. On several machines also,
    for each node, the seconds since its last heartbeat and the number of accounts, and the number
    of moves by state."""

    lags: dict[str, float]
    size: int
    bans: int
    attacks: int
    pending: int
    failing: int
    silences: dict[str, float]
    homes: dict[str, int]
    moves: dict[str, int]


@route("GET", "/metrics", "metrics:read", "Metrics", str, media=MEDIA)
async def get(context: RequestContext, _query: NoQuery) -> Result:
    """Returns the instance's metrics in Prometheus' text format."""
    if context.actor.user_id is not None or context.actor.restricted_key_id is not None:
        raise Refused(
            "forbidden", "A key that is bound to a user or to domains cannot read metrics: use an unrestricted key."
        )
    services = context.services
    parts = await services.probe()
    accounts: Count | None = None
    kept: Kept | None = None
    is_operator = context.actor.key_id is None
    try:
        size = await services.database.size()
        is_operator, accounts, kept = await services.database.read_slow(lambda tx: _seen(tx, context.actor, size))
        parts = {"database": None, **parts}
    except Busy as error:
        parts = {"database": error.detail, **parts}
    found = [*_of_anybody(parts, accounts)]
    if is_operator:
        found += _of_the_instance(services.request_metrics.processes(), await services.measure(), kept)
    registry = CollectorRegistry()
    registry.register(_Everything(found))
    return Result(generate_latest(registry).decode())


class _Everything(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _seen(tx: Tx, actor: Actor, size: int) -> tuple[bool, Count, Kept | None]:
    """Whether the actor is the operator, the accounts that the actor sees, and what only the
    operator sees."""
    if actor.key_id is not None and not organizations.is_operators(tx, actor.organization_id):
        return False, usage.totals(tx, actor, None), None
    machines = nodes.everything(tx)
    silent = {node.name: silence / 1000 for node in machines if (silence := node.silence(tx.now)) is not None}
    homes = {node.name: node.accounts for node in machines}
    kept = Kept(
        _lags(tx),
        size,
        login_bans.tally(tx),
        login_attacks.tally(tx),
        deliveries.pending(tx),
        lanes.failing(tx),
        silent,
        homes,
        moves.by_state(tx) if homes else {},
    )
    return True, usage.everything(tx), kept


def _of_anybody(parts: dict[str, str | None], accounts: Count | None) -> Iterator[Metric]:
    """The metrics that every key may see: none of them depends on what other organizations do."""
    up = [((part,), 0 if reason else 1) for part, reason in parts.items()]
    yield _gauge("part_up", "Whether a part answers, as in /readyz.", ["part"], up)
    build = [((__version__, platform.python_version()), 1)]
    yield _gauge("build_info", "The version that runs.", ["version", "python"], build)
    if accounts:
        by_status = [((status,), getattr(accounts, status)) for status in usage.STATUSES]
        yield _gauge("accounts", "Live accounts.", ["status"], by_status)


def _of_the_instance(found: list[ProcessCounters], measured: Measured, kept: Kept | None) -> Iterator[Metric]:
    """The metrics that only the operator sees."""
    yield from _requests(found)
    waiting = [((process.process,), process.waiting) for process in found]
    yield _gauge("writes_waiting", "Writes that wait for the writer of a process.", ["process"], waiting)
    yield from _measured(measured)
    if kept:
        lags = [((work,), seconds) for work, seconds in kept.lags.items()]
        yield _gauge("worker_lag_seconds", "How long the oldest due work has been late.", ["work"], lags)
        yield _gauge("database_size_bytes", "Size of the database.", [], [((), kept.size)])
        yield _gauge("login_bans", "Networks that are banned because of wrong passwords.", [], [((), kept.bans)])
        yield _gauge("accounts_under_attack", "Accounts under attack by wrong passwords.", [], [((), kept.attacks)])
        yield _gauge("webhook_deliveries_pending", "Deliveries to webhooks that wait.", [], [((), kept.pending)])
        yield _gauge("webhooks_failing", "Webhooks with deliveries that fail.", [], [((), kept.failing)])
        yield from _nodes(kept)


def _lags(tx: Tx) -> dict[str, float]:
    """The seconds for which the oldest work of each kind has been due; 0 if none is due. Work that
    failed and was backed off counts from the time when it was first due."""
    due = {
        "sessions": session_revocations.oldest_due(tx),
        "purges": purges.oldest_purge_due(tx),
        "checks": check_schedule.oldest_due(tx),
        "webhooks": lanes.oldest_due(tx),
    }
    return {work: 0.0 if at is None else (tx.now - at) / 1000 for work, at in due.items()}


def _nodes(kept: Kept) -> Iterator[Metric]:
    if kept.silences:
        silent = [((node,), seconds) for node, seconds in kept.silences.items()]
        yield _gauge("node_silence_seconds", "Time since the last heartbeat of a node.", ["node"], silent)
    if not kept.homes:
        return
    homes = [((node,), number) for node, number in kept.homes.items()]
    yield _gauge("node_accounts", "Accounts whose mail a node has.", ["node"], homes)
    by_phase = [((phase,), number) for phase, number in kept.moves.items()]
    yield _gauge("moves", "Accounts that are being moved to another node.", ["phase"], by_phase)


def _requests(found: list[ProcessCounters]) -> Iterator[Metric]:
    total = CounterMetricFamily(
        "postroom_requests", "Answered requests.", labels=["process", "method", "route", "status"]
    )
    times = HistogramMetricFamily(
        "postroom_request_duration_seconds", "Time to the answer.", labels=["process", "method", "route"]
    )
    for process in found:
        sums: dict[tuple[str, str], tuple[list[int], float]] = {}
        for counter in process.routes:
            total.add_metric([process.process, counter.method, counter.route, str(counter.status)], counter.count)
            buckets, seconds = sums.get((counter.method, counter.route), ([0] * (len(BOUNDS) + 1), 0.0))
            added = [a + b for a, b in zip(buckets, counter.buckets, strict=True)]
            sums[counter.method, counter.route] = (added, seconds + counter.seconds)
        for (method, path), (buckets, seconds) in sums.items():
            times.add_metric([process.process, method, path], _cumulated(buckets), seconds)
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
        yield _gauge(
            "certificate_expiry_timestamp_seconds", "When the certificate of the mail ports expires.", [], ends
        )
    if measured.worker_silence is not None:
        silence = [((), measured.worker_silence)]
        yield _gauge("worker_silence_seconds", "Time since the worker last began a round.", [], silence)
    if measured.has_filter is not None:
        yield _gauge("filter_up", "Whether the spam filter answers.", [], [((), int(measured.has_filter))])


def _gauge(name: str, help_: str, labels: list[str], samples: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    gauge = GaugeMetricFamily(f"postroom_{name}", help_, labels=labels)
    for values, value in samples:
        gauge.add_metric(list(values), value)
    return gauge
