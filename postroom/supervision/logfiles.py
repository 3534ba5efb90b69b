"""The log files of the parts.

A part holds its log open for as long as it lives, so a full log is copied and then
emptied in place. That is right only because every log is opened for appending.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog

LARGEST = 32 * 1024 * 1024
KEPT = 3
MODE = 0o640

log = structlog.get_logger()


def open_log(path: Path, owner: tuple[int, int] | None) -> int:
    """A descriptor that appends to the log, which belongs to `owner` (user and group)."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, MODE)
    if owner:
        os.fchown(descriptor, *owner)
    return descriptor


def rotate(folder: Path, owner: tuple[int, int] | None, largest: int = LARGEST) -> None:
    """Empties each log that has grown too large into `<name>.1`, which becomes `<name>.2`, and
    so on."""
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
    """The last line that says something, for an operator who has not opened the log yet."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 8192))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Reader:
    """The whole lines of a log, each time those since the last time: at first all of it and of
    the one before it, or with `from_end` none."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._former = path.with_name(f"{path.name}.1")
        self._place = 0
        self._began = False
        if from_end and path.exists():
            self._began, self._place = True, path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        try:
            if not self._began or self._path.stat().st_size < self._place:  # a full log is copied and begun anew
                yield from self._read(self._former)
                self._began, self._place = True, 0
            yield from self._read(self._path)
        except FileNotFoundError:
            pass  # the part has not run yet
        except OSError as error:
            log.warning("a log cannot be read", reason=str(error), path=str(self._path))

    def _read(self, path: Path) -> Iterator[bytes]:
        """Reads from our place to the last whole line, which is our place then."""
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._place += len(line)
                yield line
