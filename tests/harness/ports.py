"""Ports of the loopback that no other test takes, nor the kernel for a client."""

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

LOCKS = Path(tempfile.gettempdir()) / f"postroom-ports-{os.getuid()}"
FIRST_PORTS = range(20_000, 32_000, 20)
"""Below the kernel's range for clients. A node's further ports follow those of its settings."""
_held: dict[int, IO[str]] = {}


def free_ports(names: Collection[str]) -> dict[str, int]:
    """Returns a free port for each name. The ports stay reserved while nothing listens on them, as
    before a start and during a restart, until `give_back` or the end of this process."""
    LOCKS.mkdir(exist_ok=True)
    while True:
        first = random.choice(FIRST_PORTS)
        lock = (LOCKS / str(first)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for port in range(first, first + len(names)):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            lock.close()
            continue
        _held[first] = lock
        return {name: first + number for number, name in enumerate(names)}


def free_port() -> int:
    """Returns a free port, reserved until this process ends."""
    return free_ports(["port"])["port"]


def give_back(ports: dict[str, int]) -> None:
    """Releases the ports."""
    _held.pop(min(ports.values())).close()
