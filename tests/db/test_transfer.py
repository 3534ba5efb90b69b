"""`postroom migrate-database`: moves all data from SQLite to PostgreSQL. A kill leaves nothing
behind."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postroom.db import migrate
from tests.harness.postgres import PostgresServer
from tests.harness.service import COMMAND, Service, wait_for
from tests.upgrade.make import fill

COUNT = "SELECT COUNT(*) FROM {}"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A stopped instance with some data of every kind."""
    with Service.new(mail="off") as new:
        fill(new)
        # The worker has ended these sessions.
        with closing(sqlite3.connect(database(new))) as connection, connection:
            connection.execute("DELETE FROM session_endings WHERE id > 1")
        yield new


@pytest.fixture
def target(postgres: PostgresServer) -> str:
    return postgres.new_database()


def move(service: Service, target: str) -> "subprocess.CompletedProcess[str]":
    return service.run("migrate-database", "--to", target)


def database(service: Service) -> Path:
    return service.data / "db" / "postroom.db"


def source(service: Service, sql: str) -> list[Any]:
    with closing(sqlite3.connect(database(service))) as connection:
        return connection.execute(sql).fetchall()


def there(target: str, sql: str) -> list[Any]:
    with psycopg.connect(target) as connection:
        return connection.execute(sql.encode()).fetchall()


def tables(service: Service) -> list[str]:
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [name for (name,) in source(service, sql) if name != "schema_migrations"]


def everything(ask: Callable[[str], list[Any]], names: list[str]) -> dict[str, list[Any]]:
    return {name: sorted(map(tuple, ask(f"SELECT * FROM {name}")), key=repr) for name in names}


def test_it_works(service: Service, target: str) -> None:
    """Every row is the same, and an instance on the new database carries on."""
    names = tables(service)
    before = everything(lambda sql: source(service, sql), names)
    assert all(before[name] for name in ("accounts", "events", "domains", "dkim_keys", "limits", "api_key_domains"))
    moved = move(service, target)
    assert moved.returncode == 0, moved.stderr
    assert f"{sum(map(len, before.values()))} rows of {len(names)} tables" in moved.stdout
    assert everything(lambda sql: there(target, sql), names) == before
    assert everything(lambda sql: source(service, sql), names) == before
    views = "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'mail_%'"
    assert len(there(target, views)) == len(source(service, "SELECT 1 FROM sqlite_master WHERE type = 'view'"))
    last = dict(source(service, "SELECT name, seq FROM sqlite_sequence"))
    with Service.new(mail="off", database_url=target) as other:
        other.start()
        other.run("domains", "create", "later.test", "--organization", "demo").check_returncode()
    assert there(target, "SELECT id FROM domains WHERE name = 'later.test'") == [(last["domains"] + 1,)]


def test_twice_is_as_good_as_once(service: Service, target: str) -> None:
    """A second run, as after a kill behind the commit, compares every value. No id is used again,
    even if its row is deleted, like those of revocations that are done."""
    first, second = move(service, target), move(service, target)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert first.stdout == second.stdout
    given = dict(source(service, "SELECT name, seq FROM sqlite_sequence"))
    assert given["session_endings"] > max([0, *(row[0] for row in source(service, "SELECT id FROM session_endings"))])
    for table, last in given.items():
        assert there(target, f"SELECT nextval(pg_get_serial_sequence('{table}', 'id'))") == [(last + 1,)], table
    with psycopg.connect(target) as connection:
        connection.execute("UPDATE events SET created_at = created_at + 1 WHERE id = 3")
    refused = move(service, target)
    assert (refused.returncode, "table events" in refused.stderr) == (1, True)


def test_a_kill_in_the_middle_leaves_nothing(service: Service, target: str) -> None:
    """The run is blocked in the middle, killed, and started again."""
    migrate(target)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(target) as holder:
        holder.execute("LOCK TABLE events IN SHARE MODE")  # permits reads and blocks writes
        process = subprocess.Popen([COMMAND, "migrate-database", "--to", target], env=service.environment)
        wait_for("the copy to block", lambda: there(target, waiting))
        process.kill()
        process.wait()
    wait_for("PostgreSQL to notice", lambda: not there(target, waiting))
    assert {there(target, COUNT.format(name))[0][0] for name in tables(service)} == {0}
    again = move(service, target)
    assert again.returncode == 0, again.stderr
    assert there(target, COUNT.format("events"))[0] == source(service, COUNT.format("events"))[0]


def test_data_of_others_is_refused(service: Service, target: str) -> None:
    migrate(target)
    with psycopg.connect(target) as connection:
        connection.execute("INSERT INTO organizations (name, created_at) VALUES ('theirs', 1)")
    refused = move(service, target)
    assert refused.returncode == 1
    assert "has data of its own" in refused.stderr
    assert there(target, "SELECT name FROM organizations") == [("theirs",)]
    assert there(target, "SELECT COUNT(*) FROM accounts") == [(0,)]


@pytest.mark.parametrize("after_the_schema", [True, False])
def test_tables_of_others_are_refused(service: Service, target: str, after_the_schema: bool) -> None:
    if after_the_schema:
        migrate(target)
    with psycopg.connect(target) as connection:
        connection.execute("CREATE TABLE shop (id INT)")
    refused = move(service, target)
    assert refused.returncode == 1
    assert "not Postroom's, as shop" in refused.stderr


def test_a_running_instance_is_refused(service: Service, target: str) -> None:
    service.start()
    try:
        refused = move(service, target)
        assert (refused.returncode, "stop it first" in refused.stderr) == (2, True)
        assert there(target, "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()") == [(0,)]
    finally:
        service.stop()


def test_an_impossible_move_says_why(service: Service, target: str) -> None:
    for url, reason in (
        ("mysql://localhost/x", "use postgresql://"),
        ("postgresql://postgres:hush@127.0.0.1:1/x", "not available"),
    ):
        refused = move(service, url)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert "hush" not in refused.stderr
    service.settings["database_url"] = target
    try:
        assert "already" in move(service, target).stderr
    finally:
        del service.settings["database_url"]


def test_there_must_be_something(target: str, tmp_path: Path) -> None:
    with Service.new(mail="off") as empty:
        refused = move(empty, target)
        assert (refused.returncode, "nothing to move" in refused.stderr) == (1, True)
        shutil.rmtree(empty.data)
