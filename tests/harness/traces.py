"""What a running instance leaves where others may look: its files, and how its processes were
started. Dovecot's and Postfix's files and processes come and go; what has gone is left out."""

from collections.abc import Iterator
from pathlib import Path

from tests.harness.service import Service


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Returns every file below a folder with its content."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            try:
                yield path, path.read_bytes()
            except FileNotFoundError:
                continue


def processes(service: Service) -> Iterator[tuple[Path, bytes]]:
    """Returns the arguments and the environment of every process of an instance."""
    for pid in service.processes():
        for name in ("cmdline", "environ"):
            path = Path(f"/proc/{pid}/{name}")
            try:
                yield path, path.read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
