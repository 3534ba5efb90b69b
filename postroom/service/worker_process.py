"""The process of the worker."""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable
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
from postroom.mailplane.dovecot.traces import Deliveries
from postroom.mailplane.postfix.deliveries import DeliveryLog
from postroom.messages.dovecot_messages import DovecotMessages
from postroom.service import health_checks, login_guard, worker
from postroom.service.arrivals import Arrivals
from postroom.service.hidden_mail import HiddenMail
from postroom.service.message_bodies import MessageBodies
from postroom.service.node_imap import NodeImap
from postroom.service.passing_messages import PassingMessages
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
        node = await _node(database, settings)
        work = asyncio.create_task(
            worker.run(
                database,
                end_sessions=session_terminator,
                resolver=resolver,
                verification=Verification(database, resolver, settings.dns_host, settings.degraded_days * DAY_MS),
                mail=mail,
                alive=health_checks.worker_alive(settings.data),
                **_log_readers(settings, database, session_terminator, node),
                **(_of_nodes(node, settings, database, session_terminator) if node else {}),
                webhooks=_webhooks(settings, database, resolver, session_terminator, node),
                events_days=settings.events_days,
            )
        )
        await _until_told_to_stop(work)

    database = open_database(settings.database)
    try:
        asyncio.run(run())
    finally:
        database.close()


def _of_nodes(
    node: Node, settings: Settings, database: Database, session_terminator: SessionTerminator
) -> dict[str, Any]:
    """Returns the parts of the worker that only a machine among several has."""
    bind = node_join.address_of_own(node, settings)
    addresses = [bind] if bind else settings.listen_addresses
    return {
        "mover": Mover(database, node.id, settings.data / "mail", session_terminator.endpoint),
        "keep_trust": partial(node_join.trusting_of(node, settings).keep_on, database),
        "serve_nodes": NodeImap(database, node, addresses, settings.data).keep_on,
    }


def _webhooks(
    settings: Settings,
    database: Database,
    resolver: Resolver,
    session_terminator: SessionTerminator,
    node: Node | None,
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """Returns the parts of the worker that send to webhooks and that find the mail for them."""
    sender = Sender(resolver, allows_private=settings.webhook_allow == "private")
    key, node_id = digest_key.ensure(settings.data), node.id if node else None
    if settings.mail == "off":
        return (Webhooks(database, sender, key, node_id or 0).run,)
    dovecot, mail = DovecotMailboxes(session_terminator), settings.data / "mail"
    messages = DovecotMessages(settings, database)
    read_message = MessageBodies(messages, dovecot, settings.public_base)
    webhooks = Webhooks(database, sender, key, node_id or 0, read_message)
    hints = Deliveries(settings.data / "log" / log_name("dovecot"))
    arrivals = Arrivals(database, dovecot, hints, mail, settings.hostname, node_id)
    passing = PassingMessages(database, messages, dovecot)
    hidden = HiddenMail(database, messages, dovecot, node_id)
    return webhooks.run, arrivals.run, passing.run, hidden.run


def _log_readers(
    settings: Settings, database: Database, session_terminator: SessionTerminator, node: Node | None
) -> dict[str, Any]:
    """Returns the parts of the worker that follow the logs of Dovecot and Postfix."""

    path, mail = settings.data / "log" / log_name("dovecot"), settings.data / "mail"
    mailboxes, node_id = DovecotMailboxes(session_terminator), node.id if node else None
    return {
        "read_logins": LoginLog(path),
        "stop_scripts": Runaways(path, mail),
        "count_failures": login_guard.LoginGuard(database, FailureLog(path), login_guard.bounds(settings)),
        "record_sent": SentLog(database, DeliveryLog(path.with_name(log_name("postfix"))), node_id or 0),
        "count_quotas": QuotaCounts(database, QuotaWarnings(path), mailboxes.count, node_id),
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
