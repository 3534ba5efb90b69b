"""The Python processes of a service: the API, the worker, the milter, and those that prepare the
database and the daemons' files and end.

    python -I -m postroom.service.processes api --parent PID --name NAME --listener FD
        --instance VALUE
    python -I -m postroom.service.processes worker --parent PID
    python -I -m postroom.service.processes milter --parent PID
    python -I -m postroom.service.processes prepare --parent PID --report FD [--shows-key]
    python -I -m postroom.service.processes configure --parent PID   (configuration.py)

These processes die with the supervisor, no matter how it died. The kernel kills them, but only a
process that asked for this after it got its final user id (decision 0012). The imports are inside
the functions because a part starts faster if it loads less.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from postroom import settings as settings_of
from postroom.errors import Busy, Refused
from postroom.instance import digest_key
from postroom.instance.data_directory import CannotStart
from postroom.log import log
from postroom.mailplane.dovecot.logins import FailureLog, LoginLog
from postroom.mailplane.dovecot.quota_warnings import QuotaWarnings
from postroom.mailplane.dovecot.runaways import Runaways
from postroom.mailplane.dovecot.traces import Deliveries
from postroom.mailplane.postfix.deliveries import DeliveryLog
from postroom.mailplane.render import OwnNode
from postroom.service import health_checks
from postroom.settings import Settings
from postroom.supervision.daemon_guard import PR_SET_PDEATHSIG, prctl
from postroom.supervision.supervisor import Part, log_name
from postroom.tenants.send_limits import SendLimits

if TYPE_CHECKING:
    from postroom.cluster.nodes import Node
    from postroom.db import Database
    from postroom.domains.resolver import Resolver
    from postroom.mailboxes.session_terminator import SessionTerminator

# Seconds for open requests at the end of the API; less than the supervisor's grace.
DRAIN = 8
SWITCH_SECONDS = 0.0005
MAIL_ROLE = "mail_role.password"
UNSHOWN_KEY = "unshown_key.id"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Prepared(msgspec.Struct):
    """The result of the preparation. `api_key` is set until a start has shown it. `mail_role` has
    libpq's parameters with which the mail daemons connect to PostgreSQL. `node` is this machine in
    an installation of several. `taken` is the number of accounts that got this node as their home
    in this start. `send_limits` are those of each account of the demo organization."""

    organization: str
    demo_domain: str | None
    api_key: str | None = None
    console_link: str | None = None
    mail_role: dict[str, str] | None = None
    node: OwnNode | None = None
    taken: int = 0
    send_limits: SendLimits = SendLimits()


def unshown_key(settings: Settings) -> Path:
    """Returns the path of a file that exists until a start has shown the first API key."""
    return settings.data / "db" / UNSHOWN_KEY


def part(name: str, settings: Settings, files: tuple[int, ...] = (), *arguments: str) -> Part:
    """Returns how the supervisor runs one of these processes: isolated from the environment of
    `postroom serve`, with the settings as environment variables."""
    command = [
        sys.executable,
        "-I",
        "-m",
        "postroom.service.processes",
        name.partition("-")[0],
        "--parent",
        str(os.getpid()),
        "--name",
        name,
        *arguments,
    ]
    environment = {"PATH": PATH, "LANG": "C.UTF-8"} | settings.environment()
    if name == "configure" and settings.relay_password:
        environment[settings_of.variable("relay_password")] = settings.relay_password
    if zone := os.environ.get("TZ"):
        environment["TZ"] = zone
    return Part(name, command, environment, files=files)


def run_api(settings: Settings, listener: socket.socket, instance: str, name: str = "api") -> None:
    """Serves the API on the socket until SIGTERM or SIGINT. Open requests are still answered."""
    import uvicorn

    from postroom.api.app import create_app
    from postroom.api.connection import configure
    from postroom.api.request_metrics import ProcessSlot
    from postroom.db import open_database
    from postroom.mailboxes.session_terminator import SessionTerminator
    from postroom.service.metrics import Measures

    database = open_database(settings.database)
    session_terminator, names = SessionTerminator(settings, database), api_names(settings)
    try:
        app = create_app(
            database,
            settings,
            end_sessions=session_terminator,
            digest_key=digest_key.ensure(settings.data),
            **_mail(settings, database, session_terminator),
            has_submission=lambda: settings.mail == "off" or health_checks.has_postfix(settings),
            probe=health_checks.Readiness(health_checks.checks(settings)),
            measure=Measures(settings),
            instance=instance,
            place=ProcessSlot(name, names if name in names else (name,), settings.data / "run"),
        )
        config = configure(app, loop="uvloop", log_level=settings.log_level, timeout_graceful_shutdown=DRAIN)
        # Excludes the objects that exist now from garbage collection. Otherwise each collection
        # scans all of them, which takes 15 ms.
        gc.collect()
        gc.freeze()
        # A thread that reads a message lets the event loop go on within this time.
        sys.setswitchinterval(SWITCH_SECONDS)
        # uvicorn raises the signal again after a clean end, which must not look like a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        database.close()


def _mail(settings: Settings, database: "Database", session_terminator: "SessionTerminator") -> dict[str, Any]:
    """Returns what the API asks about mail; nothing for an instance without mail."""
    if settings.mail == "off":
        return {}
    from postroom.mailboxes.dovecot import DovecotMailboxes
    from postroom.messages.dovecot_messages import DovecotMessages

    return {"mailboxes": DovecotMailboxes(session_terminator), "messages": DovecotMessages(settings, database)}


def api_names(settings: Settings) -> list[str]:
    """Returns the names of the processes that serve the API's port."""
    return ["api", *(f"api-{number}" for number in range(2, settings.workers + 1))]


def run_worker(settings: Settings) -> None:
    """Runs the worker until SIGTERM or SIGINT."""
    from postroom.db import open_database
    from postroom.domains.resolver import Resolver
    from postroom.domains.verification import DAY_MS, Verification
    from postroom.mailboxes.session_terminator import SessionTerminator
    from postroom.service import worker

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
    node: "Node", settings: Settings, database: "Database", session_terminator: "SessionTerminator"
) -> dict[str, Any]:
    """Returns the parts of the worker that only a machine among several has."""
    from postroom.cluster import join as node_join
    from postroom.cluster.mover import Mover
    from postroom.service.node_imap import NodeImap

    bind = node_join.address_of_own(node, settings)
    addresses = [bind] if bind else settings.listen_addresses
    return {
        "mover": Mover(database, node.id, settings.data / "mail", session_terminator.endpoint),
        "keep_trust": partial(node_join.trusting_of(node, settings).keep_on, database),
        "serve_nodes": NodeImap(database, node, addresses, settings.data).keep_on,
    }


def _webhooks(
    settings: Settings,
    database: "Database",
    resolver: "Resolver",
    session_terminator: "SessionTerminator",
    node: "Node | None",
) -> tuple[Callable[[], Awaitable[None]], ...]:
    """Returns the parts of the worker that send to webhooks and that find the mail for them."""
    from postroom.mailboxes.dovecot import DovecotMailboxes
    from postroom.messages.dovecot_messages import DovecotMessages
    from postroom.service.arrivals import Arrivals
    from postroom.service.message_bodies import MessageBodies
    from postroom.service.webhooks import Webhooks
    from postroom.webhooks.sender import Sender

    sender = Sender(resolver, allows_private=settings.webhook_allow == "private")
    key, node_id = digest_key.ensure(settings.data), node.id if node else None
    if settings.mail == "off":
        return (Webhooks(database, sender, key, node_id or 0).run,)
    dovecot, mail = DovecotMailboxes(session_terminator), settings.data / "mail"
    read_message = MessageBodies(DovecotMessages(settings, database), dovecot, settings.public_base)
    webhooks = Webhooks(database, sender, key, node_id or 0, read_message)
    hints = Deliveries(settings.data / "log" / log_name("dovecot"))
    arrivals = Arrivals(database, dovecot, hints, mail, settings.hostname, node_id)
    return webhooks.run, arrivals.run


def _log_readers(
    settings: Settings, database: "Database", session_terminator: "SessionTerminator", node: "Node | None"
) -> dict[str, Any]:
    """Returns the parts of the worker that follow the logs of Dovecot and Postfix."""
    from postroom.mailboxes.dovecot import DovecotMailboxes
    from postroom.service import login_guard
    from postroom.service.quota_counts import QuotaCounts
    from postroom.service.sent_log import SentLog

    path, mail = settings.data / "log" / log_name("dovecot"), settings.data / "mail"
    mailboxes, node_id = DovecotMailboxes(session_terminator), node.id if node else None
    return {
        "read_logins": LoginLog(path),
        "stop_scripts": Runaways(path, mail),
        "count_failures": login_guard.LoginGuard(database, FailureLog(path), login_guard.bounds(settings)),
        "record_sent": SentLog(database, DeliveryLog(path.with_name(log_name("postfix"))), node_id or 0),
        "count_quotas": QuotaCounts(database, QuotaWarnings(path), mailboxes.count, node_id),
    }


async def _node(database: "Database", settings: Settings) -> "Node | None":
    """Returns this machine's node, or None in an installation of one machine."""
    from postroom.cluster import nodes

    return await database.read(partial(nodes.get, name=settings.node)) if settings.node else None


async def _until_told_to_stop(work: asyncio.Task[None]) -> None:
    """Waits for the work, which SIGTERM and SIGINT cancel."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    await asyncio.wait([work])
    if not work.cancelled():
        work.result()


def run_milter(settings: Settings) -> None:
    """Runs the milter until SIGTERM or SIGINT."""
    import uvloop

    from postroom.db import open_database
    from postroom.milter import server

    database = open_database(settings.database)
    try:
        gc.collect()
        gc.freeze()
        uvloop.run(server.run(database, settings))
    finally:
        database.close()


def prepare(settings: Settings, *, shows_key: bool, has_dovecot: bool = False) -> Prepared:
    """Brings the database up to date and, at the first start, makes the initial data. Raises
    CannotStart. `shows_key`: the caller will show the first API key (bootstrap.prepare).
    `has_dovecot`: this host runs Dovecot, or the whole service without mail."""
    from postroom.cluster import digest_keys
    from postroom.cluster import join as node_join
    from postroom.db import NewerSchema, NoMailRole, migrate, open_database
    from postroom.service import bootstrap

    role = None
    try:
        migrate(settings.database)
        if settings.mail == "on" and not settings.is_sqlite:
            from postroom.db import mail_role

            kept = settings.data / "db" / MAIL_ROLE
            role = mail_role.prepare(settings.database, settings.mail_database_url, kept)
    except (NewerSchema, NoMailRole, Busy) as error:
        raise CannotStart(str(error)) from None
    database = open_database(settings.database)
    try:
        node, taken = node_join.join(database, settings)
        found = digest_key.fingerprint(digest_key.ensure(settings.data))
        if has_dovecot and not database.write_sync(partial(digest_keys.claim, fingerprint=found)):
            log.error("digest_key_differs", help="restore db/digest.key, or make all app passwords and webhooks again")
        first = bootstrap.prepare(database, settings.hostname, unshown_key(settings), shows_key=shows_key)
    except Refused as error:
        raise CannotStart(error.detail) from None
    except (OSError, ValueError) as error:
        raise CannotStart(f"The key of app passwords: {error}.") from None
    finally:
        database.close()
    shown = (first.demo_domain, first.api_key, first.console_link)
    return Prepared(bootstrap.DEMO_ORGANIZATION, *shown, role, node, taken, first.send_limits)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="postroom.service.processes")
    parser.add_argument("part", choices=["api", "worker", "milter", "prepare", "configure"])
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--listener", type=int)
    parser.add_argument("--report", type=int)
    parser.add_argument("--instance", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--shows-key", action="store_true")
    parser.add_argument("--has-dovecot", action="store_true")
    options = parser.parse_args(arguments)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        sys.exit("The supervisor is gone.")
    settings = settings_of.from_environment()
    log.configure(settings.log_level)
    match options.part:
        case "api":
            run_api(settings, socket.socket(fileno=options.listener), options.instance, options.name)
        case "worker":
            run_worker(settings)
        case "milter":
            run_milter(settings)
        case "configure":
            from postroom.service import configuration

            configuration.carry_out(settings)
        case "prepare":
            with os.fdopen(options.report, "wb") as report:
                report.write(msgspec.json.encode(_prepare_or_exit(settings, options)))


def _prepare_or_exit(settings: Settings, options: argparse.Namespace) -> Prepared:
    try:
        return prepare(settings, shows_key=options.shows_key, has_dovecot=options.has_dovecot)
    except CannotStart as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
