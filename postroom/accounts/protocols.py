"""The protocols with which people log in, by Dovecot's names; `smtp` is submission."""

from functools import cache
from typing import Literal

import msgspec

Protocol = Literal["imap", "pop3", "smtp", "sieve"]
PROTOCOLS: tuple[Protocol, ...] = ("imap", "pop3", "smtp", "sieve")


class Protocols(msgspec.Struct, frozen=True):
    """Which protocols an account can be used with, by any of its passwords."""

    imap: bool = True
    pop3: bool = True
    smtp: bool = True
    sieve: bool = True


def closed(off: str) -> frozenset[str]:
    """Returns the protocols in the column `protocols_off`, which separates them by commas."""
    return frozenset(off.split(",")) - {""}


@cache  # of 16 texts
def of_column(off: str) -> Protocols:
    """Returns the switches of an account from its column `protocols_off`."""
    names = closed(off)
    return Protocols(*(name not in names for name in PROTOCOLS))
