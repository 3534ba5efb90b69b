"""A line to a server over TCP that can stop carrying anything without being closed, as a host
does that hangs."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Line:
    """What is sent to `port` goes to the server, while `flows` is set. New connections are taken
    all the same."""

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
        """That of a database, by way of this line."""
        before, _, database = url.rpartition("/")
        return f"{before.rpartition(':')[0]}:{self.port}/{database}"

    def _take(self, listener: socket.socket, port: int) -> None:
        with suppress(OSError):  # it was shut down
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):  # one side is gone
            while data := source.recv(65536):
                self.flows.wait()
                target.sendall(data)
        for side in (source, target):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
