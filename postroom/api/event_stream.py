"""An answer without an end: events of a mailbox as they happen, as `text/event-stream` of the HTML
standard.

Nothing waits in a stream for a slow client: the stream knows the states that the client was told,
and tells the differences from those to the present states. The key or token of a stream is checked
once a second, as that of a request is, so the stream ends with its key (decision 0335).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from postroom.actor import Actor
from postroom.api.exchange import Receive
from postroom.errors import Busy, Refused
from postroom.messages.mailbox_states import States, changes
from postroom.messages.mailbox_watch import Follower
from postroom.messages.shares import Shares

# Streams of one process: less than half of its connections. Of these, those of one account, user
# and key.
MOST_STREAMS = 400
MOST_OF_ACCOUNT = 10
MOST_OF_USER = 50
MOST_OF_KEY = 200
CHECK_SECONDS = 0.7
# Seconds after which a stream without events shows that it is alive. Proxies close a connection
# that is silent for a minute.
HEARTBEAT_SECONDS = 15.0
# The client waits this number of milliseconds before it comes back.
BEGIN = b"retry: 2000\n\n"
HEARTBEAT = b":\n\n"

_encode = msgspec.json.Encoder().encode


def event_streams() -> Shares:
    """Returns the places of the streams of this process."""
    return Shares("streams", MOST_STREAMS, account=MOST_OF_ACCOUNT, user=MOST_OF_USER, key=MOST_OF_KEY)


class EventStream:
    """One stream. `told` are the states that the client knows, or None. `is_allowed` says whether
    an actor may go on with it."""

    def __init__(
        self,
        follower: Follower,
        told: States | None,
        is_allowed: Callable[[Actor], Awaitable[bool]],
        end: Callable[[], None],
    ) -> None:
        self._follower, self._told, self._is_allowed, self._end = follower, told, is_allowed, end
        self.authenticate: Callable[[], Awaitable[Actor]] | None = None

    def close(self) -> None:
        """Frees the place of the stream for another stream. A second call does nothing."""
        self._follower.close()
        end, self._end = self._end, lambda: None
        end()

    async def pieces(self, receive: Receive) -> AsyncIterator[bytes]:
        """Yields what is sent, until the client is gone or is not allowed any more."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            yield BEGIN
            spoke = checked = time.monotonic()
            while not gone.done():
                self._follower.changed.clear()
                states = self._follower.states
                if states is None:
                    return
                if piece := self._news(states):
                    yield piece
                    spoke = time.monotonic()
                await self._wait(gone)
                now = time.monotonic()
                if now - checked >= CHECK_SECONDS:
                    if not await self._may_go_on():
                        return
                    checked = time.monotonic()
                if now - spoke >= HEARTBEAT_SECONDS:
                    yield HEARTBEAT
                    spoke = now
        finally:
            gone.cancel()

    def _news(self, states: States) -> bytes:
        """The events since the states that the client knows. Only the last one has an id: a client
        that has not got all of them gets them again."""
        events = [b"data: %b\n" % _encode(one) for one in changes(self._told, states)]
        self._told = states
        id_ = self._follower.states_id.encode()
        return b"\n".join((*events[:-1], b"id: %b\n%b\n" % (id_, events[-1]))) if events else b""

    async def _wait(self, gone: "asyncio.Future[None]") -> None:
        changed = asyncio.ensure_future(self._follower.changed.wait())
        try:
            await asyncio.wait((gone, changed), timeout=CHECK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def _may_go_on(self) -> bool:
        """Whether the stream may go on. Not if the database does not answer: the client has to ask
        again."""
        try:
            return self.authenticate is not None and await self._is_allowed(await self.authenticate())
        except (Refused, Busy):
            return False


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
