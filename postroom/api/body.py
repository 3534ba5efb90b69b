"""Reads a request body within its bounds: 64 KiB, 30 seconds, JSON in UTF-8 or an XML document.

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


async def read_body(
    headers: Sequence[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    types: Sequence[bytes] = TYPES,
) -> bytes:
    """The whole body. Raises `payload_too_large`, `unsupported_media_type`, `request_timeout`."""
    length = next((value for name, value in headers if name == b"content-length"), b"")
    if length.isdigit() and int(length) > LARGEST:
        raise _too_large()
    try:
        async with asyncio.timeout(min(FIRST_SECONDS, SECONDS)) as deadline:
            body = await _receive_all(receive, deadline)
    except TimeoutError:
        said = f"The body came too slowly: it has {FIRST_SECONDS} seconds, one more for each KiB, {SECONDS} at most."
        raise Refused("request_timeout", said) from None
    if body:
        sent = [value for name, value in headers if name == b"content-type"]
        if not sent or not all(media_type.is_one_of(value, types) for value in sent):
            raise Refused("unsupported_media_type", f"Send the body with Content-Type: {types[0].decode()}.")
    return body


async def _receive_all(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], deadline: asyncio.Timeout) -> bytes:
    chunks: list[bytes] = []
    size = 0
    began = asyncio.get_running_loop().time()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("invalid_request", "The client went away.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > LARGEST:
            raise _too_large()
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        deadline.reschedule(began + min(SECONDS, FIRST_SECONDS + size / SLOWEST_BYTES_PER_SECOND))


def _too_large() -> Refused:
    return Refused("payload_too_large", "The body may have at most 64 KiB.")
