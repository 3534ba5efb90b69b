"""How many messages wait in Postfix's queues: counted by the supervisor, read by the API.

The queues are closed to the system user, so only root counts. He may write where the
numbers are left, so they are put there without following a link of his.
"""

import json
import os
import time
from pathlib import Path

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
# Counting is in the supervisor's one thread: a queue that is longer than this is told as so long.
MOST = 100_000
FRESH_SECONDS = 60.0


def count(spool: Path) -> dict[str, int]:
    """The messages in each queue."""
    return {name: _files(spool / name, MOST) for name in QUEUES}


def write(data: Path) -> None:
    """Counts, and leaves the numbers for `read`."""
    path = _path(data)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(count(data / "spool"), file)
    new.replace(path)


def read(data: Path) -> dict[str, int] | None:
    """The numbers of the last count; None where there is none, or an old one."""
    path = _path(data)
    try:
        if time.time() - path.stat().st_mtime > FRESH_SECONDS:
            return None
        found = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return {name: int(found[name]) for name in QUEUES}


def _path(data: Path) -> Path:
    return data / "run" / "mail_queue.json"


def _files(folder: Path, most: int) -> int:
    """The files below a folder: `deferred` has its own in folders by the first letter of their
    ids."""
    found = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if found >= most:
                    break
                found += _files(Path(entry.path), most - found) if entry.is_dir(follow_symlinks=False) else 1
    except FileNotFoundError:  # not there yet, or gone while we looked
        pass
    return found
