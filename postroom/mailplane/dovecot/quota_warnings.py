"""Quota warnings, read from Dovecot's log: accounts whose mailbox has crossed a threshold of its
quota.

A warning says only that the mail of an account must be counted. So a warning that is read twice
does no harm, and a starting worker reads the log and the previous log again.
"""

import re
from pathlib import Path

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# Text from a client never begins a line of this log.
LINE = re.compile(
    rb"[-0-9]{10} [0-9:.]{15} quota-warning: Error: quota ([1-9][0-9]{0,17})@"
    rb"(?:[0-9]+\.(?:c[0-9]+\.)?(?:(?:imap|pop3|sieve)\.)?)?" + re.escape(INTERNAL_DOMAIN).encode() + rb"\n"
)


class QuotaWarnings:
    """Reads Dovecot's log, each time from the end of the last reading."""

    def __init__(self, path: Path) -> None:
        self._reader = Reader(path)

    def __call__(self) -> set[int]:
        """Returns the accounts (by id) with a warning since the last call."""
        return {id_ for line in self._reader if (id_ := warned(line))}


def warned(line: bytes) -> int | None:
    """Returns the id of the account of a quota warning; None for any other line."""
    told = LINE.fullmatch(line)
    return int(told[1]) if told else None
