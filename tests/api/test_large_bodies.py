"""Large bodies are whole, in whatever pieces they come."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.api.body import LARGEST
from postroom.api.exchange import Exchange
from postroom.api.large_bodies import LargeBodies

LARGE = bytes(LARGEST + 1)


def read(folder: Path, pieces: Iterable[bytes]) -> bytes:
    messages = iter([*({"type": "http.request", "body": piece, "more_body": True} for piece in pieces), LAST])

    async def receive() -> Any:
        return next(messages)

    async def work() -> bytes:
        headers = [(b"transfer-encoding", b"chunked"), (b"content-type", b"application/json")]
        exchange = Exchange("POST", "/", b"/", b"", headers, "", receive, "", lambda _: None)
        async with LargeBodies(folder).read(exchange, Actor(1, root_id=1), 2 * len(LARGE)) as body:
            return body[:]

    return asyncio.run(work())


LAST = {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    "pieces",
    [[LARGE], [LARGE, b"the end"], [LARGE, b"x" * 4095, b"y"], [b"start", LARGE, b"z" * 9000], [b"small"], []],
    ids=["one", "a short last one", "two short ones", "a first one", "small", "empty"],
)
def test_it_is_whole(tmp_path: Path, pieces: list[bytes]) -> None:
    assert read(tmp_path, pieces) == b"".join(pieces)
    assert not list(tmp_path.iterdir())
