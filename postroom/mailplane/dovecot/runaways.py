"""Stops Sieve scripts that have exceeded their limit of time or memory, so that the mail that they
have delayed arrives without them.

If a script exceeds its time, Dovecot 2.3 aborts the delivery by a failed assertion (Pigeonhole
0.5.19 of Debian 12), and Postfix would try again for days (decision 0150). The same happens if a
script needs more memory than a process may have; a delivery without a script needs little. Dovecot
2.4 delivers the mail after a timeout, and would run the script again after an hour. Reading starts
at the end of the log: a missed script appears again with its next attempt.
"""

import re
from pathlib import Path

from postroom.log import log
from postroom.mailplane.dovecot.maildir import home_of
from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN
from postroom.supervision.logfiles import Reader

# A log line: the time, the process with the account that it delivers to, and Pigeonhole's message.
# Text from a client never begins a line of this log.
LINE = re.compile(
    rb"[-0-9]{10} [0-9:.]{15} lmtp\(([1-9][0-9]{0,17})@(?:[0-9]+\.(?:c[0-9]+\.)?)?"
    + re.escape(INTERNAL_DOMAIN).encode()
    + rb"\)<[0-9]+><[^>]*>: (?:Panic: file sieve-binary\.c: "
    + rb"|(?:Panic: data stack|Fatal: [a-z_]+\([0-9]+\)): Out of memory"
    + rb"|Warning: sieve: binary [^ ]+: Personal sieve processing disabled for script ).*\n"
)
# The link to the active script. Its name contains a number after a reset that disabled scripts.
ACTIVE = ".dovecot*.sieve"


class Runaways:
    """Stops the scripts that Dovecot's log reports. `mail` is the folder of all mailboxes."""

    def __init__(self, path: Path, mail: Path) -> None:
        self._reader = Reader(path, from_end=True)
        self._mail = mail

    def __call__(self) -> list[int]:
        """Stops the newly reported scripts and returns the ids of their accounts. A stopped script
        is kept but no longer active (RFC 5804 2.8)."""
        told = {id_ for line in self._reader if (id_ := runaway(line))}
        return [id_ for id_ in sorted(told) if self._stop(id_)]

    def _stop(self, id_: int) -> bool:
        home = home_of(self._mail, id_)
        links = [path for path in home.glob(ACTIVE) if path.is_symlink()]  # ManageSieve activates by a link
        if not links:
            return False
        for link in links:
            link.unlink(missing_ok=True)
        log.warning("a Sieve script takes too much time or memory and was stopped", account_id=id_)
        return True


def runaway(line: bytes) -> int | None:
    """Returns the id of the account whose script a log line reports, or None."""
    told = LINE.fullmatch(line)
    return int(told[1]) if told else None
