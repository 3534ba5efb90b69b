"""Temporary files, and a file as bytes in memory, without a copy of it."""

import contextlib
import mmap
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def closing(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Closes a temporary file. If the disk is full, what is still in its buffer fails once more:
    that is told once, where it was written."""
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):
            file.close()


def map_file(file: IO[bytes]) -> mmap.mmap:
    """Maps all that was written to the file, read-only. Without the flush, what is still in the
    buffer of `file` would be missing. Raises ValueError for an empty file."""
    file.flush()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
