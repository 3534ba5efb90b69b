"""The PostgreSQL engine: how it connects, and what it accepts as a commit."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from postroom.db.pipeline import StatementFailed, connect
from postroom.db.postgres import PostgresConnection
from postroom.errors import Busy, OutcomeUnknown
from tests.harness.ports import free_port
from tests.harness.postgres import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url("postgres")


@pytest.fixture
def connection(url: str) -> Iterator[PostgresConnection]:
    with closing(PostgresConnection(url)) as connection:
        yield connection


def kernel(raw: psycopg.Connection) -> tuple[int, ...]:
    """The kernel's timeouts for this connection: TCP_USER_TIMEOUT in ms, keepalive idle time and
    interval in s, number of keepalive probes."""
    with socket.socket(fileno=os.dup(raw.fileno())) as its:
        names = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        return tuple(its.getsockopt(socket.IPPROTO_TCP, name) for name in names)


def test_a_host_that_is_gone_is_noticed_soon(url: str) -> None:
    with connect(url) as raw:
        assert kernel(raw) == (2000, 1, 1, 2)
    with connect(f"{url}?tcp_user_timeout=9000&keepalives_idle=7") as raw:
        assert kernel(raw) == (9000, 7, 1, 2)


def test_several_hosts(postgres: PostgresServer) -> None:
    """One host refuses, one never answers, the last one works."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = ",".join(f"127.0.0.1:{port}" for port in (free_port(), silent.getsockname()[1], postgres.port))
        with connect(f"postgresql://postgres@{hosts}/postgres") as raw:
            assert raw.info.port == postgres.port
            assert raw.info.get_parameters()["connect_timeout"] == "2"


def test_a_read_only_database_is_refused(url: str) -> None:
    with pytest.raises(Busy):
        PostgresConnection(f"{url}?options=-cdefault_transaction_read_only%3Don").fetch("SELECT 1", {})


@pytest.mark.parametrize("bad", ["?secret=hunter2", "?tcp_user_timeout=%zz", ":hunter2@[::1/x"])
def test_an_invalid_url(bad: str) -> None:
    """The error is one line and contains nothing of the URL."""
    with pytest.raises(Busy, match="POSTROOM_DATABASE_URL") as refused:
        PostgresConnection(f"postgresql://user{bad}").fetch("SELECT 1", {})
    assert "hunter2" not in str(refused.value)


def test_a_commit(connection: PostgresConnection) -> None:
    for sql in ("BEGIN", "SELECT 1", "COMMIT"):
        connection.fetch(sql, {})
    assert not connection.in_transaction()


def test_a_commit_of_what_has_failed(connection: PostgresConnection) -> None:
    """PostgreSQL answers ROLLBACK instead of an error."""
    connection.fetch("BEGIN", {})
    with pytest.raises(StatementFailed):
        connection.fetch("SELECT 1 / 0", {})
    with pytest.raises(StatementFailed, match="rolled back"):
        connection.fetch("COMMIT", {})


def test_a_commit_without_a_transaction(connection: PostgresConnection) -> None:
    """For PostgreSQL this is only a warning."""
    connection.fetch("SELECT 1", {})
    with pytest.raises(OutcomeUnknown):
        connection.fetch("COMMIT", {})


def test_a_commit_that_is_refused(connection: PostgresConnection) -> None:
    """An error of COMMIT is a rollback, so the outcome is known."""
    connection.fetch("CREATE TEMPORARY TABLE parent (id BIGINT PRIMARY KEY)", {})
    late = "CREATE TEMPORARY TABLE child (id BIGINT REFERENCES parent DEFERRABLE INITIALLY DEFERRED)"
    for sql in (late, "BEGIN", "INSERT INTO child VALUES (1)"):
        connection.fetch(sql, {})
    with pytest.raises(Busy) as refused:
        connection.fetch("COMMIT", {})
    assert not isinstance(refused.value, OutcomeUnknown)


def test_a_commit_on_a_connection_that_was_lost_before(connection: PostgresConnection, url: str) -> None:
    connection.fetch("BEGIN", {})
    ((pid,),) = connection.fetch("SELECT pg_backend_pid()", {})
    with connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
    with pytest.raises(Busy):
        connection.fetch("SELECT 1", {})
    with pytest.raises(Busy) as refused:
        connection.fetch("COMMIT", {})
    assert not isinstance(refused.value, OutcomeUnknown)


def test_an_unawaited_statement_may_fail_the_commit(connection: PostgresConnection) -> None:
    connection.fetch("BEGIN", {})
    connection.run("SELECT 1 / 0", {})
    with pytest.raises(StatementFailed):
        connection.fetch("COMMIT", {})
    connection.fetch("ROLLBACK", {})
    assert not connection.in_transaction()


def test_an_unseen_failure_is_rolled_back(connection: PostgresConnection) -> None:
    connection.fetch("BEGIN", {})
    for sql in ("SAVEPOINT here", "SELECT 1 / 0", "SELECT 2"):
        connection.run(sql, {})
    connection.fetch("ROLLBACK TO SAVEPOINT here", {})
    assert connection.fetch("SELECT 3", {}) == [(3,)]
    connection.fetch("COMMIT", {})


def test_a_rollback_on_a_connection_that_was_lost(connection: PostgresConnection, url: str) -> None:
    """The rollback is not sent on a new connection, where nothing is to roll back and the statement
    would fail."""
    connection.fetch("BEGIN", {})
    ((pid,),) = connection.fetch("SELECT pg_backend_pid()", {})
    connection.run("SAVEPOINT here", {})
    with connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
    with pytest.raises(Busy):
        connection.fetch("ROLLBACK TO SAVEPOINT here", {})
    assert connection.fetch("SELECT 1", {}) == [(1,)]


def test_a_value_that_cannot_be_read(connection: PostgresConnection) -> None:
    """The COMMIT behind the failed statement gets its own answer."""
    connection.fetch("BEGIN", {})
    with pytest.raises(StatementFailed):
        connection.fetch("SELECT CAST('infinity' AS DATE)", {})
    assert connection.fetch("SELECT 2", {}) == [(2,)]
    connection.fetch("COMMIT", {})


def test_numbers_of_any_size_are_one_statement(connection: PostgresConnection) -> None:
    for number in (1, 2**20, 2**40, None, -(2**62)):
        assert connection.fetch("SELECT CAST(:number AS BIGINT)", {"number": number}) == [(number,)]
    ((prepared,),) = connection.fetch(
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT CAST%'", {}
    )
    assert prepared == 2, "None has no type"


def test_a_statement_that_was_wrong_is_wrong_again(connection: PostgresConnection) -> None:
    """A failed statement must not count as prepared."""
    for _ in range(3):
        with pytest.raises(StatementFailed, match="nonsense"):
            connection.fetch("SELECT nonsense", {})
        assert connection.fetch("SELECT 1", {}) == [(1,)]


def test_a_value_that_cannot_be_sent(connection: PostgresConnection) -> None:
    connection.fetch("BEGIN", {})
    connection.run("SELECT 1", {})
    with pytest.raises(StatementFailed):
        connection.fetch("SELECT CAST(:text AS TEXT)", {"text": "a\0b"})
    assert connection.fetch("SELECT 2", {}) == [(2,)]
    connection.fetch("COMMIT", {})
