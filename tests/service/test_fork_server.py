"""The fork server: every part is a process of its own that the fork server has forked."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.supervision.forks import Forks
from tests.harness.service import Service, is_alive, wait_for

PARTS = ("api", "api-2", "worker")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new(mail="off", workers="2") as new:
        yield new.start()


def status_of(pid: int, name: str) -> str:
    """Returns a line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def server_of(service: Service) -> int:
    """Returns the process id of the parent of all parts."""
    (found,) = {int(status_of(service.pid(part), "PPid")) for part in PARTS}
    return found


def sockets(pid: int) -> set[str]:
    links = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    return {str(link) for link in links if str(link).startswith("socket:")}


def test_the_list_of_processes_names_each_part(service: Service) -> None:
    names = service.processes()
    assert names[server_of(service)] == f"postroom: fork server ({service.data})"
    for part in PARTS:
        assert names[service.pid(part)] == f"postroom: {part} ({service.data})"


def test_the_server_has_one_thread(service: Service) -> None:
    """A fork copies only the thread that forks, and the kernel takes the end of that thread for the
    death of the parent."""
    assert status_of(server_of(service), "Threads") == "1"


def test_a_part_holds_nothing_of_the_server(service: Service) -> None:
    server = server_of(service)
    assert sockets(server)
    for part in PARTS:
        assert not sockets(server) & sockets(service.pid(part))
        for signals in ("SigIgn", "SigBlk"):
            assert not int(status_of(service.pid(part), signals), 16) & 1 << signal.SIGTERM - 1


def test_parts_come_back_after_the_death_of_the_server(service: Service) -> None:
    server, before = server_of(service), {service.pid(part) for part in PARTS}
    os.kill(server, signal.SIGKILL)
    wait_for("the old parts to be gone", lambda: not before & service.processes().keys())
    wait_for("new parts", lambda: all(service.pid(part) not in {0, *before} for part in PARTS) and service.ready())
    assert server_of(service) != server
    assert "worker ended (SIGKILL), starts again" in service.said()
    assert service.stop() == 0
    assert service.processes() == {}


def test_only_the_supervisor_ends_the_server(service: Service) -> None:
    """A terminal, a container or an operator may send a signal to the whole group."""
    server, dead = server_of(service), service.pid("worker")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(server, number)
    os.kill(dead, signal.SIGKILL)
    wait_for("another worker", lambda: service.pid("worker") not in (0, dead))
    assert server_of(service) == server


def test_a_part_that_ends_is_reported_with_its_status(service: Service) -> None:
    os.kill(service.pid("worker"), signal.SIGTERM)
    wait_for("the line", lambda: "worker ended (exit status 0), starts again" in service.said())


# A fork server that answers with a process that it did not fork, or with what is no process.
LIAR = """
import os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.recv(65536)
named, message = int(sys.argv[2]), sys.argv[3]
descriptor = os.pidfd_open(named) if named else os.open("/dev/null", os.O_RDONLY)
socket.send_fds(connection, [message.encode()], [descriptor])
connection.recv(65536)
"""


@pytest.mark.parametrize("lie", ["of another user", "of another id", "no id", "no process"])
def test_the_server_cannot_name_another_process(lie: str) -> None:
    """Else its user could have root's supervisor end any process."""
    with subprocess.Popen(["sleep", "600"]) as victim:
        named = 0 if lie == "no process" else victim.pid
        message = {"of another id": str(victim.pid + 1), "no id": f"../{victim.pid}"}.get(lie, str(victim.pid))
        user = os.getuid() + (lie == "of another user")

        def launch(connection: socket.socket) -> "subprocess.Popen[bytes]":
            arguments = [str(connection.fileno()), str(named), message]
            return subprocess.Popen([sys.executable, "-c", LIAR, *arguments], pass_fds=(connection.fileno(),))

        async def ask() -> None:
            forks = Forks(launch, user)
            with pytest.raises(ConnectionError):
                forks.fork(["api"], 1, (), lambda _: None)
            forks.close()

        asyncio.run(ask())
        assert is_alive(victim.pid)
        victim.kill()


def test_a_process_that_ends_at_once_is_believed() -> None:
    """It may be gone before anybody looks at its user."""
    statuses: list[int] = []

    def launch(connection: socket.socket) -> "subprocess.Popen[bytes]":
        program = """
import os, socket, sys
connection = socket.socket(fileno=int(sys.argv[1]))
connection.recv(65536)
pid = os.fork() or os._exit(3)
descriptor = os.pidfd_open(pid)
os.waitpid(pid, 0)
socket.send_fds(connection, [str(pid).encode()], [descriptor])
connection.send(f"{pid} 3".encode())
connection.recv(65536)
"""
        command = [sys.executable, "-c", program, str(connection.fileno())]
        return subprocess.Popen(command, pass_fds=(connection.fileno(),))

    async def ask() -> None:
        forks = Forks(launch, os.getuid())
        forks.fork(["prepare"], 1, (), statuses.append)
        while not statuses:
            await asyncio.sleep(0)
        forks.close()

    asyncio.run(ask())
    assert statuses == [3]
