"""Jobs that the loop runs for a thread: all of them, once, one at a time, and others have their
turn between them."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable

import pytest

from postroom.db import turn
from postroom.db.turn import Turn
from postroom.errors import Busy

NEVER = threading.Event()


async def waited(jobs: list[int], run: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    turn_ = Turn(jobs, run, loop)
    turn_.start()
    await asyncio.to_thread(turn_.wait, NEVER)


def test_they_run_in_the_loop_in_their_order() -> None:
    ran: list[tuple[int, int]] = []
    asyncio.run(waited([1, 2, 3], lambda job: ran.append((job, threading.get_ident()))))
    assert ran == [(job, threading.get_ident()) for job in (1, 2, 3)]


def test_others_have_their_turn_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "SLICE_SECONDS", 0.0)
    seen: list[int] = []

    async def go() -> None:
        async def other() -> None:
            while len(seen) < 20:
                seen.append(0)
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        await asyncio.sleep(0)
        await waited([1] * 5, seen.append)
        await beside

    asyncio.run(go())
    assert seen.count(1) == 5
    assert (1, 1) not in itertools.pairwise(seen)


def test_a_slice_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after each job: as many as there is time for."""
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    turns: list[int] = []

    async def go() -> None:
        at = 0

        async def other() -> None:
            nonlocal at
            while len(turns) < 9:
                at += 1
                await asyncio.sleep(0)

        def run(_: int) -> None:
            nonlocal now
            now += turn.SLICE_SECONDS / 2.5
            turns.append(at)

        beside = asyncio.create_task(other())
        await waited([1] * 9, run)
        await beside

    asyncio.run(go())
    assert [turns.count(at) for at in sorted(set(turns))] == [3, 3, 3]


def test_what_it_raises_ends_it_and_comes_to_the_thread() -> None:
    ran: list[int] = []

    def run(job: int) -> None:
        ran.append(job)
        if job == 2:
            raise Busy("The disk is full.")

    with pytest.raises(Busy, match="The disk is full"):
        asyncio.run(waited([1, 2, 3], run))
    assert ran == [1, 2]


def test_the_thread_runs_what_a_loop_has_left() -> None:
    ran: list[int] = []
    loop = asyncio.new_event_loop()  # it never runs
    closing = threading.Event()
    thread = threading.Thread(target=Turn([1, 2], ran.append, loop).wait, args=(closing,))
    thread.start()
    closing.set()
    thread.join(30)
    assert ran == [1, 2]
    loop.close()
    late = Turn([3], ran.append, loop)
    late.start()
    late.wait(NEVER)
    assert ran == [1, 2, 3]


class Watched:
    """A lock that says when another thread than this one comes to it."""

    def __init__(self) -> None:
        self._lock, self._mine = threading.Lock(), threading.get_ident()
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if threading.get_ident() != self._mine:
            self.wanted.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_none_is_run_twice_or_beside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is at a job when the thread comes to run what is left."""
    monkeypatch.setattr(turn, "LOOK_SECONDS", 0.001)
    ran: list[int] = []
    at, beside = 0, 0
    closing, running = threading.Event(), Watched()

    def run(job: int) -> None:
        nonlocal at, beside
        at += 1
        beside = max(beside, at)
        closing.set()
        assert running.wanted.wait(30)
        ran.append(job)
        at -= 1

    async def go() -> None:
        turn_ = Turn([1, 2, 3, 4], run, asyncio.get_running_loop())
        turn_._running = running  # type: ignore[assignment]
        turn_.start()
        await asyncio.to_thread(turn_.wait, closing)

    asyncio.run(go())
    assert ran == [1, 2, 3, 4]
    assert beside == 1
