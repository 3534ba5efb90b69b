"""Stale processes: processes of an earlier run that outlived their supervisor. They are found by
their pid files and ended before a new run checks the ports.

The number in a pid file may meanwhile belong to another process. A process is ours only if it is in
the session of that number, and its command line, environment, working directory or root names our
data directory or a path in it.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# Seconds from SIGTERM to SIGKILL, and between two looks at the processes.
TERM_SECONDS = 3.0
PAUSE = 0.02
# States of an ended process in /proc/PID/stat: zombie, dead.
ENDED = "ZX"


async def end(data: Path, pid_files: Iterable[Path]) -> int:
    """Ends the remaining processes of these parts and waits until they are gone: SIGTERM, and after
    TERM_SECONDS seconds SIGKILL. Returns the number of processes."""
    sessions = {session for path in pid_files if (session := read_pid(path))}
    ours = find(data, sessions)
    deadline = time.monotonic() + TERM_SECONDS
    while left := find(data, sessions):
        for pid in left:
            _signal(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        await asyncio.sleep(PAUSE)
    return len(ours)


def read_pid(path: Path) -> int | None:
    """Returns the process id in a pid file, or None."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def find(data: Path, sessions: set[int]) -> list[int]:
    """Returns the ids of the living processes in these sessions that are ours."""
    if not sessions:
        return []
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in processes if _session(pid) in sessions and _is_ours(pid, data)]


def _session(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, _, _, session = status.rpartition(")")[2].split()[:4]
    return None if state in ENDED else int(session)


def _is_ours(pid: int, data: Path) -> bool:
    folder, process = os.fsencode(data), Path(f"/proc/{pid}")
    for link in ("cwd", "root"):
        try:
            path = os.fsencode((process / link).readlink())
        except OSError:
            continue
        if path == folder or path.startswith(folder + b"/"):
            return True
    for strings in ("cmdline", "environ"):
        try:
            text = (process / strings).read_bytes()
        except OSError:
            continue
        if any(_within(part, folder) for part in text.split(b"\0")):
            return True
    return False


def _within(text: bytes, folder: bytes) -> bool:
    path = text.rpartition(b"=")[2]
    return path == folder or path.startswith(folder + b"/")


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
