"""Logins and wrong passwords, read from Dovecot's log: IMAP, POP3, ManageSieve, and submission,
which Dovecot authenticates for Postfix.

Log lines can contain text from a client, so only the JSON lines count that Dovecot's statistics
write after an authentication (decision 0099). The position in the log is not stored: a starting
worker reads the log and the previous log again, and a login that is read twice does no harm. So no
login is lost while no worker runs.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# Dovecot's names of the services; `smtp` is submission.
SERVICES = ("imap", "pop3", "sieve", "smtp")
LINE = re.compile(rb"[-0-9]{10} [0-9:.]{15} stats: Info: (\{.*\})\n")
# End of the year 9999, in seconds since 1970 UTC. Larger values are not times.
LATEST = 253_402_300_800
LOGIN = re.compile(
    rf"([1-9][0-9]{{0,17}})@[0-9]+\.(?:c([1-9][0-9]{{0,17}})\.)?(?:(?:imap|pop3|sieve|me)\.)?"
    rf"{re.escape(INTERNAL_DOMAIN)}"
)


class _Fields(msgspec.Struct):
    # Only for a success.
    success: str = ""
    # The login name of the account if its password was compared, else what the client sent.
    user: str = ""
    original_user: str = ""
    # The client's address.
    remote_ip: str = ""
    # The same word, in Dovecot 2.3 and 2.4.
    service: str = ""
    protocol: str = ""


class _Authentication(msgspec.Struct):
    """An authentication event, the only event that dovecot.conf exports."""

    end_time: float
    fields: _Fields


_decode = msgspec.json.Decoder(_Authentication).decode


class Login(NamedTuple):
    """A login: the account, the app password (None: the main password), the client's address, the
    time in milliseconds since 1970 UTC, and Dovecot's name of the service."""

    account_id: int
    credential_id: int | None
    address: str
    at: int
    service: str


class Failure(NamedTuple):
    """A failed attempt to log in: the account, or None if Dovecot compared no password, the name
    that the client sent, and the client's address."""

    account_id: int | None
    name: str
    address: str


class LoginLog:
    """Reads Dovecot's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> list[Login]:
        """Returns the last login with each password of each account from each address since the
        last call."""
        found: dict[tuple[int, int | None, str], Login] = {}
        for line in self._reader:
            if told := login(line):
                before = found.setdefault(told[:3], told)
                found[told[:3]] = max(told, before, key=lambda one: one.at)
        return list(found.values())


class FailureLog:
    """Reads Dovecot's log from its present end on. What was logged while no worker ran is not
    counted."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path, from_end=True)

    def __call__(self) -> Counter[Failure]:
        """Returns the failed attempts since the last call, each with its number."""
        return Counter(told for line in self._reader if (told := failure(line)))


def login(line: bytes) -> Login | None:
    """Returns the login in a log line, or None if the line records no login."""
    event = _event(line)
    if event is None or event.fields.success != "yes" or not 0 < event.end_time < LATEST:
        return None
    name, service = LOGIN.fullmatch(event.fields.user), _service(event.fields)
    if name is None or service not in SERVICES:
        return None
    credential_id = int(name[2]) if name[2] else None
    return Login(int(name[1]), credential_id, event.fields.remote_ip, int(event.end_time * 1000), service)


def failure(line: bytes) -> Failure | None:
    """Returns the failed attempt in a log line, or None if the line records none."""
    event = _event(line)
    if event is None or event.fields.success or not event.fields.original_user or not _service(event.fields):
        return None
    name = LOGIN.fullmatch(event.fields.user)
    # A client may send a login name itself.
    is_compared = name is not None and event.fields.user != event.fields.original_user.lower()
    return Failure(int(name[1]) if name and is_compared else None, event.fields.original_user, event.fields.remote_ip)


def _event(line: bytes) -> _Authentication | None:
    told = LINE.fullmatch(line)
    if told is None:
        return None
    try:
        return _decode(told[1])
    except msgspec.DecodeError:
        return None


def _service(fields: _Fields) -> str:
    return fields.service or fields.protocol
