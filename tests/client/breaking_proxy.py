"""A TCP proxy in front of the API that breaks connections after the server has answered, so after
its commit."""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class BreakingProxy:
    """`plan` has, for each connection, the number of bytes of the answer that pass before the
    connection breaks. Connections after the plan do not break."""

    upstream: int
    plan: Sequence[int]
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: int = 0
    sent: bytearray = field(default_factory=bytearray)
    """Everything that clients have sent."""

    @classmethod
    @contextmanager
    def start(cls, upstream: int, plan: Sequence[int]) -> "Iterator[BreakingProxy]":
        proxy = cls(upstream, plan)
        threading.Thread(target=proxy._accept, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.listener.shutdown(socket.SHUT_RDWR)
            proxy.listener.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    @property
    def idempotency_keys(self) -> list[str]:
        return re.findall(r"(?im)^idempotency-key: (\S+)", self.sent.decode())

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                whole = self.plan[self.connections] if self.connections < len(self.plan) else None
                self.connections += 1
                server = socket.create_connection(("127.0.0.1", self.upstream))
                threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(client, server, whole), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.sent += data
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, whole: int | None) -> None:
        """Passes on the whole answer, or its first bytes and then a reset."""
        with contextlib.suppress(OSError), client, server:
            while data := server.recv(65536):
                client.sendall(data if whole is None else data[:whole])
                if whole is not None:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.shutdown(socket.SHUT_RDWR)
                    return
