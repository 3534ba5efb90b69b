"""A client's connection: the time bounds of its waits, the number of connections, and the last
answer before it closes.

Every wait for a client has a bound: for a head, for a body (`body`), for the next request, and for
the client to take an answer. Connections that wait for their client are counted by address, so that
one address cannot hold the connections that all others need (decision 0131).
"""

import asyncio
import functools
import os
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from postroom.api import problems
from postroom.api.app import App
from postroom.api.client_address import client_address
from postroom.api.cycle import Cycle
from postroom.api.peers import Peer, Peers
from postroom.api.reading import Reader
from postroom.api.replies import ALWAYS
from postroom.errors import Refused
from postroom.log import log

HEAD_SECONDS = 10.0
# Seconds. Common proxies close an idle connection sooner than this, so that no proxy sends a
# request into a connection that this server has just closed.
KEEP_ALIVE_SECONDS = 75
# Connections. A process may usually have 1,024 files open. A connection above the maximum gets an
# answer that says so, but only MOST_REFUSED at a time.
MOST_CONNECTIONS = 900
MOST_REFUSED = 50
# Connections of one address that may wait for their client: for the rest of a request, or for the
# client to take an answer.
MOST_WAITING = 512
# Seconds for which input is discarded after an answer to an unreadable request, so that the answer
# arrives.
LINGER_SECONDS = 2.0
# When an answer does not fit into the system's buffers, a client must take at least SLOWEST_BYTES
# in every STALL_SECONDS.
STALL_SECONDS = 10.0
SLOWEST_BYTES = 4096


class Connection(Reader):
    """A connection that is bounded in size, time and number. A request that cannot be read is
    answered like any other problem."""

    _counted: Peer | None = None  # the peer that this connection is counted for while it waits for its client
    _is_refused = False
    _unsent = 0  # bytes of answers that the client had not taken at the last check
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        peers: Peers | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._peers = Peers() if peers is None else peers

    # --- open and close

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.write, self.is_closing = transport.write, transport.is_closing  # what a cycle needs of its transport
        self._peer = self._peers.enter(self.client[0] if self.client else "")
        if len(self.connections) - self._peers.refused > MOST_CONNECTIONS and not self._make_room():
            self._refuse("busy", "There are too many connections.")
            return
        self._arm(HEAD_SECONDS)
        self._count()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._stall is not None:
            self._stall.cancel()
        self._rest, self._given_up = b"", True
        self._release()
        self._peers.leave(self._peer)
        self._peers.refused -= self._is_refused
        super().connection_lost(exc)

    def close(self) -> None:
        """Ends the connection after an answer. What the client still sends is discarded for a time;
        otherwise the answer could be lost (RFC 9112 9.6)."""
        if self._given_up:
            return
        self._given_up = True
        self._unsent = self.transport.get_write_buffer_size()
        if self._in_body or self._rest:
            self._linger()
        else:
            self.transport.close()
            self._arm(STALL_SECONDS)
        self._count()

    def shutdown(self) -> None:
        """Ends a stream at once when the process stops. Other answers are completed."""
        cycle = self.cycle
        if isinstance(cycle, Cycle) and cycle.is_endless and not cycle.response_complete:
            if self.flow.write_paused:
                self.transport.abort()
            else:
                cycle.stop()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        if not self._given_up:
            self.close()

    # --- input

    def data_received(self, data: bytes) -> None:
        if self._given_up:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        is_between = not self._rest and not self._in_body and (self.cycle is None or self.cycle.response_complete)
        if is_between and self._read_plain(data):
            if self._deadline is not None:
                self._disarm()
            if self._counted is not None:
                self._count()
            return
        self._rest = self._rest + data if self._rest else data
        self._go_on()

    def on_response_complete(self) -> None:
        """Does what uvicorn does here, in one call: no request ever waits in uvicorn's pipeline."""
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        if self.is_closing():
            return
        self.flow.resume_reading()
        if self._given_up:
            return
        if self._in_body or self._rest:
            self._go_on()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._disarm()

    def _read_body(self) -> None:
        super()._read_body()
        if not self._in_body and not self._is_answering():  # the request was answered before its whole body had arrived
            self._disarm()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _go_on(self) -> None:
        try:
            self._read()
        except Refused as refused:
            self._fail(refused.code, refused.detail)
        is_idle = self.timeout_keep_alive_task is not None and not self._in_body and not self._rest
        if self._deadline is None and not is_idle and not self._is_answering():
            self._unset_keepalive_if_required()
            self._arm(HEAD_SECONDS)
        if self._counted is not None or self._in_body or self._rest:
            self._count()

    # --- requests that cannot be read

    def _fail(self, code: str, detail: str, lingers: bool = True) -> None:
        """Answers a request that cannot be read, and closes the connection."""
        self._given_up = True
        cycle = self.cycle
        if self._in_body and not self._is_answering():  # the request is already answered
            self.close()
            return
        if self._is_answering():  # the body is at fault: the application sees a disconnected client
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self._answer(code, detail)
        if lingers:
            self._linger()
        else:
            self.transport.close()

    def _refuse(self, code: str, detail: str) -> None:
        """Refuses a connection above the maximum, and lingers if fewer than 50 refused connections
        do so already. With `busy`, the connections beyond those are closed without an answer."""
        lingers = self._peers.refused < MOST_REFUSED
        self._given_up = self._is_refused = True
        self._peers.refused += 1
        self._release()
        if self.flow.write_paused or (code == "busy" and not lingers):
            self.transport.abort()
        else:
            self._fail(code, detail, lingers)

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
            *([(b"retry-after", b"1")] if code in ("busy", "too_many_requests") else []),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, _phrase(status), lines, body))
        address = self.client[0] if self.client else None
        log.info("request", method=None, route=None, status=status, request_id=request_id, client_address=address)

    def _linger(self) -> None:
        self._rest = b""
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._arm(LINGER_SECONDS)

    # --- time and number

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
            if self.flow.write_paused:
                return  # `_look` decides, and arms this deadline again
            if self._is_taking():
                self._arm(STALL_SECONDS)
            else:
                self.transport.abort()
        elif self._rest.strip(b"\r\n"):
            self._fail("request_timeout", f"The request head did not arrive within {HEAD_SECONDS:.0f} seconds.")
        else:
            self.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._watch()
        self._count()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
        if self._given_up:
            self._unsent = self.transport.get_write_buffer_size()
            self._arm(STALL_SECONDS)
        self._count()

    def _watch(self) -> None:
        self._stall = self.loop.call_later(STALL_SECONDS, self._look)

    def _look(self) -> None:
        if self._is_taking():
            self._watch()
        else:
            self.transport.abort()

    def _is_taking(self) -> bool:
        """Whether the client has taken at least SLOWEST_BYTES since the last check and more is
        still waiting."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return 0 < self._unsent <= before - SLOWEST_BYTES

    def _is_idle(self) -> bool:
        return self._counted is None and not self._given_up and not self._is_answering()

    def _count(self) -> None:
        """Counts this connection for its address while it waits for its client, and refuses or
        aborts it above MOST_WAITING."""
        if self._is_refused:
            return
        is_reading = self._in_body or self.cycle is None or (bool(self._rest) and not self._is_answering())
        waits = self._given_up or is_reading or self.flow.write_paused
        counted = self._whom_to_count() if waits else None
        if counted is self._counted:
            return
        self._release()
        self._counted = counted
        if counted is None:
            return
        counted.waiting += 1
        if counted.waiting > MOST_WAITING and not counted.is_trusted:
            if self._given_up:
                self.transport.abort()
            else:
                self._refuse("too_many_requests", "This address has too many requests that are not complete.")

    def _release(self) -> None:
        if self._counted is not None:
            self._peers.release(self._counted)
            self._counted = None

    def _whom_to_count(self) -> Peer:
        """The peer; for a body that comes through a trusted proxy, the client that the proxy
        names."""
        if not self._in_body or not self._peer.is_trusted:
            return self._peer
        headers = tuple(self.cycle.scope["headers"])
        return self._peers.of(client_address(self._peer.address, headers, self._peers.trusted))

    def _make_room(self) -> bool:
        """Closes an idle connection of the address with the most connections, if it has more than
        MOST_WAITING, to make room for another address. Returns whether it closed one."""
        largest = self._peers.largest()
        if largest.connections <= MOST_WAITING or largest is self._peer:
            return False
        idle = (other for other in self.connections if isinstance(other, Connection) and other._peer is largest)
        other = next((other for other in idle if other._is_idle()), None)
        if other is not None:
            other._given_up = True
            other.transport.abort()
        return other is not None


def configure(app: App | None, **options: Any) -> uvicorn.Config:
    """The configuration with which uvicorn serves the API."""
    protocol: Any = functools.partial(Connection, peers=Peers(app.trusted if app else ()))
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=protocol,
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
