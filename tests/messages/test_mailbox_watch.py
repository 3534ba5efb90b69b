"""Accounts that take long leave room for the others, however many they are."""

import asyncio
from pathlib import Path

import pytest

from postroom.actor import Actor
from postroom.messages import mailbox_watch
from postroom.messages.mailbox_states import MailboxState, States
from postroom.messages.mailbox_watch import MOST_ASKED, MOST_SLOW, MailboxWatch
from postroom.messages.shares import asker

QUICK = 100


def test_slow_accounts_leave_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(mailbox_watch, "ELSEWHERE_SECONDS", 0)
    monkeypatch.setattr(mailbox_watch, "SLOW_SECONDS", -1)
    asked: dict[int, int] = {}
    askers: set[Actor | None] = set()

    async def work() -> None:
        hanging = asyncio.Event()

        async def ask(account_id: int) -> tuple[States, bool]:
            asked[account_id] = asked.get(account_id, 0) + 1
            if account_id != QUICK and asked[account_id] > 2:
                askers.add(asker.get())
                await hanging.wait()
            return {"INBOX": MailboxState(1, asked[account_id], 1, 1)}, False

        asker.set(Actor(1, root_id=1))
        watch = MailboxWatch(tmp_path, ask)
        followers = [await watch.follow(number) for number in range(2 * MOST_ASKED)]
        async with asyncio.timeout(60):
            while sum(times > 2 for times in asked.values()) < MOST_SLOW:
                await asyncio.sleep(0)
            monkeypatch.setattr(mailbox_watch, "SLOW_SECONDS", 3600)
            followers.append(await watch.follow(QUICK))
            while asked[QUICK] < 5:
                await asyncio.sleep(0)
        assert sum(times > 2 for times in asked.values()) == MOST_SLOW + 1
        hanging.set()
        for follower in followers:
            follower.close()

    asyncio.run(work())
    assert askers == {None}
