"""A TCP line to a server that can stop carrying data without closing, like a host that hangs."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Line:
    """Forwards connections on `port` to the server while `flows` is set. New connections are always
    accepted."""

    port: int
    flows: threading.Event = field(default_factory=threading.Event)

    @classmethod
    @contextmanager
    def to(cls, port: int) -> "Iterator[Line]":
        listener = socket.create_server(("127.0.0.1", 0))
        line = cls(listener.getsockname()[1])
        line.flows.set()
        taking = threading.Thread(target=line._take, args=(listener, port), daemon=True)
        taking.start()
        try:
            yield line
        finally:
            line.flows.set()
            listener.shutdown(socket.SHUT_RDWR)
            taking.join()
            listener.close()

    def url(self, url: str) -> str:
        """Returns the URL of a database through this line."""
        before, _, database = url.rpartition("/")
        return f"{before.rpartition(':')[0]}:{self.port}/{database}"

    def _take(self, listener: socket.socket, port: int) -> None:
        with suppress(OSError):  # already shut down
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # one side has closed
            while data := source.recv(65536):
                self.flows.wait()
                target.sendall(data)
        for side in (source, target):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
