"""Logins, read from Dovecot's log: IMAP, POP3, ManageSieve, and submission, which Dovecot
authenticates for Postfix.

Log lines can contain text from a client, so only the JSON lines count that Dovecot's statistics
write after an authentication (decision 0099). The position in the log is not stored: a starting
worker reads the log and the previous log again, and a login that is read twice does no harm. So no
login is lost while no worker runs.
"""

import re
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
LOGIN = re.compile(rf"([1-9][0-9]{{0,17}})@[0-9]+\.(?:c([1-9][0-9]{{0,17}})\.)?{re.escape(INTERNAL_DOMAIN)}")


class _Fields(msgspec.Struct):
    success: str
    user: str
    # The same word, in Dovecot 2.3 and 2.4.
    service: str = ""
    protocol: str = ""


class _Authentication(msgspec.Struct):
    """An authentication event, the only event that dovecot.conf exports."""

    end_time: float
    fields: _Fields


_decode = msgspec.json.Decoder(_Authentication).decode


class Login(NamedTuple):
    """A login: the account, the app password (None: the main password), the time in milliseconds
    since 1970 UTC, and Dovecot's name of the service."""

    account_id: int
    credential_id: int | None
    at: int
    service: str


class LoginLog:
    """Reads Dovecot's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> list[Login]:
        """Returns the last login with each password of each account since the last call."""
        found: dict[tuple[int, int | None], Login] = {}
        for line in self._reader:
            if told := login(line):
                before = found.setdefault(told[:2], told)
                found[told[:2]] = max(told, before, key=lambda one: one.at)
        return list(found.values())


def login(line: bytes) -> Login | None:
    """Returns the login in a log line, or None if the line records no login."""
    told = LINE.fullmatch(line)
    if told is None:
        return None
    try:
        event = _decode(told[1])
    except msgspec.DecodeError:
        return None
    name = LOGIN.fullmatch(event.fields.user)
    service = event.fields.service or event.fields.protocol
    is_login = event.fields.success == "yes" and service in SERVICES
    if name is None or not is_login or not 0 < event.end_time < LATEST:
        return None
    return Login(int(name[1]), int(name[2]) if name[2] else None, int(event.end_time * 1000), service)
