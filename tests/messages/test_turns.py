"""Requests that wait for an IMAP session or for their turn to send are bounded, so that nobody
fills the connections of a process, or stops what others do."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.errors import Busy, MailUnavailable, Refused
from postroom.messages import imap_sessions, outbox, turns
from postroom.messages.doors import Way
from postroom.messages.drafts import Draft, DraftAttachment
from postroom.messages.imap_sessions import ImapSessions
from postroom.messages.outbox import PostfixOutbox
from postroom.messages.people import Person
from postroom.messages.shares import Shares, asker
from postroom.messages.turns import MOST_WAITING, Turns

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class ClosedDoor:
    """Opens no session, and says so late."""

    def __init__(self) -> None:
        self.is_waited_for, self.late = threading.Semaphore(0), threading.Event()

    def open(self, _account_id: int) -> Way:
        self.is_waited_for.release()
        self.late.wait()
        raise OSError


def ask_as(root_id: int, user_id: str | None = None) -> None:
    asker.set(Actor(1, root_id=root_id, user_id=user_id))


def turns_of(places: Shares, seconds: float = 3600.0) -> Turns:
    return Turns(places, partial(MailUnavailable, "Too late."), seconds)


async def settled(jobs: list[asyncio.Task[Any]], number: int) -> None:
    """Waits until this number of jobs is done."""
    async with asyncio.timeout(60):
        while sum(job.done() for job in jobs) < number:
            await asyncio.sleep(0.001)


def test_few_wait_for_a_session() -> None:
    """Requests for one account: some have a session, some wait, and the others are refused."""
    door = ClosedDoor()

    async def work() -> list[BaseException | None]:
        sessions, served = ImapSessions(), imap_sessions.MOST_OF_ACCOUNT + turns.MOST_OF_ACCOUNT
        ask_as(1)
        jobs = [asyncio.create_task(sessions.run(door, 1, str)) for _ in range(served + 50)]
        try:
            await settled(jobs, 50)
            assert sum(job.done() for job in jobs) == 50
        finally:
            door.late.set()
        await settled(jobs, len(jobs))
        return [job.exception() for job in jobs]

    errors = asyncio.run(work())
    told = [str(error) for error in errors if isinstance(error, MailUnavailable)]
    assert len(told) == len(errors)
    assert sum("Too many messages are read now" in one for one in told) == 50


@pytest.mark.parametrize(
    ("most", "of"),
    [
        (turns.MOST_OF_ACCOUNT, lambda number: (number, None, 1)),
        (turns.MOST_OF_USER, lambda number: (1, "ann", number)),
        (turns.MOST_OF_KEY, lambda number: (1, str(number), number)),
    ],
    ids=["an account", "a user", "a key"],
)
def test_shares_of_those_who_wait(most: int, of: Callable[[int], tuple[int, str | None, int]]) -> None:
    async def work() -> None:
        places = Shares("tests", 1, account=1, user=1, key=1)
        waiting, numbers = turns_of(places), count(2)
        places.take()

        def ask(root_id: int, user_id: str | None, account_id: int) -> asyncio.Task[Any]:
            ask_as(root_id, user_id)
            return asyncio.create_task(waiting.take(account_id))

        jobs = [ask(*of(next(numbers))) for _ in range(most)]
        refused, other = ask(*of(next(numbers))), ask(1000, "zoe", 1000)
        await settled([refused], 1)
        assert isinstance(refused.exception(), MailUnavailable)
        assert not any(job.done() for job in [*jobs, other])
        for job in [*jobs, other]:
            job.cancel()
        await asyncio.wait([*jobs, other])
        again = ask(*of(next(numbers)))  # a request that has ended waits no longer
        await asyncio.sleep(0)
        assert not again.done()

    asyncio.run(work())


def test_all_who_wait() -> None:
    async def work() -> None:
        places = Shares("tests", 1, account=1, user=1, key=1)
        waiting = turns_of(places)
        places.take()
        jobs = []
        for number in range(MOST_WAITING + 1):
            ask_as(number)
            jobs.append(asyncio.create_task(waiting.take()))
        await settled(jobs, 1)
        assert [job.exception() for job in jobs if job.done()] == [jobs[-1].exception()]
        assert isinstance(jobs[-1].exception(), Busy)

    asyncio.run(work())


def test_each_gets_its_turn() -> None:
    """A free place goes to a request that waits. Nobody has more than a share."""

    async def work() -> None:
        places = Shares("tests", 4, account=2, user=4, key=4)
        waiting, seen = turns_of(places), []

        async def ask(number: int) -> None:
            ask_as(number % 8)
            async with waiting.turn(number % 8):
                seen.append(len(places))
                await asyncio.sleep(0)

        async with asyncio.timeout(60):
            await asyncio.gather(*(ask(number) for number in range(64)))
        assert len(seen) == 64
        assert max(seen) == 4
        assert len(places) == 0

    asyncio.run(work())


def test_who_waits_too_long() -> None:
    """A request waits for a bounded time. Afterwards others may wait in its place."""

    async def work() -> None:
        places = Shares("tests", 1, user=1, key=1)
        waiting = turns_of(places, 0.001)
        places.take()
        ask_as(1)
        async with asyncio.timeout(60):
            for _ in range(turns.MOST_OF_KEY + 1):
                with pytest.raises(MailUnavailable):
                    await waiting.take()

    asyncio.run(work())


@pytest.mark.parametrize(("user_id", "most"), [("ann", outbox.MOST_OF_USER), (None, outbox.MOST_OF_KEY)])
def test_sends_of_others_go_on(tmp_path: Path, user_id: str | None, most: int) -> None:
    """A user or a key with many sends waits; the others send."""
    for name in ("postfix", "run"):
        (tmp_path / name).mkdir()
    draft = Draft(Person(None, "ann@example.com"), (Person(None, "bob@example.com"),), text="hi")

    async def work() -> None:
        way_out = PostfixOutbox(tmp_path, "")

        async def begin(stack: AsyncExitStack, root_id: int, user_id: str | None) -> None:
            ask_as(root_id, user_id)
            file = await stack.enter_async_context(way_out.composed(draft, "<1@example.com>", NOON))
            assert file.tell()

        async with AsyncExitStack() as others:
            async with AsyncExitStack() as held:
                for _ in range(most):
                    await begin(held, 1, user_id)
                waiting = [asyncio.create_task(begin(others, 1, user_id)) for _ in range(turns.MOST_OF_USER)]
                for number in range(outbox.MOST_SENDS - most):
                    await begin(others, 2 + number, None)
                assert not any(job.done() for job in waiting)
            async with asyncio.timeout(60):
                await waiting[0]
            for job in waiting[1:]:
                job.cancel()
            await asyncio.wait(waiting)

    asyncio.run(work())


def test_a_draft_that_cannot_be_built_keeps_no_turn(tmp_path: Path) -> None:
    for name in ("postfix", "run"):
        (tmp_path / name).mkdir()
    attachment = DraftAttachment("text/plain", "not base64")
    draft = Draft(Person(None, "ann@example.com"), (), text="hi", attachments=(attachment,))

    async def work() -> None:
        way_out = PostfixOutbox(tmp_path, "")
        ask_as(1)
        async with asyncio.timeout(60):
            for _ in range(outbox.MOST_OF_KEY + 1):
                with pytest.raises(Refused):
                    async with way_out.composed(draft, "<1@example.com>", NOON):
                        raise AssertionError

    asyncio.run(work())
