"""Outages of PostgreSQL: ends Postfix's proxymap once it has lost the database, so that the next
one connects anew.

Proxymap leaves a server that has failed once alone for a minute, and cannot be told
otherwise. (On SQLite it ends by itself.) Meanwhile each look-up is a 451 (decision 0089).
"""

import asyncio
import os
import re
import signal
from pathlib import Path

from postroom.supervision import stale_processes
from postroom.supervision.supervisor import log_name, pid_file

PAUSE = 0.2
COMMAND = b"proxymap"
# Only proxymap itself logs this, and no client can make it do so.
LOST = re.compile(rb" postfix/proxymap\[\d+\]: warning: (connect to pgsql|pgsql query failed)")


async def watch(data: Path) -> None:
    """Follows Postfix's log until it is cancelled."""
    log = _Log(data / "log" / log_name("postfix"))
    while True:
        await asyncio.sleep(PAUSE)
        if LOST.search(log.news()):
            end(data)


def end(data: Path) -> None:
    """Ends each proxymap; the next request starts a new one."""
    session = stale_processes.read_pid(pid_file(data, "postfix"))
    for pid in stale_processes.find(data, {session} if session else set()):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == COMMAND:
                os.kill(pid, signal.SIGTERM)
        except (FileNotFoundError, ProcessLookupError):
            continue


class _Log:
    """What a log says from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._size()

    def news(self) -> bytes:
        size = self._size()
        if size < self._read:  # it was rotated
            self._read = 0
        if size == self._read:
            return b""
        with self._path.open("rb") as log:
            log.seek(self._read)
            news = log.read(size - self._read)
        end = news.rfind(b"\n") + 1  # a line that is being written waits for its end
        self._read += end
        return news[:end]

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0
