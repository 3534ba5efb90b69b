"""The milter protocol, version 6, as Postfix speaks it: one connection for each SMTP session.

A frame has a length of four octets, a command of one octet, and its data. We ask Postfix not to
send what a listener does not want, and to wait for a reply only at the end of a message. This saves
submission about twenty frames and as many waits per message. The existing libraries are
unmaintained, or need libmilter and a thread per connection (decision 0135).
"""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from enum import Flag, auto
from typing import Protocol, cast

from postroom.errors import Busy
from postroom.log import log
from postroom.milter.message import Answer, Message

VERSION = 6
# Largest number of octets in a frame. Postfix cuts a header field at `header_size_limit` (102,400
# octets) and splits a body into pieces of 65,535 octets.
LONGEST_FRAME = 262_144
# Seconds that a decision may take; less than Postfix's `milter_content_timeout`.
TIMEOUT_SECONDS = 10.0

# Actions that a listener may take (SMFIF_*): add a header, add or remove a recipient, change a
# header, change the sender, and tell Postfix which macros it wants.
ADD_HEADERS, ADD_RECIPIENTS, REMOVE_RECIPIENTS, CHANGE_HEADERS, CHANGE_SENDER, SET_MACROS = 1, 4, 8, 0x10, 0x40, 0x100
ACTIONS = ADD_HEADERS | ADD_RECIPIENTS | REMOVE_RECIPIENTS | CHANGE_HEADERS | CHANGE_SENDER | SET_MACROS
# Protocol steps to leave out (SMFIP_NO*), steps without a reply (SMFIP_NR_*), and the option to
# keep the first space of header values.
NO_CONNECT, NO_HELO, NO_RCPT, NO_BODY, NO_END_OF_HEADERS, NO_UNKNOWN, NO_DATA = 1, 2, 8, 0x10, 0x40, 0x100, 0x200
NO_REPLY_TO_MAIL = 0x4000
NO_REPLIES = 0x80 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x40000 | 0x80000
LEADING_SPACE = 0x100000
# Stages for which a listener names macros (SMFIM_*).
CONNECT_STAGE, HELO_STAGE, MAIL_STAGE, RCPT_STAGE, DATA_STAGE, END_STAGE, END_OF_HEADERS_STAGE = range(7)

TEMPORARY = Answer(((b"y", b"451 4.3.0 The database does not answer: try again\0"),))


class Want(Flag):
    """What a listener wants to see besides MAIL FROM and the header."""

    NOTHING = 0
    CLIENT = auto()
    SENDER = auto()
    """The listener already answers at MAIL FROM: an EarlyListener."""
    RECIPIENTS = auto()
    BODY = auto()


class Listener(Protocol):
    """Handles one kind of SMTP session on its own socket. `name` is the file name of the socket."""

    name: str
    wants: Want
    macros: str
    """The macros wanted at MAIL FROM, separated by spaces (Postfix, MILTER_README)."""

    def keeps(self, name: bytes) -> bool:
        """Returns whether `judge` needs header fields of this name, which is in lower case without
        surrounding white space."""

    async def judge(self, message: Message) -> Answer:
        """Returns the decision about a message. Raises Busy to tell the client to try again."""


class EarlyListener(Listener, Protocol):
    """A listener that answers at MAIL FROM. After ACCEPT Postfix asks nothing more about the
    message."""

    async def judge_sender(self, message: Message) -> Answer:
        """Returns the decision about a message with this sender, or CONTINUE. Raises Busy."""

    def has_room(self, message: Message, octets: int) -> bool:
        """Returns whether `octets` more of the message may be kept. If not, `judge` is called
        without them."""

    def forget(self, message: Message) -> None:
        """Called when a message is over, no matter how it ended."""


class Session(asyncio.Protocol):
    """The connection for one SMTP session."""

    timeout_seconds = TIMEOUT_SECONDS

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._buffer = bytearray()
        self._message = Message()
        self._decision: asyncio.Task[Answer] | None = None
        self._transport: asyncio.Transport
        self._commands: dict[int, Callable[[bytes], None]] = {
            ord("O"): self._negotiate,
            ord("D"): self._set_macros,
            ord("C"): self._set_client,
            ord("H"): self._set_helo,
            ord("M"): self._set_sender,
            ord("R"): self._add_recipient,
            ord("L"): self._add_header,
            ord("B"): self._add_body,
            ord("E"): self._end,
            ord("A"): self._abort,
            ord("K"): self._renew,
            ord("Q"): self._quit,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self._decision:
            self._decision.cancel()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 5:
            (length,) = struct.unpack_from(">I", buffer, start)
            if not 1 <= length <= LONGEST_FRAME:
                log.error("a milter frame of an impossible length", listener=self._listener.name, length=length)
                self._transport.abort()
                return
            end = start + 4 + length
            if len(buffer) < end:
                break
            command = self._commands.get(buffer[start + 4])
            if command:
                command(bytes(buffer[start + 5 : end]))
            start = end
        del buffer[:start]

    def _send(self, command: bytes, data: bytes = b"") -> None:
        self._transport.write(struct.pack(">I", 1 + len(data)) + command + data)

    def _negotiate(self, data: bytes) -> None:
        version, actions, steps = struct.unpack_from(">III", data)
        wants = self._listener.wants
        leave = NO_UNKNOWN | NO_DATA | NO_END_OF_HEADERS | NO_REPLIES | LEADING_SPACE
        leave &= ~(NO_REPLY_TO_MAIL if wants & Want.SENDER else 0)
        leave |= 0 if wants & Want.CLIENT else NO_CONNECT | NO_HELO
        leave |= 0 if wants & Want.RECIPIENTS else NO_RCPT
        leave |= 0 if wants & Want.BODY else NO_BODY
        if version < VERSION or actions & ACTIONS != ACTIONS or steps & leave != leave:
            log.error("a mail server that offers too little", version=version, actions=actions, steps=steps)
            self._transport.abort()
            return
        # "i" is the queue id of the message. Without any macro Postfix sends its default list,
        # which costs look-ups.
        macros = dict.fromkeys(range(END_OF_HEADERS_STAGE + 1), "i") | {MAIL_STAGE: self._listener.macros}
        symbols = b"".join(struct.pack(">I", stage) + names.encode() + b"\0" for stage, names in macros.items())
        self._send(b"O", struct.pack(">III", VERSION, ACTIONS, leave) + symbols)

    def _set_macros(self, data: bytes) -> None:
        if data[:1] == b"L":  # sent before each header field, without new macros
            return
        if data[:1] == b"M":
            self._clear()
        words = data[1:].decode("utf-8", "surrogateescape").split("\0")
        self._message.macros.update(zip(words[::2], words[1::2], strict=False))

    def _set_client(self, data: bytes) -> None:
        """Parses host name, family, port and address of the client."""
        _, _, rest = data.partition(b"\0")
        self._message.client = rest[3:].rstrip(b"\0") if rest[:1] in (b"4", b"6") else b""

    def _set_helo(self, data: bytes) -> None:
        self._message.helo = data.rstrip(b"\0")

    def _set_sender(self, data: bytes) -> None:
        self._message.sender = data.partition(b"\0")[0]

    def _add_recipient(self, data: bytes) -> None:
        self._message.recipients.append(data.partition(b"\0")[0])

    def _add_header(self, data: bytes) -> None:
        name, _, value = data.partition(b"\0")
        value = value.removesuffix(b"\0")
        if self._listener.keeps(name.strip().lower()):
            message = self._message
            message.header_octets += len(data)
            if not message.is_cut:
                message.headers.append((name, value))

    def _add_body(self, data: bytes) -> None:
        self._message.body.append(data)

    def _end(self, data: bytes) -> None:
        if data:
            self._message.body.append(data)
        self._start(self._listener.judge(self._message))
        self._clear()

    def _start(self, judgement: Coroutine[None, None, Answer]) -> None:
        self._decision = asyncio.get_running_loop().create_task(self._decide(judgement))
        self._decision.add_done_callback(self._decided)

    async def _decide(self, judgement: Coroutine[None, None, Answer]) -> Answer:
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await judgement
        except (Busy, TimeoutError):
            return TEMPORARY

    def _decided(self, decision: asyncio.Task[Answer]) -> None:
        """Sends the decision. After a failure closes the connection, so that Postfix answers 451
        (milter_default_action)."""
        self._decision = None
        if decision.cancelled() or self._transport.is_closing():
            return
        if error := decision.exception():
            log.error("a message could not be judged", listener=self._listener.name, exc_info=error)
            self._transport.abort()
            return
        for command, data in decision.result().frames:
            self._send(command, data)

    def _abort(self, _data: bytes) -> None:
        if self._decision:
            self._decision.cancel()
        self._clear()

    def _renew(self, data: bytes) -> None:
        self._abort(data)
        self._message = Message()

    def _clear(self) -> None:
        """Prepares for the next message of the session, which has the same client and another
        envelope."""
        old = self._message
        self._message = Message(client=old.client, helo=old.helo)

    def _quit(self, _data: bytes) -> None:
        self._transport.close()


class EarlySession(Session):
    """The connection for one SMTP session, for a listener that answers at MAIL FROM."""

    timeout_seconds = 45.0

    def __init__(self, listener: EarlyListener) -> None:
        super().__init__(listener)
        self._early = listener

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._early.forget(self._message)

    def _set_sender(self, data: bytes) -> None:
        super()._set_sender(data)
        self._start(self._early.judge_sender(self._message))

    def _add_header(self, data: bytes) -> None:
        if self._early.has_room(self._message, len(data)):
            super()._add_header(data)

    def _add_body(self, data: bytes) -> None:
        if self._early.has_room(self._message, len(data)):
            super()._add_body(data)

    def _end(self, data: bytes) -> None:
        if data:
            self._add_body(data)
        message = self._message
        self._message = Message(client=message.client, helo=message.helo)
        self._start(self._early.judge(message))
        assert self._decision is not None
        self._decision.add_done_callback(lambda _: self._early.forget(message))

    def _clear(self) -> None:
        self._early.forget(self._message)
        super()._clear()
