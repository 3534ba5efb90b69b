"""The fork server: a process that has loaded the code of the parts, and forks a process for each
part (decision 0189).

The supervisor and the server talk over a pair of sockets that keep the bounds of messages. The
supervisor sends the arguments of a part as JSON, with the descriptors of its log and its files. The
server answers `PID` with a descriptor of the process (pidfd_open(2)), and later `PID STATUS` when
the process has ended. Any other answer says why nothing was forked. The server stays
single-threaded: the kernel sends a part's parent-death signal when the thread that forked the part
dies.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from postroom.supervision.daemon_guard import PR_SET_PDEATHSIG, prctl

# The supervisor ends the parts in order, also when a whole group of processes gets these.
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Bytes of a message, and descriptors that come with it, at most.
MESSAGE = 64 * 1024
DESCRIPTORS = 16


@dataclass(frozen=True)
class Order:
    """What a forked process is for: the arguments, and the descriptors of the files of the part."""

    arguments: list[str]
    files: list[int]


def serve(connection: socket.socket, modules: Mapping[str, str]) -> Order:
    """Forks a process for each message, until the supervisor closes the connection. Returns only in
    a forked process. `modules` has the module of each part, by the first of its arguments: it is
    imported before the part is forked, or earlier while no message waits."""
    gc.disable()
    told, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    ahead = list(modules.values())
    while True:
        ready, _, _ = select.select([connection.fileno(), told], [], [], 0 if ahead else None)
        if told in ready:
            os.read(told, 512)
            _report_ended(connection)
        if connection.fileno() in ready:
            if order := _fork(connection, modules):
                os.close(told)
                os.close(wake)
                return order
        elif ahead:
            importlib.import_module(ahead.pop(0))


def _report_ended(connection: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection.send(f"{pid} {os.waitstatus_to_exitcode(status)}".encode())


def _fork(connection: socket.socket, modules: Mapping[str, str]) -> Order | None:
    """Reads a message and forks. Returns the order in the forked process, and None in the server.
    Ends the server if the supervisor is gone."""
    message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE, DESCRIPTORS)
    if not message:
        sys.exit()
    arguments = json.loads(message)
    importlib.import_module(modules[arguments[0]])
    server = os.getpid()
    # The parts collect no garbage among what is loaded, so the pages of it stay shared.
    gc.freeze()
    try:
        pid = os.fork()
    except OSError as error:
        connection.send(f"fork: {error.strerror}".encode())
        pid = -1
    if pid == 0:
        log, *files = descriptors
        _become(connection, server, log)
        return Order(arguments, files)
    if pid > 0:
        process = os.pidfd_open(pid)
        socket.send_fds(connection, [str(pid).encode()], [process])
        os.close(process)
    for descriptor in descriptors:
        os.close(descriptor)
    return None


def _become(connection: socket.socket, server: int, log: int) -> None:
    """Makes the forked process a part of its own, that dies with the server."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, *IGNORED):
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    connection.close()
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    gc.enable()
