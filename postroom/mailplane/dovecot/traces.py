"""Deliveries to mailboxes, as Dovecot's LMTP tells of them: a line in its log for each message that
it stored, and a Received field on top of the message.

The line is only a hint that a mailbox must be looked at, so reading a line twice, or never, does no
harm. It is there anyway, so it costs a delivery nothing (decision 0310). The field decides what was
delivered: a client that stores or imports a message adds none.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# Text of a stranger never begins a line of this log. The Message-ID in it may have any characters.
LINE = re.compile(
    rb"[-0-9]{10} [0-9:.]{15} lmtp\(([1-9][0-9]{0,17})@(?:inbox\.)?" + re.escape(INTERNAL_DOMAIN).encode() + rb"\)"
    rb"<[0-9]+><[^ >]+>: Info: .*(?:stored mail into mailbox|saved mail to ).*\n",
    re.DOTALL,
)
# The Received field of LMTP, unfolded.
FIELD = re.compile(
    r"from ([^ ]+) by ([^ ]+) with LMTP id ([0-9A-Za-z+/]{16,32}(?::[0-9A-Za-z]{1,12}){0,4})"
    r"(?: for [^ ;]+)? ?(?:\(envelope-from <.*>\))?; "
    r"([A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [-+][0-9]{4})"
)
LATEST = 253_402_300_800  # the end of the year 9999, in seconds


class Trace(NamedTuple):
    """A delivery: the host that made it, its id, which no other delivery has, and its time in
    milliseconds since 1970 UTC, whole seconds."""

    host: str
    id: str
    at: int


class Deliveries:
    """Reads Dovecot's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> set[int]:
        """Returns the accounts (by id) that have got mail since the last call."""
        return {id_ for line in self._reader if (id_ := delivered(line))}


def delivered(line: bytes) -> int | None:
    """Returns the id of the account that has got a message; None for any other line."""
    told = LINE.fullmatch(line)
    return int(told[1]) if told else None


def trace(received: str) -> Trace | None:
    """Returns the delivery in the topmost Received field of a message; None if LMTP has not written
    it. `received` may have further fields below, each on a line of its own."""
    first = re.split(r"\r?\n(?![ \t])", received, maxsplit=1)[0]
    told = FIELD.fullmatch(" ".join(first.split()))
    if told is None or told[1] != told[2]:
        return None
    try:
        at = int(parsedate_to_datetime(told[4]).astimezone(UTC).timestamp())
    except (ValueError, OverflowError):
        return None
    return Trace(told[2], told[3], at * 1000) if 0 < at < LATEST else None
