"""Who has logged in, read from Dovecot's log: by IMAP, POP3 and ManageSieve, and by submission,
which Dovecot authenticates for Postfix.

A log line holds what a client has sent, so only the lines count that Dovecot's statistics write
of a finished authentication, as JSON (decision 0099). The position in the log is not stored: a
worker that starts reads the log and the previous log again, and a login that is read twice does no
harm. So no login is lost while no worker runs.
"""

import re
from pathlib import Path

import msgspec

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# As Dovecot calls them; submission is smtp.
SERVICES = ("imap", "pop3", "sieve", "smtp")
LINE = re.compile(rb"[-0-9]{10} [0-9:.]{15} stats: Info: (\{.*\})\n")
# Seconds of the year 9999: what follows is no time.
LATEST = 253_402_300_800
LOGIN = re.compile(rf"([1-9][0-9]{{0,17}})@[0-9]+\.{re.escape(INTERNAL_DOMAIN)}")


class _Fields(msgspec.Struct):
    success: str
    user: str
    # The same word, in Dovecot 2.3 and 2.4.
    service: str = ""
    protocol: str = ""


class _Authentication(msgspec.Struct):
    """What dovecot.conf has exported of one; there is no other event that it exports."""

    end_time: float
    fields: _Fields


_decode = msgspec.json.Decoder(_Authentication).decode


class LoginLog:
    """Dovecot's log, read on from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> dict[int, int]:
        """When accounts (by id) have last logged in since the last call, in milliseconds since
        1970."""
        found: dict[int, int] = {}
        for line in self._reader:
            if told := login(line):
                id_, at = told
                found[id_] = max(at, found.get(id_, 0))
        return found


def login(line: bytes) -> tuple[int, int] | None:
    """The account that a line tells of, and when it has logged in."""
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
