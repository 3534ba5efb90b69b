"""One connection of a client: uvicorn's protocol, with bounds for what comes before the application is asked.

A stranger would get wrong: the parser keeps a header until it is whole and uvicorn keeps all of them, so without
these bounds a client without a key fills the memory, or holds connections for nothing. And uvicorn appends
trailers to the headers; here they are dropped, else one could name a client's address behind the proxy's back.
"""

import asyncio
import os
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from postroom.api import problems
from postroom.api.app import ALWAYS, App

LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
# All bytes of one request: its body may have 64 KiB, and chunks of one byte take six.
LARGEST_REQUEST = 1024 * 1024
HEAD_SECONDS = 10.0
# Longer than the common proxies keep a connection, so that they close it and no request meets a closed one.
KEEP_ALIVE_SECONDS = 75
# A process may usually have 1,024 files open. Those too many are told so, but only some at a time.
MOST_CONNECTIONS = 900
MOST_REFUSED = 50
# After an answer to what could not be read, the rest is thrown away so long, so that the answer arrives.
LINGER_SECONDS = 2.0

log = structlog.get_logger()


class _HeadTooLarge(Exception):
    pass


class Cycle(RequestResponseCycle):
    """One request and its answer. Head and body leave in one write: with two it is a call of the system more, and
    mostly a packet."""

    _head: Any = None  # waits for its body

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await super().send(message)
        elif not self._send_whole(head, message):
            await super().send(head)
            await super().send(message)

    def _send_whole(self, head: Any, message: Any) -> bool:
        """Sends an answer that is all there. What is not is left to uvicorn: a file in pieces, an answer without its
        length, a client that reads slowly, and a header with a line break in it, which uvicorn refuses."""
        sent = [*self.default_headers, *head["headers"]]
        lines = b"".join([b"%b: %b\r\n" % header for header in sent])
        is_plain = lines.count(b"\n") == lines.count(b"\r") == len(sent) and b"content-length: " in lines
        if not is_plain or self.disconnected or self.flow.write_paused or message.get("more_body"):
            return False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.response_started = self.response_complete = True
        self.transport.write(b"".join((STATUS_LINE[head["status"]], lines, end, message["body"])))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True


class Connection(HttpToolsProtocol):
    """A connection whose head, size and time are bounded. What cannot be read is answered as any other problem."""

    _in_head = False
    _given_up = False  # whatever comes is thrown away
    _received = 0  # bytes of the request that is being read, but for those that came with the end of the last one
    _chunk = 0  # bytes that came together last
    _fresh = True  # nothing of another request came with them
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS + MOST_REFUSED:
            transport.abort()
        elif len(self.connections) > MOST_CONNECTIONS:
            self._fail("busy", "There are too many connections.")
        else:
            self._arm(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._given_up:
            return
        self._unset_keepalive_if_required()
        self._chunk = len(data)
        self._fresh = self.cycle is None or not self.cycle.more_body
        self._received += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _HeadTooLarge):
                self._fail_for_size()
            else:
                self._fail("invalid_request", "This is not HTTP/1.1.")
            return
        if self._in_head and self._received > LARGEST_HEAD:
            self._fail_for_size()
        elif self._received > LARGEST_REQUEST:
            self._stop_reading()
        elif self._deadline is None and (self._in_head or self.cycle is None or self.cycle.response_complete):
            self._arm(HEAD_SECONDS)

    def _feed(self, data: bytes) -> None:
        """An offer to upgrade is ignored, and what comes behind it is the next request."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            else:
                return

    def on_message_begin(self) -> None:
        self._in_head = True
        self._received = self._chunk if self._fresh else 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_HEADERS:
            raise _HeadTooLarge
        if self._received + self._chunk > LARGEST_HEAD:  # more than it can be, so the sum is taken only where it may be
            lengths = (len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + sum(lengths) > LARGEST_HEAD:
                raise _HeadTooLarge
        self._in_head = self._fresh = False
        self._disarm()
        self._begin()
        self.headers = []  # where trailers go

    def _begin(self) -> None:
        """What uvicorn does with a head, with our cycle, and without WebSockets and a root path."""
        parser, url, before = self.parser, httptools.parse_url(self.url), self.cycle
        path, version = url.path.decode("ascii"), parser.get_http_version()
        self.scope["method"] = parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = url.path
        self.scope["query_string"] = url.query or b""
        self.cycle = Cycle(
            self.scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _fail_for_size(self) -> None:
        detail = f"The request line and headers may have {LARGEST_HEAD // 1024} KiB, in at most {MOST_HEADERS} headers."
        self._fail("headers_too_large", detail)

    def _fail(self, code: str, detail: str) -> None:
        """Answers what cannot be read and closes, but lets requests that came whole before it be answered first."""
        self._given_up = True
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._answer(code, detail)
        elif not cycle.more_body:
            cycle.keep_alive = False
        elif self.pipeline or cycle.response_started:
            self.transport.close()
        else:  # its own body is at fault: for the application the client has gone
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer(code, detail)

    def _stop_reading(self) -> None:
        """The request has come to an end for us; the application answers it, or has done so."""
        self._given_up = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
        self._arm(HEAD_SECONDS)

    def _answer(self, code: str, detail: str) -> None:
        request_id = os.urandom(12).hex()
        status, body = problems.encode(code, detail, request_id)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", problems.MEDIA_TYPE.encode()),
            *ALWAYS,
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if code == "busy" else []),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, _phrase(status), lines, body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(LINGER_SECONDS)
        address = self.client[0] if self.client else None
        log.info("request", method=None, route=None, status=status, request_id=request_id, client_address=address)

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._too_late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self._given_up:
            self.transport.abort()
        elif self._in_head:
            self._fail("request_timeout", f"The request head did not arrive within {HEAD_SECONDS:.0f} seconds.")
        else:
            self.transport.close()


def configure(app: App, **options: Any) -> uvicorn.Config:
    """How uvicorn serves the API."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        **options,
    )


def _phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
