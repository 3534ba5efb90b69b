"""The single writer: many requests share a commit, each answer comes after the commit, and a
failure affects only its own request."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

from postroom.db import Tx, migrate
from postroom.db import writer as writer_module
from postroom.db.tx import Row
from postroom.db.writer import Writer
from postroom.errors import Busy, Refused
from tests.harness.postgres import PostgresServer
from tests.harness.service import LONG
from tests.harness.writers import ADD, WatchedEngine, add, begun, found, held, run, sent


@pytest.fixture
def engine(database_url: str) -> WatchedEngine:
    return WatchedEngine(database_url)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A prefix for the names of rows, because the tests share a database."""
    return f"{request.node.name} "


def test_it_works(engine: WatchedEngine, prefix: str) -> None:
    async def test(writer: Writer) -> None:
        assert await writer.write(add(prefix + "a")) == prefix + "a"
        assert found(engine, prefix + "a")

    run(engine, test)


def test_many_jobs_share_a_commit(engine: WatchedEngine, prefix: str) -> None:
    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(50)))
            before = engine.watched.commits
        assert await asyncio.gather(*jobs) == [f"{prefix}{n}" for n in range(50)]
        assert engine.watched.commits - before == 2  # one of the held job, one of the batch

    run(engine, test)


def test_a_job_that_is_broken_off_is_not_committed(engine: WatchedEngine, prefix: str) -> None:
    """A BaseException that is not an Exception rolls back the batch. Neither the thread nor the
    server ends."""

    def broken_off(tx: Tx) -> None:
        tx.run(ADD, name=prefix + "half")
        raise SystemExit

    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, add(prefix + "before"), broken_off, add(prefix + "behind"))
        outcomes = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), LONG)
        assert [type(outcome) for outcome in outcomes] == [Busy] * 3
        assert not any(found(engine, prefix + name) for name in ("before", "half", "behind"))
        assert await writer.write(add(prefix + "later")) == prefix + "later"

    run(engine, test)


def test_jobs_that_come_together_share_a_commit(engine: WatchedEngine, prefix: str) -> None:
    """The idle writer does not start with the first job while the loop is still adding the
    second."""
    begun = threading.Event()

    async def test(writer: Writer) -> None:
        async def second() -> None:
            assert not begun.wait(0.1)
            await writer.write(add(prefix + "second"))

        before = engine.watched.commits
        await asyncio.gather(writer.write(lambda _: begun.set()), second())
        assert engine.watched.commits - before == 1

    run(engine, test)


def test_an_answer_follows_its_commit(engine: WatchedEngine, prefix: str) -> None:
    """When a job's future is done, another connection sees its row, for each job of a batch."""

    async def test(writer: Writer) -> None:
        async def add_and_look(name: str) -> bool:
            await writer.write(add(name))
            return found(engine, name)

        names = [f"{prefix}{n}" for n in range(20)]
        async with held(writer):
            looks = [asyncio.create_task(add_and_look(name)) for name in names]
            await asyncio.sleep(0)
            assert not any(found(engine, name) for name in names)
        assert all(await asyncio.gather(*looks))

    run(engine, test)


@pytest.mark.parametrize("error", [ValueError("ours"), Refused("not_found", "No."), Busy("Now not.")], ids=repr)
def test_an_error_fails_its_own_job_only(engine: WatchedEngine, prefix: str, error: Exception) -> None:
    def fail(tx: Tx) -> None:
        tx.run(ADD, name=prefix + "failed")
        raise error

    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, add(prefix + "a"), fail, add(prefix + "b"))
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert answers == [prefix + "a", error, prefix + "b"]
        assert [found(engine, prefix + name) for name in ("a", "failed", "b")] == [True, False, True]
        assert await writer.write(add(prefix + "c"))

    run(engine, test)


def test_a_statement_that_is_wrong_fails_its_own_job_only(engine: WatchedEngine, prefix: str) -> None:
    def twice(tx: Tx) -> None:
        tx.run(ADD, name=prefix + "a")

    async def test(writer: Writer) -> None:
        async with held(writer):
            wrong = lambda tx: tx.run("SELECT nothing FROM nowhere")  # noqa: E731
            jobs = await sent(writer, add(prefix + "a"), twice, wrong, add(prefix + "b"))
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert [isinstance(answer, Exception) for answer in answers] == [False, True, True, False]
        assert found(engine, prefix + "b")

    run(engine, test)


def test_a_statement_timeout_fails_its_own_job_only(postgres: PostgresServer, prefix: str) -> None:
    """The operator may set a statement_timeout for the database. A statement whose result nobody
    awaits fails at the release of its savepoint."""
    url = postgres.new_database()
    migrate(url)
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET statement_timeout = '1s'".encode())
    engine = WatchedEngine(url)
    waits: Callable[[Tx], Any] = lambda tx: tx.one("SELECT 1 FROM pg_sleep(600)")  # noqa: E731
    does_not: Callable[[Tx], Any] = lambda tx: tx.run("SELECT 1 FROM pg_sleep(600)")  # noqa: E731

    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, add(prefix + "a"), waits, add(prefix + "b"), does_not, add(prefix + "c"))
            before = engine.watched.commits
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert [answers[n] for n in (0, 2, 4)] == [prefix + name for name in "abc"]
        assert [type(answers[n]) for n in (1, 3)] == [Busy, Busy]
        assert all(found(engine, prefix + name) for name in "abc")
        assert engine.watched.commits - before == 2, "one commit for the held job, one for the others"

    run(engine, test)


@pytest.mark.parametrize("where", ["COMMIT", "begin", "SAVEPOINT job"])
def test_a_failing_commit_fails_them_all_and_says_so(engine: WatchedEngine, prefix: str, where: str) -> None:
    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(5)))
            error = Busy("The disk is full.")
            _fail_in_the_next_batch(engine, where, error)
        answers = await asyncio.gather(*jobs, return_exceptions=True)
        assert answers == [error] * 5
        assert not any(found(engine, f"{prefix}{n}") for n in range(5))
        assert await writer.write(add(prefix + "later"))
        assert found(engine, prefix + "later")

    run(engine, test)


def _fail_in_the_next_batch(engine: WatchedEngine, where: str, error: Exception) -> None:
    """Lets the running batch commit, then raises the error once, at this statement."""
    watched, real = engine.watched, engine.watched.fetch

    def fetch(sql: str, params: Mapping[str, Any]) -> list[Row]:
        rows = real(sql, params)
        if sql == "COMMIT":
            watched.fetch = real  # type: ignore[method-assign]
            watched.failing[where] = error
        return rows

    watched.fetch = fetch  # type: ignore[method-assign]


def test_the_queue_is_bounded(engine: WatchedEngine, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WAITING_JOBS", 3)

    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(3)))
            with pytest.raises(Busy) as refused:
                await writer.write(add(prefix + "too many"))
            assert refused.value.seconds >= 1
        assert len(await asyncio.gather(*jobs)) == 3
        assert not found(engine, prefix + "too many")

    run(engine, test)


def test_a_large_queue_is_several_batches(engine: WatchedEngine, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "BATCH_JOBS", 4)

    async def test(writer: Writer) -> None:
        async with held(writer):
            jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(10)))
            before = engine.watched.commits
        assert len(await asyncio.gather(*jobs)) == 10
        assert engine.watched.commits - before == 1 + 3

    run(engine, test)


def test_a_cancelled_job_is_skipped(engine: WatchedEngine, prefix: str) -> None:
    async def test(writer: Writer) -> None:
        async with held(writer):
            first, second = await sent(writer, add(prefix + "cancelled"), add(prefix + "kept"))
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
        await second
        assert [found(engine, prefix + name) for name in ("cancelled", "kept")] == [False, True]

    run(engine, test)


def test_close_finishes_what_waits(engine: WatchedEngine, prefix: str) -> None:
    async def go() -> None:
        writer = Writer(engine.watched)
        async with held(writer):
            jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(10)))
            closing = asyncio.create_task(asyncio.to_thread(writer.close))
            await asyncio.sleep(0)
        await closing
        assert len(await asyncio.gather(*jobs)) == 10

    asyncio.run(go())
    assert engine.watched.statements[-1] == "closed"
    assert all(found(engine, f"{prefix}{n}") for n in range(10))


def test_a_closed_writer_refuses(engine: WatchedEngine, prefix: str) -> None:
    async def go() -> None:
        writer = Writer(engine.watched)
        await asyncio.to_thread(writer.close)
        with pytest.raises(Busy):
            await writer.write(add(prefix))

    asyncio.run(go())


def test_the_loop_may_be_gone(engine: WatchedEngine, prefix: str) -> None:
    """The caller's event loop has ended; its write is committed anyway."""
    writer = Writer(engine.watched)
    go = threading.Event()

    async def leave() -> None:
        (await begun(writer, go, add(prefix + "left"))).cancel()

    asyncio.run(leave())
    go.set()
    writer.close()
    assert found(engine, prefix + "left")


def test_close_in_the_loop_does_not_wait_for_the_loop(engine: WatchedEngine, prefix: str) -> None:
    """close() blocks the loop until the writer is done; the jobs get their results afterwards."""

    async def test() -> None:
        writer, go = Writer(engine.watched), threading.Event()
        job = await begun(writer, go)
        jobs = await sent(writer, *(add(f"{prefix}{n}") for n in range(3)))
        go.set()
        writer.close()
        assert await asyncio.gather(job, *jobs) == [None, *(f"{prefix}{n}" for n in range(3))]

    asyncio.run(test())
    assert all(found(engine, f"{prefix}{n}") for n in range(3))
