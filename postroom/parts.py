"""The parts of a service that are Python: how API, worker and milter are run, and what prepares the database.

    python -I -m postroom.parts api --parent PID --name NAME --listener FD --instance VALUE
    python -I -m postroom.parts worker --parent PID
    python -I -m postroom.parts milter --parent PID
    python -I -m postroom.parts prepare --parent PID --report FD

A stranger would get wrong: these processes die with the supervisor, however it died. The kernel does that, and
only for a process that asked for it after it got its final user id. The imports are in the functions because each
part starts the faster for what it does not load.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from postroom import logs, readiness
from postroom import settings as settings_of
from postroom.errors import Busy, Refused
from postroom.instance import CannotStart
from postroom.mailplane.guard import PR_SET_PDEATHSIG, prctl
from postroom.mailplane.logins import LoginLog
from postroom.mailplane.render import OwnNode
from postroom.mailplane.supervisor import Part, log_name
from postroom.settings import Settings

# Shorter than the grace that the supervisor gives.
DRAIN = 8
MAIL_ROLE = "mail_role.password"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Prepared(msgspec.Struct):
    """What the first start made; the API key is there only then. `mail_role`: how the mail daemons connect to
    PostgreSQL, as libpq's parameters. `node`: of several machines this one; `taken`: so many accounts are its own since
    this start."""

    organization: str
    demo_domain: str | None
    api_key: str | None = None
    console_link: str | None = None
    mail_role: dict[str, str] | None = None
    node: OwnNode | None = None
    taken: int = 0


def part(name: str, settings: Settings, files: tuple[int, ...] = (), *arguments: str) -> Part:
    """How the supervisor runs one of these: isolated from the caller's environment, with the settings in it."""
    command = [
        sys.executable,
        "-I",
        "-m",
        "postroom.parts",
        name.partition("-")[0],
        "--parent",
        str(os.getpid()),
        "--name",
        name,
        *arguments,
    ]
    environment = {"PATH": PATH, "LANG": "C.UTF-8"} | settings.environment()
    if zone := os.environ.get("TZ"):
        environment["TZ"] = zone
    return Part(name, command, environment, files=files)


def run_api(settings: Settings, listener: socket.socket, instance: str, name: str = "api") -> None:
    """Serves the API on the socket until SIGTERM or SIGINT; requests under way are answered."""
    import uvicorn

    from postroom.api.app import create_app
    from postroom.api.connection import configure
    from postroom.api.tallies import Place
    from postroom.db import open_database
    from postroom.doorkeeper import Doorkeeper
    from postroom.dovecot_mailboxes import DovecotMailboxes
    from postroom.mailboxes import NoMailboxes
    from postroom.measures import Measures

    database = open_database(settings.database)
    doorkeeper = Doorkeeper(settings, database)
    try:
        app = create_app(
            database,
            settings,
            end_sessions=doorkeeper,
            mailboxes=DovecotMailboxes(doorkeeper) if settings.mail == "on" else NoMailboxes(),
            probe=readiness.Readiness(readiness.checks(settings)),
            measure=Measures(settings),
            instance=instance,
            place=Place(name, api_names(settings) if name in api_names(settings) else (name,), settings.data / "run"),
        )
        config = configure(app, loop="uvloop", log_level=settings.log_level, timeout_graceful_shutdown=DRAIN)
        # What is there now stays: else the collector looks at all of it again and again, 15 ms each time.
        gc.collect()
        gc.freeze()
        # uvicorn raises the signal once more after a clean end; that must not look like a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        database.close()


def api_names(settings: Settings) -> list[str]:
    """The processes that answer on the API's port."""
    return ["api", *(f"api-{number}" for number in range(2, settings.workers + 1))]


def run_worker(settings: Settings) -> None:
    """Runs the worker until SIGTERM or SIGINT."""
    from postroom import nodes, worker
    from postroom.db import open_database
    from postroom.doorkeeper import Doorkeeper
    from postroom.moving import Mover
    from postroom.resolver import Resolver
    from postroom.verification import Verification

    async def run() -> None:
        alive = readiness.worker_alive(settings.data)
        resolver = Resolver(settings.resolver)
        doorkeeper, mail = Doorkeeper(settings, database), settings.data / "mail"
        mover = None
        if settings.node:
            node = await database.read(partial(nodes.get, name=settings.node))
            mover = Mover(database, node.id, mail, doorkeeper.door)
        work = asyncio.create_task(
            worker.run(
                database,
                end_sessions=doorkeeper,
                resolver=resolver,
                verification=Verification(database, resolver, settings.dns_host),
                mail=mail,
                alive=alive,
                read_logins=LoginLog(settings.data / "log" / log_name("dovecot")),
                mover=mover,
            )
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        await asyncio.wait([work])
        if not work.cancelled():
            work.result()

    database = open_database(settings.database)
    try:
        asyncio.run(run())
    finally:
        database.close()


def run_milter(settings: Settings) -> None:
    """Answers Postfix about senders until SIGTERM or SIGINT."""
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


def prepare(settings: Settings) -> Prepared:
    """Brings the database up to date and makes what the first start makes. Raises CannotStart."""
    from postroom import joining, operator
    from postroom.db import NewerSchema, NoMailRole, migrate, open_database

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
        node, taken = joining.join(database, settings)
        first = operator.prepare(database, settings.hostname)
    except Refused as error:
        raise CannotStart(error.detail) from None
    finally:
        database.close()
    return Prepared(operator.DEMO_ORGANIZATION, first.demo_domain, first.api_key, first.console_link, role, node, taken)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="postroom.parts")
    parser.add_argument("part", choices=["api", "worker", "milter", "prepare"])
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--listener", type=int)
    parser.add_argument("--report", type=int)
    parser.add_argument("--instance", default="")
    parser.add_argument("--name", default="")
    options = parser.parse_args(arguments)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        sys.exit("The supervisor is gone.")
    # Everything comes from the environment; there is no settings file in the run directory.
    settings = settings_of.load(folder=Path(os.environ["POSTROOM_DATA"], "run"))
    logs.configure(settings.log_level)
    match options.part:
        case "api":
            run_api(settings, socket.socket(fileno=options.listener), options.instance, options.name)
        case "worker":
            run_worker(settings)
        case "milter":
            run_milter(settings)
        case "prepare":
            with os.fdopen(options.report, "wb") as report:
                report.write(msgspec.json.encode(_prepare_or_exit(settings)))


def _prepare_or_exit(settings: Settings) -> Prepared:
    try:
        return prepare(settings)
    except CannotStart as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
