"""A whole service for the tests: `postroom serve` as a process, on its own ports and in its own
data directory."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from postroom.settings import PORTS, variable
from postroom.supervision.stale_processes import read_pid
from tests.harness.daemons import check_sees_daemons
from tests.harness.ports import free_ports, give_back

T = TypeVar("T")

WARNING = re.compile(r"\b(?:warning|error|fatal|panic)\b", re.IGNORECASE)
LONG = 60.0
# Allows a move to fail once: the account is closed for one minute at most, and the next attempt
# comes after half a minute.
RETRIED = 300.0
# The real place of the environment: in a closed home, other users reach it only there.
COMMAND = Path(sys.prefix).resolve() / "bin" / "postroom"
# nohup and a shell's background jobs pass on ignored signals, which the programs under test would
# inherit.
SIGNALLED = ("/usr/bin/env", "--default-signal=HUP,INT,QUIT")


def wait_for(what: str, ask: Callable[[], T], limit: float = LONG) -> T:
    """Asks until the answer is true, and returns the answer."""
    deadline = time.monotonic() + limit
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for: {what}"
        threading.Event().wait(0.02)
    return answer


@dataclass
class Service:
    """An instance that can be started any number of times."""

    data: Path
    ports: dict[str, int] = field(default_factory=lambda: free_ports(PORTS))
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    variables: dict[str, str] = field(default_factory=dict)
    """What is in the environment beside the settings."""
    prefix: tuple[str, ...] = ()
    """A command that runs the service, as `unshare` does."""
    program: tuple[str | Path, ...] = (COMMAND,)
    """What `postroom` is."""

    @classmethod
    @contextmanager
    def new(cls, **settings: str) -> "Iterator[Service]":
        """An instance in a new directory. At the end the directory and all processes are
        removed."""
        folder = Path(tempfile.mkdtemp(prefix="postroom-", dir="/tmp"))  # short, because paths of unix sockets are
        folder.chmod(0o755)
        service = cls(folder / "data", settings=settings)
        try:
            yield service
        finally:
            service.kill()
            give_back(service.ports)
            shutil.rmtree(folder)

    @property
    def environment(self) -> dict[str, str]:
        numbers = {variable(name): str(port) for name, port in self.ports.items()}
        ours = {variable(name): value for name, value in self.settings.items()}
        outer = {name: value for name, value in os.environ.items() if not name.startswith("POSTROOM_")}
        return outer | {"POSTROOM_DATA": str(self.data)} | numbers | ours | self.variables

    @property
    def database_url(self) -> str:
        return self.settings.get("database_url", f"sqlite:///{self.data / 'db' / 'postroom.db'}")

    @property
    def output(self) -> Path:
        return self.data.parent / "output"

    def start(self, *arguments: str) -> "Service":
        """Starts the service and waits until it has printed its block."""
        self.launch(*arguments)
        wait_for("the block", lambda: "}'" in self.said() or self.ended())
        assert not self.ended(), self.said()
        return self

    def launch(self, *arguments: str) -> None:
        """Starts the service without waiting."""
        if self.settings.get("mail") != "off":
            check_sees_daemons()
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*SIGNALLED, *self.prefix, *self.program, "serve", *arguments],
                env=self.environment,
                stdout=output,
                stderr=output,
                text=True,
                start_new_session=True,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of this instance to its end."""
        return subprocess.run(
            [*self.program, *arguments], env=self.environment, capture_output=True, text=True, timeout=RETRIED
        )

    def said(self) -> str:
        return self.output.read_text()

    def key(self) -> str:
        """Returns the API key that the first start showed."""
        found = re.search(r"pr_[\w-]+", self.said())
        assert found, self.said()
        return found[0]

    def warnings(self) -> str:
        """Returns the last warnings and errors in the logs."""
        found = []
        for log in sorted((self.data / "log").glob("*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if WARNING.search(line)]
            found += [f"{log.name}: {line}" for line in lines[-10:]]
        return "\n".join(found)

    def ended(self) -> bool:
        assert self.process
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal to the service, waits for its end, and returns the exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(LONG)

    def kill(self) -> None:
        """Kills every remaining process of the instance."""
        while left := self.processes():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            threading.Event().wait(0.02)
        if self.process:
            self.process.wait(LONG)

    def get(self, path: str) -> tuple[int, Any]:
        """Returns an answer of the API."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports["port"], timeout=LONG)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def pid(self, name: str) -> int:
        """Returns the process id of a part; 0 while the part is down."""
        return read_pid(self.data / "run" / f"{name}.pid") or 0

    def processes(self) -> dict[int, str]:
        """Returns every living process of this instance with its command line, also orphans."""
        return {pid: command for pid, command in _processes() if _belongs(pid, os.fsencode(self.data))}


def is_alive(pid: int) -> bool:
    """Returns whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if is_alive(int(entry.name)):
                yield int(entry.name), command.strip()


def _belongs(pid: int, data: bytes) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        links = [os.fsencode((process / link).readlink()) for link in ("cwd", "root")]
        texts = [(process / text).read_bytes() for text in ("cmdline", "environ")]
    except OSError:
        return False
    return any(data in text for text in [*links, *texts])
