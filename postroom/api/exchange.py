"""One HTTP request, and what the application has found out about it so far."""

import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from postroom.actor import Actor
from postroom.api.problems import NO_PATH

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
# The ASGI extension of our connection (reading.py): a function.
ALLOW_BODY = "postroom.allow_body"


class Exchange(msgspec.Struct):
    """A request, and the facts that are found out step by step. An error is answered with the facts
    that are known when it occurs. `peer` is the address of the connection. `route_path` is the path
    of the route, without the values that were sent; `missing` is the text of a 404 there.
    `answer_headers` belong to every answer, including problems. `allow_body` has the connection
    read a body of this many bytes."""

    method: str
    path: str
    raw_path: bytes
    query_text: bytes
    headers: Headers
    peer: str
    receive: Receive
    request_id: str
    allow_body: Callable[[int], None]
    actor: Actor | None = None
    route_path: str | None = None
    missing: str = NO_PATH
    answer_headers: tuple[tuple[bytes, bytes], ...] = ()


def begin(scope: Scope, receive: Receive) -> Exchange:
    """The exchange of an ASGI scope of the type `http`."""
    client = scope["client"]
    return Exchange(
        scope["method"],
        scope["path"],
        scope["raw_path"],
        scope["query_string"],
        scope["headers"],
        client[0] if client else "",
        receive,
        new_id(),
        (scope.get("extensions") or {}).get(ALLOW_BODY, _allow),
    )


def _allow(_largest: int) -> None:
    """A request without a body needs no permission."""


def new_id() -> str:
    """A new request id: 96 random bits in hexadecimal."""
    return os.urandom(12).hex()
