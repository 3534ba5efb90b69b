"""The process of the API."""

import argparse
import gc
import signal
import socket
import sys
from typing import Any

import uvicorn

from postroom.api.app import create_app
from postroom.api.connection import configure
from postroom.api.request_metrics import ProcessSlot
from postroom.db import Database, open_database
from postroom.instance import digest_key
from postroom.mailboxes.dovecot import DovecotMailboxes
from postroom.mailboxes.session_terminator import SessionTerminator
from postroom.messages.dovecot_messages import DovecotMessages
from postroom.messages.outbox import PostfixOutbox
from postroom.service import health_checks
from postroom.service.metrics import Measures
from postroom.service.processes import api_names
from postroom.settings import Settings

# Seconds for open requests at the end of the API; less than the supervisor's grace.
DRAIN = 8
# A thread that reads or builds a message lets the event loop go on within this time.
SWITCH_SECONDS = 0.0005


def run_api(settings: Settings, listener: socket.socket, instance: str, name: str = "api") -> None:
    """Serves the API on the socket until SIGTERM or SIGINT. Open requests are still answered."""
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
        sys.setswitchinterval(SWITCH_SECONDS)
        # uvicorn raises the signal again after a clean end, which must not look like a failure.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        database.close()


def _mail(settings: Settings, database: Database, session_terminator: SessionTerminator) -> dict[str, Any]:
    """Returns what the API asks about mail; nothing for an instance without mail."""
    if settings.mail == "off":
        return {}
    return {
        "mailboxes": DovecotMailboxes(session_terminator),
        "messages": DovecotMessages(settings, database),
        "outbox": PostfixOutbox(settings.data, settings.node),
    }


def main(settings: Settings, options: argparse.Namespace, files: list[int]) -> None:
    run_api(settings, socket.socket(fileno=files[0]), options.instance, options.name)
