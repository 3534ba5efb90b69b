"""Reads the requests of a connection one at a time: the next one after the current one is answered.

`framing` decides where each request ends. llhttp gets a complete and valid head, then exactly the
bytes of the body, and must agree on the end; otherwise the connection ends. Trailers are dropped:
uvicorn would append them to the headers, where they could forge the client's address without the
proxy's knowledge (decision 0027).
"""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from postroom.api import framing, plain_head
from postroom.api.cycle import Cycle
from postroom.api.exchange import ALLOW_BODY
from postroom.api.framing import CHUNKED, Chunks, Framing
from postroom.errors import Refused

LARGEST_HEAD = 32 * 1024
# Bytes of a head in addition to its target and headers: the method, the version, spaces and line
# ends.
_LINE = 64
MOST_HEADERS = 100
# Bytes of one whole request: its body may have 64 KiB, and a chunk of one byte takes six.
LARGEST_REQUEST = 1024 * 1024


class Reader(HttpToolsProtocol):
    """The part of a connection that reads requests."""

    _rest = b""  # bytes received but not read yet
    _searched = 0  # leading bytes of `_rest` that are known not to contain the end of a head
    _framing = Framing(0, False, False)  # that of the request being read
    _in_body = False
    _missing = 0  # bytes still to come of a body of known size
    _chunks: Chunks | None = None
    _ended = False  # llhttp has seen the end of the request
    _largest = LARGEST_REQUEST  # of the request being read
    _received = 0  # bytes of the request that have been read
    _given_up = False  # further input is discarded

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._framers: list[framing.Header] = []

    def _read(self) -> None:
        """Reads until the next request has to wait for the answer to the current one. Raises
        Refused."""
        while self._rest and not self._given_up:
            if self._in_body:
                self._read_body()
            elif self._is_answering():
                self.flow.pause_reading()
                return
            elif not self._read_head():
                return

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _read_plain(self, data: bytes) -> bool:
        """Begins a request without llhttp, if `data` is exactly one plain head. Otherwise returns
        False and changes nothing."""
        head = plain_head.read(data)
        if head is None:
            return False
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "method": head.method,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "headers": head.headers,
            "state": self.app_state.copy(),
        }
        self._begin(scope, framing.PLAIN)
        return True

    def _read_head(self) -> bool:
        """Reads the head and begins its request. Returns False if the head is not complete yet.
        Raises Refused."""
        rest, searched = self._rest, self._searched
        end = rest.find(framing.END, searched - 3 if searched > 3 else 0) + 4
        if end < 4 or not framing.LINE.match(rest):
            return self._wait_for_head()
        if end > LARGEST_HEAD + _LINE:
            raise _head_too_large()
        self._received, self._searched, self._rest = end, 0, rest[end:]
        self._feed(rest[:end] if self._rest else rest)
        body = self._framing.body
        if self._ended != (body == 0):
            raise framing.unframed()
        self._in_body, self._missing = body != 0, max(body, 0)
        self._chunks = Chunks() if body == CHUNKED else None
        self._begin(self.scope, self._framing)
        return True

    def _wait_for_head(self) -> bool:
        rest = self._rest
        if len(rest) <= _LINE and framing.EMPTY_LINES.fullmatch(rest):
            return False  # only empty lines: nothing to answer, but a request after them is refused
        if rest.find(framing.END, max(self._searched - 3, 0)) >= 0 or not framing.BEGIN.match(rest):
            raise framing.unframed()
        if len(rest) > LARGEST_HEAD + _LINE:
            raise _head_too_large()
        self._searched = len(rest)
        return False

    def _read_body(self) -> None:
        rest, chunks = self._rest, self._chunks
        size = chunks.take(rest) if chunks else min(self._missing, len(rest))
        self._missing -= 0 if chunks else size
        self._rest = rest[size:]
        self._received += size
        self._feed(rest[:size])
        is_over = chunks.ended if chunks else not self._missing
        if self._ended != is_over:
            raise framing.unframed()
        if is_over:
            self._in_body = False
            self.cycle.more_body = False
            self.cycle.message_event.set()
        elif self._received > self._largest:
            raise Refused("payload_too_large", "The body is too large, or its chunks have too much overhead.")

    def _allow(self, cycle: Cycle, largest: int) -> None:
        """Called by the application that answers the request, if it takes a large body."""
        if cycle is self.cycle:
            self._largest = LARGEST_REQUEST + largest

    def _feed(self, data: bytes) -> None:
        """Feeds `data` to llhttp, which must end the request where `framing` does. Raises
        Refused."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if upgrade.args[0] != len(data):
                raise framing.unframed() from None
        except httptools.HttpParserError as error:
            cause = error.__context__
            raise cause if isinstance(cause, Refused) else framing.unframed() from None

    # --- callbacks of llhttp

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._framers = []
        self._ended = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in framing.FRAMING:
            self._framers.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if len(self.headers) > MOST_HEADERS:
            raise _head_too_large()
        if self._received > LARGEST_HEAD:  # a cheap upper bound: take the exact sum only if it may be too large
            lengths = (len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + sum(lengths) > LARGEST_HEAD:
                raise _head_too_large()
        parser, scope = self.parser, self.scope
        method, version = parser.get_method().decode("ascii"), parser.get_http_version()
        url, host = self.url, None
        if url.startswith(b"/") and b"#" not in url and method != "CONNECT":
            raw_path, _, query = url.partition(b"?")
        else:
            raw_path, query, host = framing.target(method, url)
        self._framing = framing.framing(version, self._framers, parser.should_upgrade())
        path = raw_path.decode("ascii")
        scope["method"] = method
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        if host is not None:  # RFC 9112 3.2.2: the host of an absolute target replaces the Host header
            self.headers[:] = [*(pair for pair in self.headers if pair[0] != b"host"), (b"host", host)]
        self.headers = []  # trailers go here and are dropped

    def on_message_complete(self) -> None:
        self._ended = True

    def _begin(self, scope: Any, framed: Framing) -> None:
        """Starts the application's answer to the request whose head has been read."""
        cycle = self.cycle = Cycle(
            scope,
            self,  # type: ignore[arg-type]  # as its transport, so that this object sees when it closes
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            framed.expects_continue,
            framed.keeps_alive,
            self.on_response_complete,
        )
        self._largest = LARGEST_REQUEST
        cycle.more_body = framed.body != 0
        if framed.body:
            scope["extensions"] = {ALLOW_BODY: partial(self._allow, cycle)}
        else:
            cycle.message_event.set()
        self._start_asgi_task(cycle, self.app)


def _head_too_large() -> Refused:
    return Refused(
        "headers_too_large",
        f"The request line and headers may have {LARGEST_HEAD // 1024} KiB, in at most {MOST_HEADERS} headers.",
    )
