"""On SQLite the loop runs the jobs of a batch: whatever becomes of it, nothing is half done and
nobody kept waiting."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postroom.db import Tx, migrate, turn
from postroom.db import sqlite as sqlite_engine
from postroom.db.database import engine_for
from postroom.db.writer import Writer, run_alone
from postroom.errors import Busy
from tests.harness.service import wait_for
from tests.harness.writers import ADD, WatchedEngine, add, found, held, run, sent


@pytest.fixture
def sqlite(tmp_path: Path) -> WatchedEngine:
    """A database of its own, where the loop runs the jobs."""
    url = f"sqlite:///{tmp_path / 'postroom.db'}"
    migrate(url)
    return WatchedEngine(url)


@pytest.mark.parametrize("begun_in", ["loop", "thread"])
def test_a_job_that_is_broken_off_is_not_committed(sqlite: WatchedEngine, begun_in: str) -> None:
    """Ctrl-C comes in whatever the loop is at, also in the middle of a job."""

    def broken_off(tx: Tx) -> None:
        tx.run(ADD, name="half")
        raise KeyboardInterrupt

    async def go() -> None:
        writer = Writer(sqlite)
        try:
            async with held(writer) if begun_in == "thread" else contextlib.nullcontext():
                jobs = await sent(writer, add("before"), broken_off, add("behind"))
            await asyncio.gather(*jobs)
        finally:
            writer.close()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(go())
    assert not any(found(sqlite, name) for name in ("before", "half", "behind"))


def test_a_loop_that_is_gone_leaves_the_rest_to_the_thread(
    sqlite: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has run the first job of a batch, and never comes to the others."""
    monkeypatch.setattr(turn, "SLICE_SECONDS", 0.0)
    writer, loop = Writer(sqlite), asyncio.new_event_loop()

    async def go() -> None:
        await sent(writer, *(add(f"left {n}") for n in range(3)))
        await asyncio.sleep(0)

    loop.run_until_complete(go())
    wait_for("all of them", lambda: all(found(sqlite, f"left {n}") for n in range(3)))
    asyncio.run(_write(writer, add("of the next loop")))
    writer.close()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def _write(writer: Writer, work: Callable[[Tx], Any]) -> None:
    await writer.write(work)


def test_a_loop_that_is_busy_does_not_keep_others_from_writing(
    sqlite: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has begun a batch, and then something else takes all its time: here the write of
    another process."""
    monkeypatch.setattr(turn, "SLICE_SECONDS", 0.0)

    def other() -> None:
        engine = engine_for(sqlite.url)
        connection = engine.writer()
        run_alone(connection, engine, add("of another process"))
        connection.close()

    async def test(writer: Writer) -> None:
        jobs = await sent(writer, *(add(f"ours {n}") for n in range(3)))
        await asyncio.sleep(0)
        assert sqlite.begun_in == ["MainThread"]
        other()
        await asyncio.gather(*jobs)

    run(sqlite, test)
    assert found(sqlite, "of another process")


def test_a_loop_that_does_not_get_in_tries_again_after_the_thread_has(
    sqlite: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where readers are locked out too, SQLite waits for seconds at each try, whatever it is
    told."""
    monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.05)
    path = sqlite.url.removeprefix("sqlite:///")

    async def write(writer: Writer, name: str) -> list[str]:
        """Who has tried to begin for it."""
        await asyncio.to_thread(wait_for, "the thread", lambda: not writer._connection_lock.locked())
        sqlite.begun_in.clear()
        with contextlib.suppress(Busy):
            await writer.write(add(name))
        return sqlite.begun_in[:]

    async def test(writer: Writer) -> None:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await write(writer, "first") == ["MainThread", "writer"]
            assert await write(writer, "second") == ["writer"]
        assert await write(writer, "third") == ["writer"]
        assert await write(writer, "fourth") == ["MainThread"]

    run(sqlite, test)
    assert [found(sqlite, name) for name in ("first", "second", "third", "fourth")] == [False, False, True, True]
