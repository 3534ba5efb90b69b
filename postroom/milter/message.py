"""A message as a listener sees it, and what a listener answers."""

import struct
from dataclasses import dataclass, field

# Octets of all header fields that a listener keeps of one message.
LONGEST_HEADER = 1_048_576


@dataclass(slots=True)
class Message:
    """One message of one SMTP session.

    `macros`: what Postfix told of the session and the envelope, by name with its braces
    (`{auth_authen}`). `sender`: the argument of MAIL FROM as the client wrote it. `recipients`,
    `headers`, `body`: empty unless the listener wants them. A header is its name and its value
    as they stand in the message, without the line end; a folded value has its line feeds.
    """

    macros: dict[str, str] = field(default_factory=dict)
    client: bytes = b""
    helo: bytes = b""
    sender: bytes = b""
    recipients: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    header_octets: int = 0
    """How long the kept header fields are in all. Past LONGEST_HEADER the rest is not kept."""

    note: str = ""
    """What a listener has found on the way, for the end of the message."""

    @property
    def is_cut(self) -> bool:
        """Whether header fields are missing that the listener wanted."""
        return self.header_octets > LONGEST_HEADER


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a message: the frames of the reply, the last of which decides."""

    frames: tuple[tuple[bytes, bytes], ...]

    def after(self, *changes: tuple[bytes, bytes]) -> "Answer":
        """The same decision, with changes of the message before it."""
        return Answer((*changes, *self.frames))


CONTINUE = Answer(((b"c", b""),))
# No further question about the message.
ACCEPT = Answer(((b"a", b""),))
DISCARD = Answer(((b"d", b""),))


def refuse(code: int, status: str, text: str) -> Answer:
    """A refusal: the reply's code (RFC 5321 4.2), the enhanced status code (RFC 3463) and a
    sentence in ASCII."""
    line = f"{code} {status} {text}"
    # A percent sign begins a format in a milter's reply.
    return Answer(((b"y", line.replace("%", "%%").encode("ascii", "replace") + b"\0"),))


def insert_header(index: int, name: str, value: str) -> tuple[bytes, bytes]:
    """A change: a new header field before the one of this index, counted from 0."""
    return b"i", struct.pack(">I", index) + f"{name}\0 {value}\0".encode("ascii")


def delete_header(occurrence: int, name: str) -> tuple[bytes, bytes]:
    """A change: this occurrence of a header field, counted from 1, is removed."""
    return b"m", struct.pack(">I", occurrence) + f"{name}\0\0".encode("ascii")


def change_sender(address: str) -> tuple[bytes, bytes]:
    """A change: another envelope sender; empty: none."""
    return b"e", f"<{address}>\0".encode("ascii")


def add_recipient(address: str) -> tuple[bytes, bytes]:
    """A change: one recipient more."""
    return b"+", f"<{address}>\0".encode("ascii")


def delete_recipient(address: bytes) -> tuple[bytes, bytes]:
    """A change: one recipient less, as RCPT TO spelled it."""
    return b"-", address + b"\0"
