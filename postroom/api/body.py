"""Reads a request body within its bounds: 64 KiB, 30 seconds, JSON in UTF-8 or an XML document. A
route may take larger bodies (large_bodies.py).

A body that does not arrive holds a connection. So a body has 10 seconds, and one more second for
each KiB that has arrived.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from postroom.api import media_type
from postroom.errors import Refused

LARGEST = 64 * 1024
SECONDS = 30
FIRST_SECONDS = 10
SLOWEST_BYTES_PER_SECOND = 1024

TYPES = (b"application/json",)
XML_TYPES = (b"text/xml", b"application/xml")

Headers = Sequence[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def read_body(headers: Headers, receive: Receive, types: Sequence[bytes] = TYPES) -> bytes:
    """The whole body. Raises `payload_too_large`, `unsupported_media_type`, `request_timeout`."""
    chunks: list[bytes] = []
    await receive_body(headers, receive, chunks.append, LARGEST, SECONDS, types)
    return b"".join(chunks)


async def receive_body(
    headers: Headers,
    receive: Receive,
    keep: Callable[[bytes], object],
    largest: int,
    seconds: int,
    types: Sequence[bytes] = TYPES,
) -> int:
    """Gives the body to `keep` in pieces. Returns its length. Raises as `read_body`."""
    if declared(headers) > largest:
        raise _too_large(largest)
    try:
        async with asyncio.timeout(min(FIRST_SECONDS, seconds)) as deadline:
            size = await _receive_all(receive, keep, largest, seconds, deadline)
    except TimeoutError:
        said = f"The body came too slowly: it has {FIRST_SECONDS} seconds, one more for each KiB, {seconds} at most."
        raise Refused("request_timeout", said) from None
    if size:
        sent = [value for name, value in headers if name == b"content-type"]
        if not sent or not all(media_type.is_one_of(value, types) for value in sent):
            raise Refused("unsupported_media_type", f"Send the body with Content-Type: {types[0].decode()}.")
    return size


def declared(headers: Headers) -> int:
    """The length that the head of the request names; 0 if it names none."""
    length = next((value for name, value in headers if name == b"content-length"), b"")
    return int(length) if length.isdigit() else 0


async def _receive_all(
    receive: Receive, keep: Callable[[bytes], object], largest: int, seconds: int, deadline: asyncio.Timeout
) -> int:
    size = 0
    began = asyncio.get_running_loop().time()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("invalid_request", "The client went away.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > largest:
            raise _too_large(largest)
        keep(chunk)
        if not message.get("more_body", False):
            return size
        deadline.reschedule(began + min(seconds, FIRST_SECONDS + size / SLOWEST_BYTES_PER_SECOND))


def _too_large(largest: int) -> Refused:
    most = f"{largest // 1024} KiB" if largest < 1024 * 1024 else f"{largest // 1024 // 1024} MiB"
    return Refused("payload_too_large", f"The body may have at most {most}.")
