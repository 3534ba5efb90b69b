"""The supervisor: starts the parts of a service, restarts parts that die, and ends all of them.

A daemon gets a guard process; the other parts are forked by the fork server. The supervisor must
stay single-threaded: only the guards may inherit their lifeline, and the kernel sends the server's
parent-death signal when the thread that started the server dies.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from postroom.supervision import daemon_guard, logfiles, stale_processes
from postroom.supervision.forks import Forked, Forks

# Seconds: first and longest pause before a restart, the running time after which the pause is short
# again, and the time that a guard gets on top of the grace of its daemon.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
LIVED_A_WHILE = 30.0
GUARD_MARGIN = 3.0


@dataclass(frozen=True)
class Part:
    """What to run and how. A daemon gets a guard, because it does not watch its parent itself, and
    stays root. For any other part, `command` holds the arguments for the fork server's process,
    which runs as the owner of the data directory in the environment of the fork server. `grace` is
    in seconds."""

    name: str
    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    daemon: bool = False
    files: tuple[int, ...] = ()
    grace: float = 10.0


@dataclass
class _Life:
    """A part and its current process."""

    part: Part
    process: subprocess.Popen[bytes] | Forked | None = None
    began: float = 0.0
    pause: float = FIRST_PAUSE
    failures: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    revival: asyncio.Task[None] | None = None
    stopping: bool = False


class Supervisor:
    """Owns the child processes. `say` gets one line for each event that concerns the operator.
    `fork_server` is the command of the fork server, which gets the number of a descriptor as its
    last argument, with the environment of the parts, and with these other groups."""

    def __init__(
        self,
        data: Path,
        owner: tuple[int, int] | None,
        say: Callable[[str], None],
        fork_server: tuple[list[str], Mapping[str, str]],
        groups: Sequence[int] = (),
    ) -> None:
        self._data = data
        self._owner = owner
        self._say = say
        self._lives: dict[str, _Life] = {}
        self._lifeline, self._own_end = os.pipe()
        self._fork_server = fork_server
        self._groups = list(groups)
        self._forks = Forks(self._launch, owner[0] if owner else os.getuid())

    @property
    def names(self) -> list[str]:
        """The names of the parts that run or will be restarted."""
        return list(self._lives)

    def once(self, part: Part) -> asyncio.Future[int]:
        """Runs a part that ends by itself. Returns a future exit status. Raises OSError if the part
        cannot be run."""
        status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def ended(result: int) -> None:
            if not status.done():  # done if the wait was cancelled
                status.set_result(result)

        self._run(part, ended)
        return status

    def last_words(self, name: str) -> str:
        """Returns the last line in the log of a part, and the path of the log."""
        path = self._data / "log" / log_name(name)
        return f"{logfiles.last_line(path)} ({path})"

    def failures(self, name: str) -> int:
        """Returns how many times the part has ended by itself."""
        return self._lives[name].failures

    def start(self, part: Part) -> None:
        """Starts a part, and restarts it each time it ends by itself. Raises OSError if the first
        start fails."""
        life = _Life(part)
        self._spawn(life)
        self._lives[part.name] = life

    def reload(self, name: str) -> None:
        """Makes a daemon read its files again. Does nothing if the daemon is not running: it reads
        the files when it is restarted."""
        _signal(self._lives[name], signal.SIGHUP)

    def load(self) -> None:
        """Starts the fork server, which loads the code of the parts. Raises OSError."""
        self._forks.start()

    def close(self) -> None:
        """Ends the fork server, after all parts have ended."""
        self._forks.close()

    async def stop(self, names: Iterable[str]) -> None:
        """Ends these parts: sends SIGTERM, and SIGKILL after the grace of each part."""
        lives = [self._lives[name] for name in names]
        for life in lives:
            _retire(life)
            _signal(life, signal.SIGTERM)
        await asyncio.gather(*(self._wait(life) for life in lives))

    def kill(self) -> None:
        """Kills all parts at once. A guard ends after its daemon is dead."""
        for life in self._lives.values():
            _retire(life)
            session = stale_processes.read_pid(pid_file(self._data, life.part.name)) if life.part.daemon else None
            for pid in stale_processes.find(self._data, {session} if session else set()):
                os.kill(pid, signal.SIGKILL)
            if not life.part.daemon:
                _signal(life, signal.SIGKILL)

    def _spawn(self, life: _Life) -> None:
        part = life.part
        life.ended.clear()
        life.began = time.monotonic()
        life.process = self._run(part, partial(self._ended, life))
        if not part.daemon:
            _record(pid_file(self._data, part.name), life.process.pid)

    def _run(self, part: Part, ended: Callable[[int], None]) -> subprocess.Popen[bytes] | Forked:
        log = logfiles.open_log(self._data / "log" / log_name(part.name), self._owner)
        try:
            if not part.daemon:
                return self._forks.fork(part.command, log, part.files, ended)
            process = self._open(self._guarded(part), part.environment, log, self._lifeline, umask=0o022)
        finally:
            os.close(log)
        watch(process, ended)
        return process

    def _launch(self, connection: socket.socket) -> subprocess.Popen[bytes]:
        command, environment = self._fork_server
        log = logfiles.open_log(self._data / "log" / log_name("fork_server"), self._owner)
        user, group = self._owner or (None, None)
        arguments = [*command, str(connection.fileno())]
        try:
            return self._open(arguments, environment, log, connection.fileno(), umask=0o077, user=user, group=group)
        finally:
            os.close(log)

    def _open(
        self,
        command: list[str],
        environment: Mapping[str, str],
        log: int,
        file: int,
        *,
        umask: int,
        user: int | None = None,
        group: int | None = None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self._data,
            env=dict(environment),
            pass_fds=(file,),
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else self._groups,
            umask=umask,
        )

    def _guarded(self, part: Part) -> list[str]:
        options = [str(self._lifeline), str(part.grace), str(pid_file(self._data, part.name))]
        return [sys.executable, "-I", "-S", daemon_guard.__file__, *options, *part.command]

    def _ended(self, life: _Life, status: int) -> None:
        life.ended.set()
        if life.stopping:
            return
        if time.monotonic() - life.began > LIVED_A_WHILE:
            life.pause = FIRST_PAUSE
        self._bring_back(life, how(status))

    def _bring_back(self, life: _Life, why: str) -> None:
        life.failures += 1
        self._say(f"{life.part.name} ended ({why}), starts again in {life.pause:.1f} s")
        life.revival = asyncio.create_task(self._revive(life, life.pause))
        life.pause = min(life.pause * 2, LONGEST_PAUSE)

    async def _revive(self, life: _Life, pause: float) -> None:
        await asyncio.sleep(pause)
        if life.part.daemon:  # a guard that was killed leaves its daemon behind
            await stale_processes.end(self._data, [pid_file(self._data, life.part.name)])
        try:
            self._spawn(life)
        except OSError as error:
            self._bring_back(life, str(error))

    async def _wait(self, life: _Life) -> None:
        path = pid_file(self._data, life.part.name)
        if life.process and life.process.returncode is None:
            try:
                await asyncio.wait_for(life.ended.wait(), life.part.grace + GUARD_MARGIN * life.part.daemon)
            except TimeoutError:
                _signal(life, signal.SIGKILL)
                await life.ended.wait()
        if life.part.daemon:
            await stale_processes.end(self._data, [path])
        path.unlink(missing_ok=True)
        self._lives.pop(life.part.name, None)


def log_name(name: str) -> str:
    """Returns the file name of a part's log; `api-2` writes to the log of `api`."""
    return f"{name.partition('-')[0]}.log"


def pid_file(data: Path, name: str) -> Path:
    """Returns the file that holds the process id of a running part. For a daemon this is the id of
    the daemon itself, not of its guard."""
    return data / "run" / f"{name}.pid"


def _record(path: Path, pid: int) -> None:
    """Writes a pid file without following a link: the folder belongs to the system user, and this
    process may be root."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="ascii") as file:
        file.write(f"{pid}\n")


def watch(process: subprocess.Popen[bytes], ended: Callable[[int], None]) -> None:
    """Calls `ended` with the exit status after the process has ended and is reaped."""
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(process.pid)

    def reap() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended(process.wait())

    loop.add_reader(descriptor, reap)


def how(status: int) -> str:
    """Returns how a process ended, as text for a person."""
    if status >= 0:
        return f"exit status {status}"
    names = {number.value: number.name for number in signal.Signals}
    return names.get(-status, f"signal {-status}")


def _retire(life: _Life) -> None:
    life.stopping = True
    if life.revival:
        life.revival.cancel()


def _signal(life: _Life, number: int) -> None:
    if life.process and life.process.returncode is None:
        life.process.send_signal(number)
