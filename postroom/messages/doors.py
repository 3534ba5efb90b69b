"""Ways to an IMAP session of an account without a password: a process of this machine, or one of
the node that has the mail, through a port for the nodes alone (decision 0307).
"""

import contextlib
import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from postroom.mailplane.internal_addresses import delivery_name

# Seconds without an answer after which a session is given up; a search of texts can take some.
ANSWER_SECONDS = 20.0
CONNECT_SECONDS = 5.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of a node's ports the one for IMAP sessions, counted from the first.
NODE_PORT = 3


@dataclass
class Way:
    """An open way: the socket of the session, and the process at its end if it is ours."""

    socket: socket.socket
    process: subprocess.Popen[bytes] | None = None
    said: IO[bytes] | None = None

    def end(self) -> None:
        """Closes the way. Its process ends by itself, or is killed."""
        self.socket.close()
        if self.process:
            try:
                self.process.wait(1)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.said:
            self.said.close()

    def last_words(self) -> str:
        """Ends the way at once. Returns what the process has written to its standard error last."""
        words = b""
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.said:
            self.said.seek(max(self.said.seek(0, 2) - 500, 0))
            words = self.said.read()
        with contextlib.suppress(OSError):
            self.end()
        return words.decode(errors="replace").strip()


class Door(Protocol):
    """Two doors are equal if they lead to the same place."""

    def open(self, account_id: int, /) -> Way:
        """Raises OSError."""
        ...


@dataclass(frozen=True)
class LocalDoor:
    """Starts Dovecot's `imap` as a child of this process. `configuration` is that of Dovecot."""

    configuration: Path

    def open(self, account_id: int) -> Way:
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER_SECONDS)
        said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with theirs:
            process = subprocess.Popen(
                ["doveadm", "-c", str(self.configuration), "exec", "imap", "-u", delivery_name(account_id)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=said,
                env={"PATH": PATH, "LANG": "C.UTF-8", "TZ": "UTC"},  # SEARCH SINCE is in UTC
            )
        return Way(ours, process, said)


@dataclass(frozen=True)
class NodeDoor:
    """Asks another node, which identifies this one by its certificate. `host` is the name in the
    node's certificate, `port` the first of its ports, `data` the data directory of this machine."""

    address: str
    port: int
    host: str
    data: Path

    def open(self, account_id: int) -> Way:
        plain = socket.create_connection((self.address, self.port + NODE_PORT), CONNECT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # some commands are sent in two pieces
        try:
            opened = node_context(self.data, ssl.Purpose.SERVER_AUTH).wrap_socket(plain, server_hostname=self.host)
            opened.settimeout(ANSWER_SECONDS)
            opened.sendall(b"%d\n" % account_id)
        except OSError:
            plain.close()
            raise
        return Way(opened)


def node_context(data: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Returns a context with the certificate of this node that trusts the certificates of the nodes
    and no others, on both sides of a connection. Raises OSError."""
    context = ssl.create_default_context(purpose, cafile=data / "tls" / "nodes.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(data / "db" / "node.pem")
    return context
