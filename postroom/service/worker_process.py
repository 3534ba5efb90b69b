"""The process of the worker."""

import argparse
import asyncio
import signal
from functools import partial
from typing import Any

from postroom.cluster import join as node_join
from postroom.cluster import nodes
from postroom.cluster.mover import Mover
from postroom.cluster.nodes import Node
from postroom.db import Database, open_database
from postroom.domains.resolver import Resolver
from postroom.domains.verification import DAY_MS, Verification
from postroom.instance import digest_key
from postroom.mailboxes.dovecot import DovecotMailboxes
from postroom.mailboxes.session_terminator import SessionTerminator
from postroom.mailplane.dovecot.logins import FailureLog, LoginLog
from postroom.mailplane.dovecot.quota_warnings import QuotaWarnings
from postroom.mailplane.dovecot.runaways import Runaways
from postroom.mailplane.postfix.deliveries import DeliveryLog
from postroom.service import health_checks, login_guard, worker
from postroom.service.quota_counts import QuotaCounts
from postroom.service.sent_log import SentLog
from postroom.service.webhooks import Webhooks
from postroom.settings import Settings
from postroom.supervision.supervisor import log_name
from postroom.webhooks.sender import Sender


def run_worker(settings: Settings) -> None:
    """Runs the worker until SIGTERM or SIGINT."""

    async def run() -> None:
        resolver = Resolver(settings.resolver)
        session_terminator, mail = SessionTerminator(settings, database), settings.data / "mail"
        mover = keep_trust = None
        if node := await _node(database, settings):
            mover = Mover(database, node.id, mail, session_terminator.endpoint)
            keep_trust = partial(node_join.trusting_of(node, settings).keep_on, database)
        work = asyncio.create_task(
            worker.run(
                database,
                end_sessions=session_terminator,
                resolver=resolver,
                verification=Verification(database, resolver, settings.dns_host, settings.degraded_days * DAY_MS),
                mail=mail,
                alive=health_checks.worker_alive(settings.data),
                **_log_readers(settings, database, session_terminator, node),
                mover=mover,
                keep_trust=keep_trust,
                send_webhooks=_webhooks(settings, database, resolver, node).run,
                events_days=settings.events_days,
            )
        )
        await _until_told_to_stop(work)

    database = open_database(settings.database)
    try:
        asyncio.run(run())
    finally:
        database.close()


def _webhooks(settings: Settings, database: Database, resolver: Resolver, node: Node | None) -> Webhooks:
    sender = Sender(resolver, allows_private=settings.webhook_allow == "private")
    return Webhooks(database, sender, digest_key.ensure(settings.data), node.id if node else 0)


def _log_readers(
    settings: Settings, database: Database, session_terminator: SessionTerminator, node: Node | None
) -> dict[str, Any]:
    """Returns the parts of the worker that follow the logs of Dovecot and Postfix."""

    path = settings.data / "log" / log_name("dovecot")
    count = DovecotMailboxes(session_terminator).count
    return {
        "read_logins": LoginLog(path),
        "stop_scripts": Runaways(path, settings.data / "mail"),
        "count_failures": login_guard.LoginGuard(database, FailureLog(path), login_guard.bounds(settings)),
        "record_sent": SentLog(database, DeliveryLog(path.with_name(log_name("postfix"))), node.id if node else 0),
        "count_quotas": QuotaCounts(database, QuotaWarnings(path), count, node.id if node else None),
    }


async def _node(database: Database, settings: Settings) -> Node | None:
    """Returns this machine's node, or None in an installation of one machine."""

    return await database.read(partial(nodes.get, name=settings.node)) if settings.node else None


async def _until_told_to_stop(work: asyncio.Task[None]) -> None:
    """Waits for the work, which SIGTERM and SIGINT cancel."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    await asyncio.wait([work])
    if not work.cancelled():
        work.result()


def main(settings: Settings, _options: argparse.Namespace, _files: list[int]) -> None:
    run_worker(settings)
