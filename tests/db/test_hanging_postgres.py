"""A PostgreSQL server that hangs with open connections: nobody waits forever, a certain failure is
`busy`, an uncertain one is `outcome_unknown`, and afterwards everything works again by itself."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from postroom.db import Database, Tx, loop_reads, migrate, open_database, pipeline, reader, writer
from postroom.db import postgres as engine
from postroom.db.postgres import PostgresConnection
from postroom.errors import Busy, OutcomeUnknown
from tests.harness.postgres import PostgresServer
from tests.harness.server import ApiServer, Response
from tests.harness.service import wait_for
from tests.harness.stalling import Line

PID = "SELECT pg_backend_pid()"
NOTES = "CREATE TABLE notes (text TEXT)"
NOTE = "INSERT INTO notes VALUES (:text)"


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    migrate(url)
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute(NOTES)
    return url


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter timeouts than in production, long enough for a busy test machine."""
    monkeypatch.setattr(loop_reads, "STATEMENT_SECONDS", 4.0)
    monkeypatch.setattr(engine, "WRITE_SECONDS", 2.0)
    monkeypatch.setattr(engine, "SLOW_READ_SECONDS", 2.0)
    monkeypatch.setattr(pipeline, "CANCEL_SECONDS", 1.0)
    monkeypatch.setattr(engine, "CANCEL_SECONDS", 1.0)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def rows(url: str, sql: str, *values: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as operator:
        return operator.execute(sql.encode(), values).fetchall()


def has_ended(url: str, pid: int) -> bool:
    return rows(url, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid) == []


def add(text: str) -> Callable[[Tx], None]:
    return lambda tx: tx.run(NOTE, text=text)


def value(number: int) -> Callable[[Tx], Any]:
    return lambda tx: (tx.one("SELECT CAST(:number AS BIGINT)", number=number) or (None,))[0]


@pytest.mark.usefixtures("impatient")
def test_a_backend_that_hangs_costs_one_read(url: str) -> None:
    """Only the first read fails, because it may have caused the hang. The others are repeated on
    another connection, and new reads do not wait."""

    async def run(database: Database) -> None:
        of_all: Callable[[Tx], Any] = lambda tx: (tx.one(PID) or (0,))[0]  # noqa: E731
        pids = await asyncio.gather(*(database.read(of_all) for _ in range(40)))
        with stopped(pids[0]):
            asked = [asyncio.create_task(database.read(value(number))) for number in range(40)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(answer) for answer in answers if not isinstance(answer, int)] == [Busy]
            assert [await database.read(value(number)) for number in range(40)] == list(range(40))
        new: set[int] = set()
        while len(new) < len(set(pids)):  # until the reader has as many connections as before
            new = set(await asyncio.gather(*(database.read(of_all) for _ in range(40))))
        assert pids[0] not in new
        wait_for("the hung backend to end", lambda: has_ended(url, pids[0]))

    with closing(open_database(url)) as database:
        asyncio.run(run(database))


async def turns() -> None:
    """Lets the event loop run three times."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("impatient")
def test_a_machine_that_stood_still(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this process and the server both stand still, no time passes for a read. To the loop it
    looks as if the clock had jumped."""

    async def run(database: Database) -> None:
        loop = asyncio.get_running_loop()
        pid = await database.read(lambda tx: (tx.one(PID) or (0,))[0])
        with stopped(pid):
            asked = asyncio.create_task(database.read(value(1)))
            await turns()  # the read starts, and the statement is sent
            clock, jump = loop.time, loop_reads.STATEMENT_SECONDS / 2 + 0.1
            monkeypatch.setattr(loop, "time", lambda: clock() + jump)
            await turns()  # what has become due in the meantime
        assert await asked == 1

    with closing(open_database(url)) as database:
        asyncio.run(run(database))


@pytest.mark.usefixtures("impatient")
def test_a_slow_read_is_given_up_on_the_server_too(url: str) -> None:
    async def run(database: Database) -> None:
        slow: Callable[[Tx], Any] = lambda tx: tx.one("SELECT 'slow' FROM pg_sleep(600)")  # noqa: E731
        with pytest.raises(Busy):
            await database.read(slow)

    with closing(open_database(url)) as database:
        asyncio.run(run(database))
        sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT ''slow''%%' AND state = 'active'"
        wait_for("the statement to be cancelled", lambda: rows(url, sql) == [])


@pytest.mark.usefixtures("impatient")
def test_a_backend_that_hangs_in_a_write(url: str) -> None:
    """Its whole batch fails as busy, and nothing of the batch was carried out."""

    async def run(database: Database) -> None:
        pids: list[int] = []

        def hang(tx: Tx) -> None:
            tx.run(NOTE, text="hung")
            pids.append((tx.one(PID) or (0,))[0])
            os.kill(pids[0], signal.SIGSTOP)

        asked = [asyncio.create_task(database.write(work)) for work in (add("before"), hang, add("after"))]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(a, Busy) and not isinstance(a, OutcomeUnknown) for a in answers] == [True] * 3
        await database.write(add("meanwhile"))
        os.kill(pids[0], signal.SIGCONT)
        wait_for("the hung backend to end", lambda: has_ended(url, pids[0]))

    with closing(open_database(url)) as database:
        asyncio.run(run(database))
    found = rows(url, "SELECT text FROM notes WHERE text IN ('before', 'hung', 'after', 'meanwhile')")
    assert found == [("meanwhile",)]


def test_a_backend_that_hangs_in_a_commit(url: str) -> None:
    """PostgreSQL commits later, so no caller may hear that the write failed."""
    with closing(PostgresConnection(url, 1.0)) as connection:
        connection.fetch("BEGIN", {})
        connection.fetch(NOTE, {"text": "unknown"})
        ((pid,),) = connection.fetch(PID, {})
        with stopped(pid):
            with pytest.raises(OutcomeUnknown):
                connection.fetch("COMMIT", {})
            assert connection.fetch("SELECT text FROM notes WHERE text = 'unknown'", {}) == []
        wait_for("the commit", lambda: rows(url, "SELECT text FROM notes WHERE text = 'unknown'"))


@pytest.mark.usefixtures("impatient")
def test_a_write_that_is_slow_fails_alone(url: str) -> None:
    """The server is asked to cancel the statement. The connection stays, and so does the rest of
    the batch."""

    async def run(database: Database) -> list[Any]:
        slow: Callable[[Tx], Any] = lambda tx: tx.one("SELECT 1 FROM pg_sleep(600)")  # noqa: E731
        works = (add("quick 1"), slow, add("quick 2"))
        asked = [asyncio.create_task(database.write(work)) for work in works]
        return await asyncio.gather(*asked, return_exceptions=True)

    with closing(open_database(url)) as database:
        answers = asyncio.run(run(database))
    assert [type(answer) for answer in answers] == [type(None), Busy, type(None)]
    assert rows(url, "SELECT count(*) FROM notes WHERE text LIKE 'quick %%'") == [(2,)]


def test_a_request_that_waits_too_long_is_busy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that waits behind two slow lists, and a write that the writer has not taken, fail as
    busy."""
    monkeypatch.setattr(writer, "QUEUE_SECONDS", 0.5)
    monkeypatch.setattr(reader, "LIST_SECONDS", 0.5)
    slow: Callable[[Tx], Any] = lambda tx: tx.one("SELECT 1 FROM pg_sleep(600)")  # noqa: E731
    asleep = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"

    async def run(database: Database) -> None:
        for ask, count, late in ((database.read_many, 2, value(1)), (database.write, 1, add("never"))):
            busy = [asyncio.create_task(ask(slow)) for _ in range(count)]
            while await database.read_slow(lambda tx: tx.one(f"SELECT count(*) {asleep}")) != (count,):
                assert not any(task.done() for task in busy)
            with pytest.raises(Busy, match="too long"):
                await ask(late)
            rows(url, f"SELECT pg_cancel_backend(pid) {asleep}")
            assert [type(one) for one in await asyncio.gather(*busy, return_exceptions=True)] == [Busy] * count

    monkeypatch.setattr(loop_reads, "STATEMENT_SECONDS", 600.0)
    monkeypatch.setattr(engine, "WRITE_SECONDS", 600.0)
    with closing(open_database(url)) as database:
        asyncio.run(run(database))
    assert rows(url, "SELECT 1 FROM notes WHERE text = 'never'") == []


@pytest.fixture
def line(postgres: PostgresServer) -> Iterator[Line]:
    with Line.to(postgres.port) as line:
        yield line


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs(url: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection, old or new, gets an answer."""
    monkeypatch.setattr(reader, "PING_SECONDS", 1.0)

    async def run(database: Database) -> None:
        asks = (database.read, database.read_many, database.read_slow, database.write)

        def everything(number: int) -> "asyncio.Future[list[Any]]":
            asked = [*(ask(value(number)) for ask in asks), database.ping()]
            return asyncio.gather(*asked, return_exceptions=True)

        while await everything(1) != [1, 1, 1, 1, None]:
            continue
        line.flows.clear()
        for _ in range(2):
            answers = await everything(2)
            assert [isinstance(a, Busy) and not isinstance(a, OutcomeUnknown) for a in answers] == [True] * 5
        line.flows.set()
        while await everything(3) != [3, 3, 3, 3, None]:
            continue

    with closing(open_database(line.url(url))) as database:
        asyncio.run(run(database))


@pytest.mark.usefixtures("impatient")
def test_over_http(url: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PING_SECONDS", 1.0)
    with ApiServer.start(line.url(url)) as api, ThreadPoolExecutor() as pool:
        tenant = api.new_tenant()
        path = f"/v2/email-accounts/{tenant.account('before')['id']}"
        assert tenant.get(path).status == 200
        line.flows.clear()
        asked: list[Future[Response]] = [pool.submit(tenant.get, path) for _ in range(4)]
        asked.append(pool.submit(tenant.create, "meanwhile"))
        ready = pool.submit(api.request, "GET", "/readyz")
        assert api.request("GET", "/healthz").status == 200
        answers = [one.result() for one in asked]
        assert [(answer.status, answer.code) for answer in answers] == [(503, "busy")] * 5
        assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
        assert (ready.result().status, "database" in ready.result().json["parts"]["database"]) == (503, True)
        line.flows.set()
        wait_for("reads", lambda: tenant.get(path).status == 200)
        assert tenant.create("meanwhile").status == 201
        assert api.request("GET", "/readyz").status == 200
