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


class Exchange(msgspec.Struct):
    """What came, and what is found out step by step: a problem is answered with as much of it as
    was known when it arose. `peer` is the address of the connection. `route_path` is the path of
    the route, without what was sent in it; `missing` is what a 404 says there. `answer_headers`
    belong to every answer, also to a problem."""

    method: str
    path: str
    raw_path: bytes
    query_text: bytes
    headers: Headers
    peer: str
    receive: Receive
    request_id: str
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
    )


def new_id() -> str:
    """A request id."""
    return os.urandom(12).hex()
