"""Accounts that take long leave room for the others, however many they are, and so do those that
have many mailboxes."""

import asyncio
from pathlib import Path

import pytest

from postroom.actor import Actor
from postroom.api import event_stream
from postroom.api.event_stream import EventStream
from postroom.errors import LimitReached
from postroom.messages import mailbox_watch
from postroom.messages.mailbox_states import MailboxState, States, id_of
from postroom.messages.mailbox_watch import MOST_ASKED, MOST_MAILBOXES, MOST_SLOW, Follower, MailboxWatch, check_number
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


def mailboxes(number: int, modseq: int = 1) -> States:
    return {str(one): MailboxState(1, 1, modseq, 1) for one in range(number)}


async def told(follower: Follower) -> States | None:
    """What the follower knows after the next change."""
    async with asyncio.timeout(60):
        await follower.changed.wait()
    follower.changed.clear()
    return follower.states


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox_watch, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(mailbox_watch, "ELSEWHERE_SECONDS", 0)


@pytest.mark.usefixtures("_quick")
def test_an_account_of_many_mailboxes(tmp_path: Path) -> None:
    """It is not followed; a stream ends when its account has too many, and may begin again."""

    async def work() -> None:
        number = MOST_MAILBOXES + 1

        async def ask(_account_id: int) -> tuple[States, bool]:
            check_number(number)
            return mailboxes(number), False

        watch = MailboxWatch(tmp_path, ask)
        with pytest.raises(LimitReached) as refused:
            await watch.follow(1)
        assert refused.value.limit == MOST_MAILBOXES
        number = MOST_MAILBOXES
        follower = await watch.follow(1)
        assert follower.states == mailboxes(number)
        number += 1
        assert await told(follower) is None
        number -= 1
        again = await watch.follow(1)
        assert again.states == mailboxes(number)
        for one in (follower, again):
            one.close()

    asyncio.run(work())


@pytest.mark.usefixtures("_quick")
def test_states_are_packed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all streams of an account, and only if something has changed."""
    packed: list[States] = []

    def pack(states: States) -> str:
        packed.append(states)
        return id_of(states)

    monkeypatch.setattr(mailbox_watch, "id_of", pack)
    monkeypatch.setattr(event_stream, "CHECK_SECONDS", 3600)

    async def allowed(_actor: Actor) -> bool:
        return True

    async def nothing() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def work() -> None:
        now, asked = mailboxes(2), 0

        async def ask(_account_id: int) -> tuple[States, bool]:
            nonlocal asked
            asked += 1
            return now, False

        watch = MailboxWatch(tmp_path, ask)
        streams = [EventStream(await watch.follow(1), None, allowed, lambda: None) for _ in range(5)]
        sent = [stream.pieces(nothing) for stream in streams]
        async with asyncio.timeout(60):
            assert {await anext(one) for one in sent} == {b"retry: 2000\n\n"}
            assert all([f"id: {id_of(now)}".encode() in await anext(one) for one in sent])
            while asked < 5:
                await asyncio.sleep(0)
            assert packed == [now]
            now = mailboxes(2, modseq=2)
            assert all([f"id: {id_of(now)}".encode() in await anext(one) for one in sent])
        assert packed == [mailboxes(2), now]
        for stream in streams:
            stream.close()

    asyncio.run(work())
