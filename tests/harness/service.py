"""A whole service for the tests: `postroom serve` as a process, on ports and a data directory of
its own."""

import fcntl
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from postroom.settings import PORTS, variable
from postroom.supervision.stale_processes import read_pid

T = TypeVar("T")

LONG = 60.0
# For a move that fails once: the account is closed for a minute at most, and tried again after half
# of one.
RETRIED = 300.0
LOCKS = Path(tempfile.gettempdir()) / f"postroom-ports-{os.getuid()}"
_held: dict[int, IO[str]] = {}
COMMAND = Path(sys.executable).with_name("postroom")
# A shell's background job and nohup hand on signals that are ignored, and so would the programs
# that are tested.
SIGNALLED = ("/usr/bin/env", "--default-signal=HUP,INT,QUIT")


def wait_for(what: str, ask: Callable[[], T], limit: float = LONG) -> T:
    """Asks until the answer is true, and gives it back."""
    deadline = time.monotonic() + limit
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"waited {limit:.0f} s for: {what}"
        threading.Event().wait(0.02)
    return answer


def free_ports() -> dict[str, int]:
    """A free port for each setting, below those that the kernel gives to clients. They stay ours
    while nobody listens on them, as in a restart: until `give_back`, or the end of this process."""
    LOCKS.mkdir(exist_ok=True)
    while True:
        first = random.randrange(20_000, 32_000, 10)
        lock = (LOCKS / str(first)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for port in range(first, first + len(PORTS)):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            lock.close()
            continue
        _held[first] = lock
        return {name: first + number for number, name in enumerate(PORTS)}


def give_back(ports: dict[str, int]) -> None:
    """Lets others have them."""
    _held.pop(min(ports.values())).close()


@dataclass
class Service:
    """An instance. It can be started any number of times."""

    data: Path
    ports: dict[str, int] = field(default_factory=free_ports)
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
        """An instance in a new directory, which is taken away with all its processes at the end."""
        folder = Path(tempfile.mkdtemp(prefix="postroom-", dir="/tmp"))  # short, for unix sockets
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
        """Starts it and waits for its block."""
        self.launch(*arguments)
        wait_for("the block", lambda: "}'" in self.said() or self.ended())
        assert not self.ended(), self.said()
        return self

    def launch(self, *arguments: str) -> None:
        """Starts it and does not wait."""
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
        """Runs a command line of this instance to its end."""
        return subprocess.run(
            [*self.program, *arguments], env=self.environment, capture_output=True, text=True, timeout=RETRIED
        )

    def said(self) -> str:
        return self.output.read_text()

    def key(self) -> str:
        """The API key that the first start has shown."""
        found = re.search(r"pr_[\w-]+", self.said())
        assert found, self.said()
        return found[0]

    def ended(self) -> bool:
        assert self.process
        return self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Tells it to stop and answers the exit code."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(LONG)

    def kill(self) -> None:
        """Ends whatever is left of it, however."""
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
        """An answer of the API."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports["port"], timeout=LONG)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def pid(self, name: str) -> int:
        """The process id of a part; 0 while it is away."""
        return read_pid(self.data / "run" / f"{name}.pid") or 0

    def processes(self) -> dict[int, str]:
        """Every living process of this instance, with its command line, however it is related."""
        return {pid: command for pid, command in _processes() if _belongs(pid, os.fsencode(self.data))}


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
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
