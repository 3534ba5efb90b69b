"""Large bodies are whole, in whatever pieces they come."""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.api.body import LARGEST
from postroom.api.exchange import Exchange, Receive
from postroom.api.large_bodies import MOST_OF_KEY, LargeBodies
from postroom.errors import Busy

LARGE = bytes(LARGEST + 1)


def read(folder: Path, pieces: Iterable[bytes]) -> bytes:
    messages = iter([*({"type": "http.request", "body": piece, "more_body": True} for piece in pieces), LAST])

    async def receive() -> Any:
        return next(messages)

    async def work() -> bytes:
        async with LargeBodies(folder).read(exchange_of(receive), Actor(1, root_id=1), 2 * len(LARGE)) as body:
            return body[:]

    return asyncio.run(work())


def exchange_of(receive: Receive) -> Exchange:
    headers = [(b"transfer-encoding", b"chunked"), (b"content-type", b"application/json")]
    return Exchange("POST", "/", b"/", b"", headers, "", receive, "", lambda _: None)


LAST = {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    "pieces",
    [[LARGE], [LARGE, b"the end"], [LARGE, b"x" * 4095, b"y"], [b"start", LARGE, b"z" * 9000], [b"small"], []],
    ids=["one", "a short last one", "two short ones", "a first one", "small", "empty"],
)
def test_it_is_whole(tmp_path: Path, pieces: list[bytes]) -> None:
    assert read(tmp_path, pieces) == b"".join(pieces)
    assert not list(tmp_path.iterdir())


def test_a_mail_token_has_one_place_of_its_key(tmp_path: Path) -> None:
    """A place is free again when its body has been worked on."""

    async def receive() -> Any:
        return LAST

    async def work() -> None:
        bodies = LargeBodies(tmp_path)

        async def begin(token_id: int | None = None) -> None:
            actor = Actor(1, root_id=1, token_id=token_id)
            await held.enter_async_context(bodies.read(exchange_of(receive), actor, len(LARGE)))

        for _ in range(2):
            async with AsyncExitStack() as held:
                await begin(1)
                with pytest.raises(Busy):
                    await begin(1)
                await begin(2)
                for _ in range(MOST_OF_KEY - 2):
                    await begin()
                for token_id in (3, None):
                    with pytest.raises(Busy):
                        await begin(token_id)

    asyncio.run(work())
