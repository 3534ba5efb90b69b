"""Events as an endless iterator: it opens the stream again when the connection ends, and misses no
event.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import sleep
from typing import Generic, TypeVar

import httpx2

T = TypeVar("T")

# Seconds before a stream that has ended is opened again.
PAUSE_SECONDS = 1.0


class EventReader:
    """Reads the lines of a `text/event-stream` of the HTML standard. `last_id` is the id with which
    the stream goes on after the last event."""

    def __init__(self, last_id: str) -> None:
        self.last_id, self._id = last_id, last_id
        self._data: list[str] = []

    def feed(self, line: str) -> str | None:
        """Takes a line, without its end. Returns the data of the event that this line ends."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
            return None
        data, self._data, self.last_id = self._data, [], self._id
        return "\n".join(data) if data else None

    def restart(self) -> None:
        """Forgets what was read of an event whose end has not come."""
        self._data, self._id = [], self.last_id


class Events(Generic[T]):
    """Iterates over events as they happen, without an end. An error that no retry can fix is
    raised, as when the key was revoked."""

    def __init__(
        self, open_: Callable[[str], httpx2.Response], decode: Callable[[str, str], T], last_id: str = ""
    ) -> None:
        self._open, self._decode, self._last_id = open_, decode, last_id

    def __iter__(self) -> Iterator[T]:
        reader = EventReader(self._last_id)
        while True:
            response = self._open(reader.last_id)
            try:
                for line in response.iter_lines():
                    if data := reader.feed(line):
                        yield self._decode(data, reader.last_id)
            except httpx2.TransportError:
                pass
            finally:
                response.close()
            reader.restart()
            sleep(_pause())


class AsyncEvents(Generic[T]):
    """Like `Events`, for `async for`."""

    def __init__(
        self, open_: Callable[[str], Awaitable[httpx2.Response]], decode: Callable[[str, str], T], last_id: str = ""
    ) -> None:
        self._open, self._decode, self._last_id = open_, decode, last_id

    async def __aiter__(self) -> AsyncIterator[T]:
        reader = EventReader(self._last_id)
        while True:
            response = await self._open(reader.last_id)
            try:
                async for line in response.aiter_lines():
                    if data := reader.feed(line):
                        yield self._decode(data, reader.last_id)
            except httpx2.TransportError:
                pass
            finally:
                await response.aclose()
            reader.restart()
            await asyncio.sleep(_pause())


def _pause() -> float:
    """With jitter, so that many clients do not come back at the same moment."""
    return PAUSE_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311
