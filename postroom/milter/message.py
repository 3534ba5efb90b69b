"""A message as a listener sees it, and the replies of a listener."""

import struct
from dataclasses import dataclass, field

# Largest number of octets of header fields that a listener keeps of one message.
LONGEST_HEADER = 1_048_576


@dataclass(slots=True)
class Message:
    """One message of one SMTP session.

    `macros` has what Postfix reports about the session and the envelope, by name with braces
    (`{auth_authen}`). `sender` is the argument of MAIL FROM as the client wrote it. `recipients`,
    `headers` and `body` are empty unless the listener wants them. A header is its name and value as
    in the message, without the line end; a folded value has its line feeds.
    """

    macros: dict[str, str] = field(default_factory=dict)
    client: bytes = b""
    helo: bytes = b""
    sender: bytes = b""
    recipients: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    header_octets: int = 0
    """Octets of the wanted header fields in all. Fields beyond LONGEST_HEADER are not kept."""

    note: str = ""
    """A finding of the listener during the message, which it needs at the end of the message."""

    @property
    def is_cut(self) -> bool:
        """Whether header fields that the listener wants are missing."""
        return self.header_octets > LONGEST_HEADER


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision about a message: the frames of the reply. The last frame decides."""

    frames: tuple[tuple[bytes, bytes], ...]

    def after(self, *changes: tuple[bytes, bytes]) -> "Answer":
        """Returns the same decision with changes to the message before it."""
        return Answer((*changes, *self.frames))


CONTINUE = Answer(((b"c", b""),))
# Accepts the message; Postfix asks nothing more about it.
ACCEPT = Answer(((b"a", b""),))
DISCARD = Answer(((b"d", b""),))


def refuse(code: int, status: str, text: str) -> Answer:
    """Returns a refusal: the reply code (RFC 5321 4.2), the enhanced status code (RFC 3463) and a
    sentence in ASCII."""
    line = f"{code} {status} {text}"
    # A percent sign begins a format in a milter's reply.
    return Answer(((b"y", line.replace("%", "%%").encode("ascii", "replace") + b"\0"),))


def insert_header(index: int, name: str, value: str) -> tuple[bytes, bytes]:
    """Returns a change that inserts a header field before the field at `index`, counted from 0."""
    return b"i", struct.pack(">I", index) + f"{name}\0 {value}\0".encode("ascii")


def delete_header(occurrence: int, name: str) -> tuple[bytes, bytes]:
    """Returns a change that removes this occurrence of a header field, counted from 1."""
    return b"m", struct.pack(">I", occurrence) + f"{name}\0\0".encode("ascii")


def change_sender(address: str) -> tuple[bytes, bytes]:
    """Returns a change that replaces the envelope sender; empty: no sender."""
    return b"e", f"<{address}>\0".encode("ascii")


def add_recipient(address: str) -> tuple[bytes, bytes]:
    """Returns a change that adds a recipient."""
    return b"+", f"<{address}>\0".encode("ascii")


def delete_recipient(address: bytes) -> tuple[bytes, bytes]:
    """Returns a change that removes a recipient, spelled as in RCPT TO."""
    return b"-", address + b"\0"
