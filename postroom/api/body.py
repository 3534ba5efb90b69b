"""Reading a request body within its limits: 64 KiB, 30 seconds, JSON in UTF-8 or an XML document."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from postroom.errors import Refused

LARGEST = 64 * 1024
SECONDS = 30

TYPES = (b"application/json", b"application/json;charset=utf-8")
XML_TYPES = tuple(kind + charset for kind in (b"text/xml", b"application/xml") for charset in (b"", b";charset=utf-8"))


async def read_body(
    headers: Sequence[tuple[bytes, bytes]],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    types: Sequence[bytes] = TYPES,
) -> bytes:
    """The whole body. Raises payload_too_large, unsupported_media_type, request_timeout."""
    sent = dict(headers)
    length = sent.get(b"content-length", b"")
    if length.isdigit() and int(length) > LARGEST:
        raise _too_large()
    try:
        async with asyncio.timeout(SECONDS):
            body = await _receive_all(receive)
    except TimeoutError:
        raise Refused("request_timeout", f"The body did not arrive within {SECONDS} seconds.") from None
    # httptools drops the body of a request that offers an upgrade (h2c): done without it would be done wrongly.
    if not body and b"upgrade" in sent and (b"transfer-encoding" in sent or length not in (b"", b"0")):
        raise Refused("invalid_request", "A request with a body takes no Upgrade header here: speak plain HTTP/1.1.")
    if body and sent.get(b"content-type", b"").replace(b" ", b"").replace(b'"', b"").lower() not in types:
        raise Refused("unsupported_media_type", f"Send the body with Content-Type: {types[0].decode()}.")
    return body


async def _receive_all(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> bytes:
    chunks: list[bytes] = []
    size = 0
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


def _too_large() -> Refused:
    return Refused("payload_too_large", "The body may have at most 64 KiB.")
