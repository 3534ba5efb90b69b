"""The supervisor's side of the fork server: asks for processes, and learns how they ended.

The supervisor may be root and the server is not, so the supervisor believes no process id: it sends
a signal only to a process of the server's user, as the server itself could.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postroom.supervision import fork_server

# Seconds until a server that does not answer is killed. A server that has just been started loads
# modules between two messages.
SILENCE = 60.0
# The process of a pidfd that has ended and was waited for: no signal reaches another one.
GONE = "-1"


@dataclass
class Forked:
    """A process that the fork server has forked. `descriptor` is its pidfd, so a signal never hits
    another process. `returncode` is None while the process runs."""

    pid: int
    descriptor: int
    ended: Callable[[int], None]
    returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Sends a signal. Does nothing if the process has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    def finish(self, status: int) -> None:
        """Takes note of the end of the process."""
        os.close(self.descriptor)
        self.returncode = status
        self.ended(status)


class Forks:
    """Starts the fork server with `launch`, which gets the server's end of the connection, and
    starts it again when it is needed after its end. `user` is the id of the server's user."""

    def __init__(self, launch: Callable[[socket.socket], subprocess.Popen[bytes]], user: int) -> None:
        self._launch = launch
        self._user = user
        self._server: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._running: dict[int, Forked] = {}

    def start(self) -> socket.socket:
        """Starts the server if it does not run. Returns the connection. Raises OSError."""
        if self._connection:
            return self._connection
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._server = self._launch(its)
        mine.settimeout(SILENCE)
        self._connection = mine
        asyncio.get_running_loop().add_reader(mine, self._read)
        return mine

    def fork(self, arguments: list[str], log: int, files: tuple[int, ...], ended: Callable[[int], None]) -> Forked:
        """Has a process forked, and calls `ended` with its exit status after the process has ended.
        Raises OSError."""
        connection = self.start()
        try:
            socket.send_fds(connection, [json.dumps(arguments).encode()], [log, *files])
            while True:
                message, descriptors, _, _ = socket.recv_fds(connection, fork_server.MESSAGE, 1)
                if descriptors:
                    process = Forked(_pid(message, descriptors[0], self._user), descriptors[0], ended)
                    self._running[process.pid] = process
                    return process
                if not message:
                    raise BrokenPipeError("the fork server has ended")
                if not message[:1].isdigit():
                    raise ChildProcessError(message.decode())
                asyncio.get_running_loop().call_soon(self._finish, message)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close()
            raise

    def close(self) -> None:
        """Kills the server; the kernel then kills the processes that it forked."""
        if self._connection is None or self._server is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._connection)
        self._connection.close()
        self._connection = None
        self._server.kill()
        self._server.wait()
        self._server = None
        for process in self._running.values():
            loop.add_reader(process.descriptor, self._killed, process)
        self._running = {}

    def _read(self) -> None:
        assert self._connection
        try:
            message = self._connection.recv(fork_server.MESSAGE)
        except ConnectionResetError:
            message = b""
        if message:
            self._finish(message)
        else:
            self.close()

    def _finish(self, message: bytes) -> None:
        try:
            pid, status = map(int, message.split())
        except ValueError:
            self.close()
            return
        if process := self._running.pop(pid, None):
            process.finish(status)

    def _killed(self, process: Forked) -> None:
        asyncio.get_running_loop().remove_reader(process.descriptor)
        process.finish(-signal.SIGKILL)


def _pid(message: bytes, descriptor: int, user: int) -> int:
    """Returns the id of the process that was forked. Raises BrokenPipeError if the descriptor is
    not that of this process, or if the process has another user."""
    users: list[str] = []
    if message.isdigit():
        with suppress(FileNotFoundError, ProcessLookupError):
            users = _values(Path(f"/proc/{int(message)}/status"), "Uid")
        # If the descriptor still names the process, the user was that of this process.
        named = _values(Path(f"/proc/self/fdinfo/{descriptor}"), "Pid")
        if named == [GONE] or (named == [message.decode()] and set(users) == {str(user)}):
            return int(message)
    os.close(descriptor)
    raise BrokenPipeError("the fork server has named a process that is not its own")


def _values(path: Path, name: str) -> list[str]:
    """Returns the values of a line of a file in /proc."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return next((line.split()[1:] for line in lines if line.startswith(f"{name}:")), [])
