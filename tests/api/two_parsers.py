"""The requests that our connection and h11, a stricter parser, see in the same bytes."""

import asyncio
import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.server import ServerState

from postroom.api.connection import Connection


class Seen(NamedTuple):
    """A complete request."""

    method: bytes
    target: bytes
    body: bytes


class Outcome(NamedTuple):
    """The end of a connection. `refusals` counts answers that the connection gave without the
    application."""

    requests: list[Seen]
    refusals: int
    has_ended: bool


class Scope(NamedTuple):
    """What the application learns about a request."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]
    rest: dict[str, Any]
    ends_connection: bool


class Wire(asyncio.Transport):
    """The client's end of a connection, in memory. It accepts everything, and sends unless the
    server has paused reading."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self.pieces = list(pieces)
        self.sent = b""
        self.has_ended = False
        self._is_paused = False

    def feed(self, connection: Connection) -> bool:
        """Sends the next piece. False if no piece is left or the piece may not be sent."""
        if not self.pieces or self._is_paused or self.has_ended:
            return False
        connection.data_received(self.pieces.pop(0))
        return True

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.has_ended = True

    abort = write_eof = close

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.has_ended

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4000) if name in ("peername", "sockname") else default


async def _application(seen: list[Seen], scope: Any, receive: Any, send: Any) -> None:
    """Answers every complete request."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    query = scope["query_string"]
    seen.append(Seen(scope["method"].encode(), scope["raw_path"] + (b"?" + query if query else b""), body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"ok"})


async def _telling(told: list[Scope], scope: Any, receive: Any, send: Any) -> None:
    """Like `_application`, but also records the scope in `told`."""
    rest = dict(scope)
    method, path, raw_path, query = (rest.pop(name) for name in ("method", "path", "raw_path", "query_string"))
    rest["extensions"] = sorted(rest.get("extensions", ()))  # their values are functions of the connection
    told.append(Scope(method, path, raw_path, query, list(rest.pop("headers")), rest, ends_connection=False))
    await _application([], scope, receive, send)


async def _talk(pieces: Sequence[bytes], told: list[Scope] | None = None) -> Outcome:
    seen: list[Seen] = []
    application = functools.partial(_application, seen) if told is None else functools.partial(_telling, told)
    config = uvicorn.Config(application, ws="none", interface="asgi3", proxy_headers=False, log_config=None)
    config.load()
    wire, connection = Wire(pieces), Connection(config, ServerState(), {})
    connection.connection_made(wire)
    is_quiet = False
    while not is_quiet:
        is_quiet = not wire.feed(connection)
        for _ in range(4):
            await asyncio.sleep(0)
    answers = len(re.findall(rb"HTTP/1\.1 [2-5][0-9]{2} ", wire.sent))
    outcome = Outcome(seen, answers - len(seen), wire.has_ended)
    connection.connection_lost(None)
    return outcome


def ours(*pieces: bytes) -> Outcome:
    """The outcome of our connection for these pieces of bytes."""
    return asyncio.run(_talk(pieces))


def scopes(*pieces: bytes) -> list[Scope]:
    """The scopes that the application gets for these pieces of bytes."""
    told: list[Scope] = []
    outcome = asyncio.run(_talk(pieces, told))
    return [one._replace(ends_connection=outcome.has_ended) for one in told]


def strict(data: bytes) -> list[Seen]:
    """The complete requests that h11 sees, if each is answered with 200."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1024 * 1024)
    if data:  # h11 takes empty bytes for the end of the connection
        parser.receive_data(data)
    seen, head, body = [], None, b""
    try:
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                head, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                seen.append(Seen(head.method, head.target, body))
                status = 400 if head.method == b"CONNECT" else 200
                parser.send(h11.Response(status_code=status, headers=[("content-length", "0")]))
                parser.send(h11.EndOfMessage())
                if parser.our_state is not h11.DONE:
                    break
                parser.start_next_cycle()
    except h11.RemoteProtocolError:
        pass
    return seen


def agree(*pieces: bytes) -> Outcome:
    """Raises AssertionError if our connection sees other requests than h11, or sees fewer requests
    and stays open."""
    found, expected = ours(*pieces), strict(b"".join(pieces))
    assert [(one.method, one.body) for one in found.requests] == [
        (one.method, one.body) for one in expected[: len(found.requests)]
    ]
    for one, other in zip(found.requests, expected, strict=False):
        assert one.target == other.target or not other.target.startswith(b"/") or b"#" in other.target
    assert found.refusals in (0, 1)
    assert found.has_ended or (len(found.requests) == len(expected) and not found.refusals)
    return found
