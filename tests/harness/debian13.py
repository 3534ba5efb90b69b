"""A Debian 13 beside this Debian 12: a service of the tests can be started in it, on this machine's
network and with a data directory of this machine."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.service import Service, wait_for

CHECKOUT = Path(__file__).parent.parent.parent
INSIDE = Path("/srv/postroom/.venv/bin/postroom")
# To make it takes minutes, where it was not made before.
MADE_SECONDS = 900.0


@dataclass(frozen=True)
class Debian13:
    """A process whose file system is a Debian 13."""

    pid: int

    @classmethod
    @contextmanager
    def start(cls) -> "Iterator[Debian13]":
        with tempfile.TemporaryDirectory(prefix="debian13-", dir="/tmp") as folder:
            told, output = Path(folder) / "pid", Path(folder) / "output"
            wait = 'echo $$ >"$1.new"; mv "$1.new" "$1"; exec sleep infinity'
            command: list[str | Path] = [CHECKOUT / "scripts" / "on-debian13", "--beside", "sh", "-c", wait, "sh", told]
            with output.open("w") as said:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                wait_for("a Debian 13", lambda: told.exists() or process.poll() is not None, MADE_SECONDS)
                assert told.exists(), output.read_text()
                yield cls(int(told.read_text()))
            finally:
                process.terminate()
                process.wait()

    def take(self, service: Service) -> None:
        """From its next start on, this service runs here."""
        service.program = ("nsenter", f"--target={self.pid}", "--mount", "--uts", INSIDE)
