"""A file as bytes in memory, without a copy of it."""

import mmap
from typing import IO


def map_file(file: IO[bytes]) -> mmap.mmap:
    """Maps all that was written to the file, read-only. Without the flush, what is still in the
    buffer of `file` would be missing. Raises ValueError for an empty file."""
    file.flush()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
