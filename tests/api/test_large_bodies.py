"""Large bodies are whole, in whatever pieces they come."""

import asyncio
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.api.body import LARGEST
from postroom.api.exchange import Exchange, Receive
from postroom.api.large_bodies import MOST_OF_KEY, LargeBodies
from postroom.errors import TooMany
from postroom.messages.shares import asker

LARGE = bytes(LARGEST + 1)


def read(folder: Path, pieces: Iterable[bytes]) -> bytes:
    messages = iter([*({"type": "http.request", "body": piece, "more_body": True} for piece in pieces), LAST])

    async def receive() -> Any:
        return next(messages)

    async def work() -> bytes:
        async with LargeBodies(folder).read(exchange_of(receive), 2 * len(LARGE)) as body:
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


FULL = """
import resource, sys
from pathlib import Path
from tests.api.test_large_bodies import LARGE, read
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
read(Path(sys.argv[1]), [LARGE])
"""


@pytest.mark.parametrize("room", [1000, len(LARGE) - 1], ids=["at a write", "at the end"])
def test_a_full_disk_is_told(tmp_path: Path, room: int) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, tmp_path, str(room)], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "postroom.errors.Busy: There is no room for a large request now. Try again."


def test_a_user_has_one_place_of_its_key(tmp_path: Path) -> None:
    """A place is free again when its body has been worked on."""

    async def receive() -> Any:
        return LAST

    async def work() -> None:
        bodies = LargeBodies(tmp_path)

        async def begin(user_id: str | None = None, root_id: int = 1) -> None:
            asker.set(Actor(1, user_id=user_id, root_id=root_id))
            await held.enter_async_context(bodies.read(exchange_of(receive), len(LARGE)))

        for _ in range(2):
            async with AsyncExitStack() as held:
                await begin("ann")
                with pytest.raises(TooMany):
                    await begin("ann")
                await begin("bob")
                for _ in range(MOST_OF_KEY - 2):
                    await begin()
                for user_id in ("carl", None):
                    with pytest.raises(TooMany):
                        await begin(user_id)
                await begin(root_id=2)

    asyncio.run(work())


def test_the_bodies_of_one_key_leave_a_turn(tmp_path: Path) -> None:
    """Of many large bodies of a key one is worked on, and those of others are too."""

    async def work() -> None:
        bodies, kept = LargeBodies(tmp_path), asyncio.Event()
        at_work: list[int] = []

        async def send(root_id: int) -> None:
            messages = iter([{"type": "http.request", "body": LARGE, "more_body": True}, LAST])

            async def receive() -> Any:
                return next(messages)

            asker.set(Actor(1, root_id=root_id))
            async with bodies.read(exchange_of(receive), 2 * len(LARGE)):
                at_work.append(root_id)
                if root_id == 1:
                    await kept.wait()

        mine = [asyncio.create_task(send(1)) for _ in range(MOST_OF_KEY)]
        async with asyncio.timeout(60):
            while not at_work:
                await asyncio.sleep(0)
            await asyncio.gather(*(send(number) for number in range(2, 8)))
        assert sorted(at_work) == [1, *range(2, 8)]
        kept.set()
        await asyncio.gather(*mine)
        assert at_work.count(1) == MOST_OF_KEY

    asyncio.run(work())
