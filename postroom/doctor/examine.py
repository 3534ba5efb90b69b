"""Everything that `postroom doctor` checks, in order. It changes nothing.

It works whether or not the service runs, with root and without. A check that is not possible then
is `skipped`, with the reason.
"""

import asyncio
import os
import platform
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from postroom.accounts import login_attacks, login_bans, setup_links
from postroom.accounts import queries as accounts
from postroom.cluster import digest_keys, nodes
from postroom.db import NewerSchema, NoMailRole, Tx, check_known, mail_role, open_database, snapshots
from postroom.doctor import files, network, outbound
from postroom.doctor.diagnosis import Diagnosis
from postroom.errors import BadBackup, Busy
from postroom.instance import data_directory, digest_key, system_user
from postroom.instance.system_user import Identity
from postroom.mailboxes import session_revocations
from postroom.mailplane import daemons
from postroom.service import health_checks, serve
from postroom.service.processes import MAIL_ROLE
from postroom.settings import Settings

T = TypeVar("T")

LONG_QUEUE = 1000
OLD_SECONDS = 4 * 3600
LATE_MS = 60_000
SECONDS = 30


class _Queued(msgspec.Struct):
    arrival_time: int


def examine(settings: Settings) -> list[Diagnosis]:
    """All diagnoses."""
    with_postfix = settings.mail == "on" and os.geteuid() == 0
    found = list(_versions(settings, with_postfix))
    running = data_directory.is_locked(settings.data)
    found += _parts(settings) if running else network.free_ports(settings, with_postfix)
    me = system_user.find()
    found += files.settings_file(settings, me)
    if me and settings.data.is_dir():
        found += files.disk(settings)
        found += files.clock(settings)
        found += _private(settings, me, running)
    else:
        found.append(
            Diagnosis("skipped", "data", f"{settings.data} does not exist: Postroom was never started.", "./start")
        )
    if settings.mail == "on":
        found += files.certificate(settings)
        found += _queue(settings) if running else ()
        found += asyncio.run(_outside(settings))
    return found


def _private(settings: Settings, me: Identity, running: bool) -> Iterator[Diagnosis]:
    """The checks that only root and the owner of the data can make."""
    if os.geteuid() not in (0, (settings.data / "db").stat().st_uid):
        for subject in ("permissions", "database"):
            yield Diagnosis(
                "skipped",
                subject,
                f"{settings.data} belongs to another user: run this as root.",
                "sudo postroom doctor",
            )
        return
    yield from files.permissions(settings, me)
    with me.acting():
        yield from list(_database(settings, running))


async def _outside(settings: Settings) -> list[Diagnosis]:
    looked: tuple[AsyncIterator[Diagnosis], ...] = (
        network.spam_filter(settings),
        network.host(settings),
        network.port_25(settings),
        outbound.relay_host(settings),
        outbound.tls(settings),
    )
    return [diagnosis for diagnoses in looked async for diagnosis in diagnoses]


def _versions(settings: Settings, with_postfix: bool) -> Iterator[Diagnosis]:
    found = [f"Python {platform.python_version()}", f"SQLite {snapshots.VERSION}"]
    missing = daemons.missing(settings, with_postfix) if settings.mail == "on" else []
    if missing:
        yield Diagnosis("error", "versions", f"Missing: {' '.join(missing)}.", f"apt-get install {' '.join(missing)}")
    elif settings.mail == "on":
        found.append(f"Dovecot {_said(daemons.DOVECOT, '--version').partition(' ')[0]}")
        found.append(f"Postfix {_said(daemons.POSTCONF, '-d', '-h', 'mail_version') or 'not there'}")
    yield Diagnosis("ok", "versions", ", ".join(found) + ".")


def _parts(settings: Settings) -> Iterator[Diagnosis]:
    for part, state, reason in serve.status(settings):
        log = f"tail {settings.data}/log/{part}.log"
        match state:
            case "stopped":
                yield Diagnosis("error", "parts", f"{part}: {reason}", log)
            case "off":
                yield Diagnosis("skipped", "parts", f"{part}: {reason}")
            case _:
                yield Diagnosis("ok", "parts", f"{part} answers.")


def _database(settings: Settings, running: bool) -> Iterator[Diagnosis]:
    """Whether the database is intact and of this version, and whether work waits in it that the
    worker should have done."""
    try:
        if settings.database.startswith("sqlite:///"):
            path = Path(settings.database.removeprefix("sqlite:///"))
            if not path.exists():
                yield Diagnosis("skipped", "database", f"{path} does not exist yet.", "./start")
                return
            check_known(snapshots.quick_check(path))
        yield Diagnosis("ok", "database", "It is intact, and this version knows its schema.")
        if settings.mail == "on" and not settings.is_sqlite:
            yield _mail_role(settings)
        if running:
            yield from _late_work(settings)
            yield from _weak_hashes(settings)
            yield from _logins(settings)
            yield from _digest_key(settings)
            yield from _setup_links(settings)
        if settings.node:
            yield from _nodes(settings)
    except BadBackup as error:
        yield Diagnosis("error", "database", str(error), "postroom restore FILE --force")
    except NewerSchema as error:
        yield Diagnosis("error", "database", str(error), "git pull")
    except Busy as error:
        yield Diagnosis("error", "database", error.detail, f"tail {settings.data}/log/api.log")


def _mail_role(settings: Settings) -> Diagnosis:
    try:
        found = mail_role.fault(settings.database, settings.mail_database_url, settings.data / "db" / MAIL_ROLE)
    except NoMailRole as error:
        return Diagnosis("error", "mail role", str(error))
    if found:
        return Diagnosis("error", "mail role", *found)
    return Diagnosis("ok", "mail role", "The daemons' role can read the mail views, and nothing else.")


def _late_work(settings: Settings) -> Iterator[Diagnosis]:
    due = _ask(settings, session_revocations.oldest_due)
    late = time.time_ns() // 1_000_000 - due if due else 0
    if late > LATE_MS:
        text = f"The worker is {late // 1000} s late in ending sessions."
        yield Diagnosis("error", "worker", text, f"tail {settings.data}/log/worker.log")
    else:
        yield Diagnosis("ok", "worker", "The worker is not late.")


def _weak_hashes(settings: Settings) -> Iterator[Diagnosis]:
    if number := _ask(settings, accounts.count_weak):
        text = f"{number} accounts log in with an imported MD5-CRYPT hash, which is weak: ask for new passwords."
        yield Diagnosis("ok", "passwords", text, "postroom api accounts list --password-scheme imported")


def _logins(settings: Settings) -> Iterator[Diagnosis]:
    """Who may not log in because of wrong passwords, which the worker counts."""
    if asyncio.run(health_checks.worker(settings)):
        text = "The worker is away: logins go on, but nobody counts wrong passwords."
        yield Diagnosis("warning", "logins", text, f"tail {settings.data}/log/worker.log")
        return
    bans, attacks = _ask(settings, lambda tx: (login_bans.tally(tx), login_attacks.tally(tx)))
    text = f"{bans} networks are banned because of wrong passwords, and {attacks} accounts are under attack."
    yield Diagnosis("ok", "logins", text, "postroom bans list" if bans or attacks else "")


def _digest_key(settings: Settings) -> Iterator[Diagnosis]:
    try:
        own = digest_key.fingerprint(digest_key.read(settings.data))
    except FileNotFoundError:
        return
    except (PermissionError, ValueError) as error:
        yield Diagnosis("error", "app passwords", str(error))
        return
    if _ask(settings, digest_keys.known) not in (None, own):
        path = digest_key.path(settings.data)
        text = (
            f"These and the secrets of webhooks were made with another key than {path}: "
            "restore it, or copy it from a host that runs Dovecot."
        )
        yield Diagnosis("error", "app passwords", text)


def _setup_links(settings: Settings) -> Iterator[Diagnosis]:
    """Links that work now, but begin with an address that their owners may not reach (decision
    0259)."""
    if not settings.public_url and _ask(settings, setup_links.are_waiting):
        text = f"They begin with {settings.public_base}: set POSTROOM_PUBLIC_URL to what people can reach."
        yield Diagnosis("warning", "setup links", text)


def _nodes(settings: Settings) -> Iterator[Diagnosis]:
    now = time.time_ns() // 1_000_000
    for node in _ask(settings, nodes.everything):
        silence = node.silence(now)
        if silence is None:
            yield Diagnosis("warning", "nodes", f"{node.name} was never started.", f"postroom nodes remove {node.name}")
        elif node.is_away(now):
            text = f"{node.name} has not been seen for {silence // 1000} s: its mailboxes are away."
            yield Diagnosis("error", "nodes", text, "postroom nodes list")
        else:
            yield Diagnosis("ok", "nodes", f"{node.name} runs and has {node.accounts} accounts.")


def _ask(settings: Settings, work: Callable[[Tx], T]) -> T:
    database = open_database(settings.database)
    try:
        return asyncio.run(database.read_slow(work))
    finally:
        database.close()


def _queue(settings: Settings) -> Iterator[Diagnosis]:
    folder = settings.data / "postfix"
    if os.geteuid() != 0 or not folder.exists():
        yield Diagnosis("skipped", "queue", "Postfix needs root, and so does reading its queue.")
        return
    command = f"postqueue -c {folder}"
    lines = _said("/usr/sbin/postqueue", "-c", str(folder), "-j").splitlines()
    waiting = [msgspec.json.decode(line, type=_Queued) for line in lines if line.startswith("{")]
    oldest = max((time.time() - message.arrival_time for message in waiting), default=0)
    if len(waiting) >= LONG_QUEUE or oldest > OLD_SECONDS:
        text = f"{len(waiting)} messages wait, the oldest for {oldest / 3600:.1f} h."
        yield Diagnosis("warning", "queue", text, f"{command} -p")
    else:
        yield Diagnosis("ok", "queue", f"{len(waiting)} messages wait.")


def _said(*command: str) -> str:
    """The output of a program, or an empty string if it fails."""
    try:
        done = subprocess.run(
            command, env=daemons.ENVIRONMENT, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
