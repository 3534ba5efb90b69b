"""The milter protocol in situations that Postfix does not produce: pieces, impossible frames,
failures, several messages."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.errors import Busy
from postroom.milter.message import CONTINUE, LONGEST_HEADER, Answer, Message, refuse
from postroom.milter.protocol import LONGEST_FRAME, Session, Want

OFFER = struct.pack(">III", 6, 0x1FF, 0x1FFFFF)


class Recorder:
    """A listener that records its calls."""

    name = "recorder"
    wants = Want.NOTHING
    macros = "{auth_authen}"

    def __init__(self, judge: Callable[[Message], Answer] = lambda _: CONTINUE) -> None:
        self.seen: list[Message] = []
        self._judge = judge

    def keeps(self, name: bytes) -> bool:
        return name == b"from"

    async def judge(self, message: Message) -> Answer:
        self.seen.append(message)
        return self._judge(message)


def frame(command: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", 1 + len(data)) + command + data


def one_message(sender: bytes, *froms: bytes) -> bytes:
    headers = b"".join(frame(b"L", b"From\0" + value + b"\0") for value in froms)
    macros = frame(b"D", b"M{auth_authen}\x00" + sender + b"\0")
    return macros + frame(b"M", b"<" + sender + b">\0") + headers + frame(b"L", b"To\0x\0") + frame(b"E")


Frame = tuple[bytes, bytes]


class Line:
    """Postfix's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes) -> Frame | None:
        """Sends bytes and returns the frame of the answer; None if the connection was closed."""
        self.writer.write(data)
        async with asyncio.timeout(20):
            try:
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                answer = await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
        return answer[:1], answer[1:]


def talk(tmp_path: Path, listener: Recorder, say: Callable[[Line], Awaitable[None]]) -> None:
    async def run() -> None:
        path = tmp_path / "socket"
        path.unlink(missing_ok=True)
        server = await asyncio.get_running_loop().create_unix_server(lambda: Session(listener), path)
        line = Line(*await asyncio.open_unix_connection(path))
        try:
            await say(line)
        finally:
            line.writer.close()
            server.close()

    asyncio.run(run())


def test_it_works_in_pieces(tmp_path: Path) -> None:
    listener = Recorder()

    async def say(line: Line) -> None:
        assert (await line.ask(frame(b"O", OFFER)) or b"")[0] == b"O"
        data = one_message(b"a", b"x", b"y")
        for number in range(len(data) - 1):
            line.writer.write(data[number : number + 1])
            await line.writer.drain()
            await asyncio.sleep(0)
        assert await line.ask(data[-1:]) == (b"c", b"")
        assert await line.ask(frame(b"Q")) is None

    talk(tmp_path, listener, say)
    (seen,) = listener.seen
    assert seen.sender == b"<a>"
    assert seen.macros == {"{auth_authen}": "a"}
    assert seen.headers == [(b"From", b"x"), (b"From", b"y")]


def test_a_session_has_several_messages_that_share_nothing(tmp_path: Path) -> None:
    listener = Recorder(lambda message: refuse(550, "5.7.1", f"100% {message.sender!r}"))
    given_up = frame(b"D", b"M{auth_authen}\0gone\0") + frame(b"M", b"<gone>\0") + frame(b"L", b"From\0z\0")

    async def say(line: Line) -> None:
        await line.ask(frame(b"O", OFFER))
        for number, sender in enumerate((b"a", b"b", b"c")):
            data = given_up + frame(b"A") * (number % 2) + one_message(sender, sender)
            assert await line.ask(data) == (b"y", b"550 5.7.1 100%% b'<" + sender + b">'\0")

    talk(tmp_path, listener, say)
    assert [seen.sender for seen in listener.seen] == [b"<a>", b"<b>", b"<c>"]
    assert [seen.macros["{auth_authen}"] for seen in listener.seen] == ["a", "b", "c"]
    assert [seen.headers for seen in listener.seen] == [[(b"From", name)] for name in (b"a", b"b", b"c")]


@pytest.mark.parametrize("length", [0, LONGEST_FRAME + 1, 2**32 - 1])
def test_an_impossible_frame_ends_the_connection(tmp_path: Path, length: int) -> None:
    listener = Recorder()

    async def say(line: Line) -> None:
        assert await line.ask(struct.pack(">I", length) + b"E" * 10) is None

    talk(tmp_path, listener, say)
    assert listener.seen == []


def test_a_mail_server_that_offers_too_little_is_not_served(tmp_path: Path) -> None:
    async def say(line: Line) -> None:
        assert await line.ask(frame(b"O", struct.pack(">III", 6, 1, 0))) is None

    talk(tmp_path, Recorder(), say)


def failing(error: Exception) -> Callable[[Message], Answer]:
    def judge(_: Message) -> Answer:
        raise error

    return judge


def test_a_busy_database_is_451(tmp_path: Path) -> None:
    async def say(line: Line) -> None:
        await line.ask(frame(b"O", OFFER))
        answer = await line.ask(one_message(b"a"))
        assert answer == (b"y", b"451 4.3.0 The database does not answer: try again\0")

    talk(tmp_path, Recorder(failing(Busy("x"))), say)


def test_a_failure_closes_the_connection(tmp_path: Path) -> None:
    """Postfix then answers 451 (milter_default_action)."""

    async def say(line: Line) -> None:
        await line.ask(frame(b"O", OFFER))
        assert await line.ask(one_message(b"a")) is None

    talk(tmp_path, Recorder(failing(ValueError("x"))), say)


def test_endless_header_fields_are_cut(tmp_path: Path) -> None:
    listener = Recorder()

    async def say(line: Line) -> None:
        await line.ask(frame(b"O", OFFER))
        assert await line.ask(one_message(b"a", *[b"x" * 100_000] * 20)) == (b"c", b"")

    talk(tmp_path, listener, say)
    (seen,) = listener.seen
    assert seen.is_cut
    assert sum(len(value) for _, value in seen.headers) <= LONGEST_HEADER


def test_percent_signs_and_letters_beyond_ascii_in_a_refusal() -> None:
    assert refuse(550, "5.7.1", "100% Jürgen").frames == ((b"y", b"550 5.7.1 100%% J?rgen\0"),)
