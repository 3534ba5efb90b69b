"""Prepares the database, in a process that ends."""

import argparse
import os
import sys
from functools import partial

import msgspec

from postroom.cluster import digest_keys
from postroom.cluster import join as node_join
from postroom.db import NewerSchema, NoMailRole, migrate, open_database
from postroom.errors import Busy, Refused
from postroom.instance import digest_key
from postroom.instance.data_directory import CannotStart
from postroom.log import log
from postroom.service import bootstrap
from postroom.service.processes import MAIL_ROLE, Prepared, unshown_key
from postroom.settings import Settings


def prepare(settings: Settings, *, shows_key: bool, has_dovecot: bool = False) -> Prepared:
    """Brings the database up to date and, at the first start, makes the initial data. Raises
    CannotStart. `shows_key`: the caller will show the first API key (bootstrap.prepare).
    `has_dovecot`: this host runs Dovecot, or the whole service without mail."""
    role = None
    try:
        migrate(settings.database)
        if settings.mail == "on" and not settings.is_sqlite:
            from postroom.db import mail_role  # loads the driver

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


def main(settings: Settings, options: argparse.Namespace, files: list[int]) -> None:
    """Prepares the database, and writes what was prepared to the file. Exits with 1 and a line on
    standard error if the database cannot be used."""
    try:
        prepared = prepare(settings, shows_key=options.shows_key, has_dovecot=options.has_dovecot)
    except CannotStart as error:
        sys.exit(str(error))
    with os.fdopen(files[0], "wb") as report:
        report.write(msgspec.json.encode(prepared))
