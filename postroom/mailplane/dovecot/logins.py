"""Logins, read from Dovecot's log: IMAP, POP3, ManageSieve, and submission, which Dovecot
authenticates for Postfix.

Log lines can contain text from a client, so only the JSON lines count that Dovecot's statistics
write after an authentication (decision 0099). The position in the log is not stored: a starting
worker reads the log and the previous log again, and a login that is read twice does no harm. So no
login is lost while no worker runs.
"""

import re
from pathlib import Path

import msgspec

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# Dovecot's names of the services; `smtp` is submission.
SERVICES = ("imap", "pop3", "sieve", "smtp")
LINE = re.compile(rb"[-0-9]{10} [0-9:.]{15} stats: Info: (\{.*\})\n")
# End of the year 9999, in seconds since 1970 UTC. Larger values are not times.
LATEST = 253_402_300_800
LOGIN = re.compile(rf"([1-9][0-9]{{0,17}})@[0-9]+\.{re.escape(INTERNAL_DOMAIN)}")


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


class LoginLog:
    """Reads Dovecot's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> dict[int, int]:
        """Returns the last login of each account (by id) since the last call, in milliseconds since
        1970 UTC."""
        found: dict[int, int] = {}
        for line in self._reader:
            if told := login(line):
                id_, at = told
                found[id_] = max(at, found.get(id_, 0))
        return found


def login(line: bytes) -> tuple[int, int] | None:
    """Returns the account id in a log line and the time of the login in milliseconds since 1970
    UTC. Returns None if the line records no login."""
    told = LINE.fullmatch(line)
    if told is None:
        return None
    try:
        event = _decode(told[1])
    except msgspec.DecodeError:
        return None
    name = LOGIN.fullmatch(event.fields.user)
    is_login = event.fields.success == "yes" and (event.fields.service or event.fields.protocol) in SERVICES
    if name is None or not is_login or not 0 < event.end_time < LATEST:
        return None
    return int(name[1]), int(event.end_time * 1000)
