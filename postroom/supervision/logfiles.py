"""The log files of the parts.

A part keeps its log open as long as it runs, so a full log is copied and then truncated in place.
This works only because every log is opened for appending.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from postroom.log import log

# Size in bytes at which a log is rotated, and number of older logs that are kept.
LARGEST = 32 * 1024 * 1024
KEPT = 3
MODE = 0o640


def open_log(path: Path, owner: tuple[int, int] | None) -> int:
    """Opens a log for appending and returns the descriptor. The file belongs to `owner` (ids of
    user and group)."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, MODE)
    if owner:
        os.fchown(descriptor, *owner)
    return descriptor


def rotate(folder: Path, owner: tuple[int, int] | None, largest: int = LARGEST) -> None:
    """Copies each log of more than `largest` bytes to `<name>.1` and empties it. `<name>.1` becomes
    `<name>.2`, and so on; KEPT copies are kept."""
    for path in folder.glob("*.log"):
        if path.is_symlink() or path.stat().st_size <= largest:
            continue
        for number in range(KEPT - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        copy = path.with_name(f"{path.name}.1")
        with path.open("rb") as full, os.fdopen(open_log(copy, owner), "wb") as kept:
            shutil.copyfileobj(full, kept)
        os.truncate(path, 0)


def last_line(path: Path) -> str:
    """Returns the last line of a log that is not blank, or an empty text."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Reader:
    """Yields the complete lines that were added to a log since the last iteration. The first
    iteration yields all lines of the previous log and of this one; with `from_end` it yields only
    lines added since the construction."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._former = path.with_name(f"{path.name}.1")
        self._place = 0
        self._began = False
        if from_end and path.exists():
            self._began, self._place = True, path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        try:
            if not self._began or self._path.stat().st_size < self._place:  # the log was rotated
                yield from self._read(self._former)
                self._began, self._place = True, 0
            yield from self._read(self._path)
        except FileNotFoundError:
            pass  # the part has not run yet
        except OSError as error:
            log.warning("a log cannot be read", reason=str(error), path=str(self._path))

    def _read(self, path: Path) -> Iterator[bytes]:
        """Yields the lines from the current position to the last complete line, and moves the
        position there."""
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._place += len(line)
                yield line
