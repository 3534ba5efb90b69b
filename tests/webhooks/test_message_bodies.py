"""The reading of messages for webhooks: who waits for whom."""

import asyncio

import pytest

from postroom.errors import MailUnavailable
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.service import message_bodies
from postroom.service.message_bodies import AT_ONCE, MessageBodies, NotAsked
from postroom.webhooks.attempts import Message


class Silent:
    """A Dovecot that never answers."""

    async def folders(self, _account_id: int) -> list[Folder]:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    async def find(self, _account_id: int, _trace: str, _since: int) -> list[tuple[str, int]]:
        return []


def message(account_id: int, node_id: int) -> Message:
    return Message(account_id, 7, 1, "t", 1, "a@demo.test", "u", node_id)


def test_a_message_that_waits_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Says nothing of its own mailbox; another node's slots are free."""

    async def failures() -> list[BaseException | bytes | None]:
        read = MessageBodies(None, Silent(), "http://127.0.0.1")  # type: ignore[arg-type]
        monkeypatch.setattr(message_bodies, "READ_SECONDS", 3600)
        asked = [asyncio.create_task(read(message(number, 1))) for number in range(AT_ONCE)]
        await asyncio.sleep(0)
        monkeypatch.setattr(message_bodies, "READ_SECONDS", 0.05)
        waiting = [read(message(AT_ONCE, 1)), read(message(AT_ONCE + 1, 1)), read(message(99, 2))]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        for task in asked:
            task.cancel()
        return found

    assert [type(error) for error in asyncio.run(failures())] == [NotAsked, NotAsked, MailUnavailable]
