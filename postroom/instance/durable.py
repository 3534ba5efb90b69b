"""Files and folders that survive a crash of the machine (fsync(2))."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Writes a file, or the names in a folder, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
