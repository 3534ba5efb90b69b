"""The number of messages in Postfix's queues: the supervisor counts them, the API reads the
numbers.

Only root can read the queues. The system user can write to the folder of the result, so root writes
the result without following a link that the system user may have put there.
"""

import json
import os
import time
from pathlib import Path

QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")
# Largest number that is reported for a queue. Counting stops there, because it blocks the
# supervisor's only thread.
MOST = 100_000
FRESH_SECONDS = 60.0


def count(spool: Path) -> dict[str, int]:
    """Returns the number of messages in each queue, at most MOST."""
    return {name: _files(spool / name, MOST) for name in QUEUES}


def write(data: Path) -> None:
    """Counts the messages and writes the numbers to a file for `read`."""
    path = _path(data)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(count(data / "spool"), file)
    new.replace(path)


def read(data: Path) -> dict[str, int] | None:
    """Returns the numbers of the last count. Returns None if there was none in the last
    FRESH_SECONDS."""
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
    """Returns the number of files below a folder, including its subfolders: `deferred` sorts its
    files into folders by the first letter of their ids."""
    found = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if found >= most:
                    break
                found += _files(Path(entry.path), most - found) if entry.is_dir(follow_symlinks=False) else 1
    except FileNotFoundError:  # not there yet, or removed meanwhile
        pass
    return found
