"""The process `milter`: one unix socket for each listener, which only Postfix can reach.

A new listener is a class with a `name`, an entry in `LISTENERS`, and an entry in master.cf.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from postroom.db import Database
from postroom.mailplane.render import judge_path
from postroom.milter.inbound import Inbound
from postroom.milter.outgoing import Outgoing
from postroom.milter.protocol import EarlyListener, EarlySession, Listener, Session, Want
from postroom.milter.sieve import Forwards, Replies
from postroom.milter.submission import Submission
from postroom.settings import Settings

BACKLOG = 1024

# The listener for each kind of SMTP session, made from the database and the settings.
LISTENERS: tuple[Callable[[Database, Settings], Listener | EarlyListener], ...] = (
    Submission,
    Outgoing,
    Inbound,
    Replies,
    Forwards,
)


async def run(database: Database, settings: Settings) -> None:
    """Serves Postfix on a socket for each listener, until SIGTERM or SIGINT."""
    folder = judge_path(settings).parent
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    servers = [await _serve(listener, folder) for listener in (make(database, settings) for make in LISTENERS)]
    await stop.wait()
    _close(servers)


async def _serve(listener: Listener, folder: Path) -> asyncio.Server:
    path = folder / listener.name
    path.unlink(missing_ok=True)
    server = await asyncio.get_running_loop().create_unix_server(lambda: _session(listener), path, backlog=BACKLOG)
    # Only Postfix and the system user can enter the folder.
    os.chmod(path, 0o666)  # noqa: PTH101, S103
    return server


def _session(listener: Listener) -> Session:
    return EarlySession(cast(EarlyListener, listener)) if Want.SENDER in listener.wants else Session(listener)


def _close(servers: Iterable[asyncio.Server]) -> None:
    for server in servers:
        server.close()
