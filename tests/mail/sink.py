"""A second mail server that accepts every message and keeps the bytes that it received."""

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread

from tests.harness.service import wait_for
from tests.mail.clients import HOST


@dataclass
class Taken:
    """One message: its envelope and its bytes, without dot-stuffing (RFC 5321 4.5.2)."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    raw: bytes = b""


class _Session(socketserver.StreamRequestHandler):
    server: "Sink"

    def handle(self) -> None:
        self.wfile.write(b"220 second.example ESMTP\r\n")
        taken = Taken()
        while line := self.rfile.readline():
            verb, _, rest = line.decode("latin-1").strip().partition(":")
            path = rest.partition(">")[0].lstrip(" <")
            match verb.upper()[:9]:
                case "MAIL FROM":
                    taken = Taken(path)
                    self.wfile.write(b"250 Ok\r\n")
                case "RCPT TO":
                    taken.recipients.append(path)
                    self.wfile.write(b"250 Ok\r\n")
                case "DATA":
                    self.wfile.write(b"354 Go on\r\n")
                    taken.raw = b"".join(self._lines())
                    self.server.taken.append(taken)
                    self.wfile.write(b"250 Ok\r\n")
                case "QUIT":
                    self.wfile.write(b"221 Bye\r\n")
                    return
                case other if other.startswith("EHLO"):
                    self.wfile.write(b"250-second.example\r\n250-SIZE 100000000\r\n250 8BITMIME\r\n")
                case _:
                    self.wfile.write(b"250 Ok\r\n")

    def _lines(self) -> Iterator[bytes]:
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            yield line.removeprefix(b".")


class Sink(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Session)
        self.taken: list[Taken] = []

    @property
    def relayhost(self) -> str:
        """The address of this server for POSTROOM_RELAYHOST."""
        return f"[{HOST}]:{self.server_address[1]}"

    def find(self, subject: str) -> Taken | None:
        """Returns the message with this subject, or None if it has not arrived."""
        return next((taken for taken in self.taken if f"Subject: {subject}\r\n".encode() in taken.raw), None)

    def wait_for(self, subject: str) -> Taken:
        """Waits for the message with this subject."""
        return wait_for(f"the message {subject}", lambda: self.find(subject)) or Taken()

    @classmethod
    @contextmanager
    def start(cls) -> "Iterator[Sink]":
        with cls() as sink:
            Thread(target=sink.serve_forever, args=(0.02,), daemon=True).start()
            try:
                yield sink
            finally:
                sink.shutdown()
