"""What streams of changes cost: one look at the files of 1,000 accounts with seven mailboxes each,
and the time from an APPEND to its event.

python -m bench.changes        (as root)
"""

import statistics
import tempfile
import time
from pathlib import Path

from postroom.mailplane.dovecot.maildir import home_of
from postroom.messages.mailbox_watch import INDEX_LOG, signature
from tests.harness.service import Service
from tests.mail.following import following, is_of
from tests.mail.platform import Platform
from tests.mail.reading import append

ACCOUNTS = 1000
MAILBOXES = ("", ".Sent", ".Archive", ".Drafts", ".Junk", ".Trash", ".Work")
LOOKS = 20
CHANGES = 20


def look() -> None:
    with tempfile.TemporaryDirectory() as folder:
        mail = Path(folder)
        for account_id in range(ACCOUNTS):
            for name in MAILBOXES:
                made = home_of(mail, account_id) / "Maildir" / name
                made.mkdir(parents=True)
                (made / INDEX_LOG).write_bytes(b"x")
        times = []
        for _ in range(LOOKS):
            began = time.perf_counter()
            for account_id in range(ACCOUNTS):
                signature(mail, account_id)
            times.append((time.perf_counter() - began) * 1000)
    print(f"a look at {ACCOUNTS} accounts: {statistics.median(times):.0f} ms")


def tell() -> None:
    with Service.new() as service:
        box = Platform.new(service.start()).create()
        times = []
        with following(box) as stream:
            stream.wait_for(is_of("INBOX", "state"))
            for _ in range(CHANGES):
                stream.events.clear()
                append(box, b"Subject: x\r\n\r\nx\r\n")
                began = time.perf_counter()
                stream.wait_for(is_of("INBOX", "added"))
                times.append((time.perf_counter() - began) * 1000)
    print(f"from an APPEND to its event: {statistics.median(times):.0f} ms")


if __name__ == "__main__":
    look()
    tell()
