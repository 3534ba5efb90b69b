"""Reads on PostgreSQL in the event loop: many requests share few connections, and no request
disturbs another."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import psycopg
import pytest

from postroom.db import Database, Tx, loop_reads, open_database
from postroom.db.loop_reads import ITERATIONS_BETWEEN
from postroom.db.pipeline import StatementFailed
from postroom.db.tx import ConnectionLost
from postroom.errors import Busy
from tests.harness.postgres import PostgresServer

KILL = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
Work = Callable[[Tx], Any]


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def database(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database without a timeout for slow statements (test_hanging_postgres.py tests the
    timeout)."""
    monkeypatch.setattr(loop_reads, "STATEMENT_SECONDS", 600.0)
    opened = open_database(url)
    yield opened
    opened.close()


def value(number: int) -> Work:
    return lambda tx: tx.one(
        "SELECT CAST(:number AS BIGINT), CAST(:text AS TEXT)", number=number, text=f"text {number}"
    )


def together(database: Database, *works: Work) -> list[Any]:
    async def run() -> list[Any]:
        return await asyncio.gather(*(database.read(work) for work in works), return_exceptions=True)

    return asyncio.run(run())


def test_everybody_gets_his_own_answer(database: Database) -> None:
    assert together(database, *map(value, range(300))) == [(number, f"text {number}") for number in range(300)]


def test_a_read_of_several_statements(database: Database) -> None:
    """The second statement depends on the result of the first, and tx.now is the same in both."""

    def work(tx: Tx) -> Any:
        (first,) = tx.one("SELECT CAST(:a AS BIGINT) + 1", a=1) or ()
        tx.run("SELECT 1")
        return tx.all("SELECT CAST(:first AS BIGINT), CAST(:now AS BIGINT)", first=first, now=tx.now), tx.now

    for rows, now in together(database, *[work] * 20):
        assert rows == [(2, now)]


def test_a_statement_that_is_wrong_fails_its_own_read_only(database: Database) -> None:
    """Many statements share each connection. Those behind a failed statement are not carried out,
    so they are sent again."""
    wrong: list[Work] = [
        lambda tx: tx.one("SELECT nonsense"),
        lambda tx: tx.one("SELECT 1 / CAST(:zero AS BIGINT)", zero=0),
        lambda tx: tx.one("SELECT CAST(:text AS TEXT)", text="a\0b"),
        # A value that Python cannot represent.
        lambda tx: tx.one("SELECT CAST('infinity' AS DATE)"),
    ]
    for _ in range(2):
        answers = together(database, *map(value, range(30)), *wrong, *map(value, range(30, 60)))
        failed = [answer for answer in answers if isinstance(answer, StatementFailed)]
        assert len(failed) == len(wrong)
        assert [answer[0] for answer in answers if answer not in failed] == list(range(60))


def test_many_statements_that_are_wrong(database: Database) -> None:
    """A repeated statement must not be sent behind another failing one."""

    async def client(first: int) -> list[Any]:
        wrong: Work = lambda tx: tx.one("SELECT 1 / CAST(:zero AS BIGINT)", zero=0)  # noqa: E731
        with pytest.raises(StatementFailed):
            await database.read(wrong)
        right = await database.read(value(first)), await database.read(value(first + 1))
        with pytest.raises(StatementFailed):
            await database.read(wrong)
        return [*right, await database.read(value(first + 2))]

    async def run() -> None:
        for _ in range(4):
            answers = await asyncio.gather(*map(client, range(100)))
            assert [[number for number, _ in each] for each in answers] == [[n, n + 1, n + 2] for n in range(100)]

    asyncio.run(run())


def test_a_statement_alone_relies_on_no_preparation(url: str) -> None:
    """The repeated statement is sent while the failure of its preparation is not yet known."""
    same = "SELECT 'prepared behind a wrong one, repeated alone'"

    async def run() -> tuple[object, ...]:
        connection = loop_reads._SharedConnection(url, asyncio.get_running_loop())
        await connection.fetch("SELECT 1", {})  # opens the connection
        wrong, aborted = connection.fetch("SELECT 1 / 0", {}), connection.fetch(same, {})
        try:
            return await asyncio.gather(wrong, aborted, connection.fetch(same, {}, alone=True), return_exceptions=True)
        finally:
            connection.close()

    wrong, aborted, alone = asyncio.run(run())
    assert [type(wrong), type(aborted), alone] == [
        StatementFailed,
        ConnectionLost,
        [("prepared behind a wrong one, repeated alone",)],
    ]


def test_a_read_that_relied_on_an_unprepared_statement_is_repeated(database: Database) -> None:
    """A statement is prepared behind a failing one, and other reads already rely on it before the
    failure is known."""
    same: Work = lambda tx: tx.one("SELECT CAST(:number AS BIGINT), 'prepared behind a wrong one'", number=1)  # noqa: E731
    late_and_wrong: Work = lambda tx: tx.one("SELECT 1 / (count(*) - 1) FROM pg_sleep(0.1)")  # noqa: E731

    async def run() -> list[Any]:
        # Opens all connections.
        await asyncio.gather(*(database.read(value(number)) for number in range(9)))
        asked = [asyncio.create_task(database.read(work)) for work in [late_and_wrong] * 4 + [same] * 4]
        for _ in range(3):  # iterations of the loop, until they are sent
            await asyncio.sleep(0)
        asked += [asyncio.create_task(database.read(same)) for _ in range(4)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(run())
    assert [type(answer) for answer in answers[:4]] == [StatementFailed] * 4
    assert answers[4:] == [(1, "prepared behind a wrong one")] * 8


def test_a_statement_that_is_cancelled_fails_its_own_read_only(database: Database, url: str) -> None:
    """Cancelled by the operator or by a statement_timeout. The connections stay open."""
    of_all: Work = lambda tx: tx.one("SELECT pg_backend_pid()")  # noqa: E731

    async def run() -> None:
        before = set(await asyncio.gather(*(database.read(of_all) for _ in range(40))))
        tasks = [asyncio.create_task(database.read(lambda tx: tx.one("SELECT 1 FROM pg_sleep(600)")))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(database.read(value(number))) for number in range(40)]
        with psycopg.connect(url, autocommit=True) as operator:
            while not tasks[0].done():
                operator.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
                await asyncio.sleep(0)
        slow, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(slow, Busy)
        assert [cast(Any, answer)[0] for answer in others] == list(range(40))
        assert set(await asyncio.gather(*(database.read(of_all) for _ in range(40)))) == before

    asyncio.run(run())


def test_a_read_that_changes_its_statement_gets_no_answer(database: Database) -> None:
    """Otherwise the read would get the answer to its earlier statement: another row."""
    numbers = iter(range(100))

    def work(tx: Tx) -> Any:
        return tx.one("SELECT CAST(:number AS BIGINT)", number=next(numbers))

    (answer,) = together(database, work)
    assert isinstance(answer, LookupError)


def test_too_many_reads_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read counts even after its caller stopped waiting, because PostgreSQL must still answer."""
    monkeypatch.setattr(loop_reads, "WAITING_STATEMENTS", 2)
    answers = together(database, *map(value, range(20)))
    refused = [answer for answer in answers if isinstance(answer, Busy)]
    assert [answer[0] for answer in answers if answer not in refused] == list(range(8))
    assert together(database, value(1)) == [(1, "text 1")]


def test_a_read_may_catch_what_it_likes(database: Database) -> None:
    def work(tx: Tx) -> Any:
        try:
            return tx.one("SELECT 1")
        except Exception:
            return None

    assert together(database, work) == [(1,)]


def test_a_slow_statement_delays_no_other(database: Database) -> None:
    async def run() -> None:
        slow = asyncio.create_task(database.read(lambda tx: tx.one("SELECT 1 FROM pg_sleep(600)")))
        asked: Work = lambda tx: tx.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")  # noqa: E731
        while await database.read_slow(asked) != (1,):
            continue
        assert [await database.read(value(number)) for number in range(9)]
        slow.cancel()  # PostgreSQL still works on it
        await asyncio.gather(slow, return_exceptions=True)
        assert [await database.read(value(number)) for number in range(9)]

    asyncio.run(run())


def test_at_most_two_long_lists_run_at_once(database: Database, url: str) -> None:
    """At most two lists run at once, so an iteration of the loop stays short however many lists
    wait."""
    many: Work = lambda tx: tx.one("SELECT 'many' FROM pg_sleep(600)")  # noqa: E731
    of_many = "FROM pg_stat_activity WHERE query LIKE 'SELECT ''many''%' AND state = 'active'"

    async def run() -> None:
        lists = [asyncio.create_task(database.read_many(many)) for _ in range(3)]
        while await database.read_slow(lambda tx: tx.one(f"SELECT count(*) >= 2 {of_many}")) != (True,):
            continue
        assert [await database.read(value(number)) for number in range(9)]
        assert await database.read_slow(lambda tx: tx.one(f"SELECT count(*) {of_many}")) == (2,)
        for one in lists:
            one.cancel()
        await asyncio.gather(*lists, return_exceptions=True)

    asyncio.run(run())
    with psycopg.connect(url, autocommit=True) as operator:
        operator.execute(f"SELECT pg_terminate_backend(pid, 10000) {of_many}".encode())


def test_long_lists_leave_iterations_to_others(database: Database) -> None:
    """However short the lists are: of eight lists, two at a time, the last one starts after at
    least four times ITERATIONS_BETWEEN iterations."""
    iterations, asked = 0, []

    async def watch() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    def many(tx: Tx) -> Any:
        asked.append(iterations)
        return tx.all("SELECT 1")

    async def run() -> None:
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(database.read_many(many) for _ in range(8)))
        watcher.cancel()

    asyncio.run(run())
    assert asked[0] >= ITERATIONS_BETWEEN
    assert asked[-1] >= 8 // 2 * ITERATIONS_BETWEEN


def test_all_connections_are_lost_under_load(database: Database, url: str) -> None:
    """Every running read is sent again, and no caller notices."""

    async def run() -> None:
        await asyncio.gather(*(database.read(value(number)) for number in range(50)))
        asked = [asyncio.create_task(database.read(value(number))) for number in range(50)]
        await asyncio.sleep(0)  # sends them
        with psycopg.connect(url, autocommit=True) as operator:
            operator.execute(KILL)
        assert [(await one)[0] for one in asked] == list(range(50))

    asyncio.run(run())


def test_without_a_server_it_is_busy_and_comes_back(postgres: PostgresServer, database: Database, url: str) -> None:
    name = url.rpartition("/")[2]

    async def run() -> None:
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as operator:
            assert await database.read(value(1))
            operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            operator.execute(KILL.replace("current_database()", f"'{name}'").encode())
            for answer in await asyncio.gather(*(database.read(value(2)) for _ in range(9)), return_exceptions=True):
                assert isinstance(answer, Busy)
            operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
            assert await database.read(value(3))

    asyncio.run(run())


def test_another_event_loop(database: Database) -> None:
    for number in range(3):
        assert together(database, value(number)) == [(number, f"text {number}")]


def test_a_connection_that_cannot_be_opened_costs_little(
    postgres: PostgresServer, database: Database, url: str
) -> None:
    """As when the server accepts no more clients: the other connections carry the reads."""
    name = url.rpartition("/")[2]
    of_all: Work = lambda tx: tx.one("SELECT pg_backend_pid()")  # noqa: E731

    async def run() -> None:
        ((pid,), *_) = await asyncio.gather(*(database.read(of_all) for _ in range(40)))
        with psycopg.connect(postgres.url("postgres"), autocommit=True) as operator:
            operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            operator.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
            answers = [
                await asyncio.gather(database.read(value(number)), return_exceptions=True) for number in range(9)
            ]
            operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert len([answer for (answer,) in answers if isinstance(answer, Busy)]) <= 1

    asyncio.run(run())
