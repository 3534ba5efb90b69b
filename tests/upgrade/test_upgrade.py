"""Every released schema migrates to the newest one and keeps its data, also if the process is
killed at any moment."""

import random
import re
import signal
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postroom.db import migrate, open_database
from postroom.db.migrations import SCHEMA, VIEWS
from tests.upgrade.make import HERE, load

FIXTURES = sorted(HERE.glob("*.sql"))
CHANGELOG = HERE.parent.parent / "CHANGELOG.md"
# Tables that a migration drops with their contents: the key of the nodes' authority (0020).
DROPPED = {"node_authority"}
ROUNDS, LONG_ROUNDS = 6, 20
ALL = sorted(path.name for path in SCHEMA.glob("0*.sql"))

KILLED = """
import os, signal, sys
from postroom.db import migrate, tx
left, real = int(sys.argv[2]), tx.Tx.run
def run(self, sql, **params):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, sql, **params)
tx.Tx.run = run
migrate(sys.argv[1])
print(int(sys.argv[2]) - left)
"""


def migrate_in_a_process(url: str, kill_at: int) -> int | None:
    """Returns the number of statements that ran, or None if the process was killed before the
    statement with number `kill_at`."""
    ended = subprocess.run([sys.executable, "-c", KILLED, url, str(kill_at)], capture_output=True, text=True)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return int(ended.stdout) if ended.returncode == 0 else None


def query(url: str, text: str) -> list[Any]:
    if url.startswith("sqlite:///"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
            return database.execute(text).fetchall()
    return connected(url).execute(text.encode()).fetchall()


@cache
def connected(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True)


def columns(url: str) -> dict[str, list[str]]:
    """Returns the columns of each table."""
    if url.startswith("sqlite:///"):
        names = [
            n for (n,) in query(url, "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%'")
        ]
        return {name: [row[1] for row in query(url, f"PRAGMA table_info({name})")] for name in names}
    rows = query(
        url,
        "SELECT table_name, column_name FROM information_schema.columns JOIN pg_tables ON tablename = table_name"
        " WHERE table_schema = 'public' ORDER BY 1, ordinal_position",
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def contents(url: str, wanted: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Returns the rows of these tables and columns."""
    return {
        table: sorted(query(url, f"SELECT {', '.join(names)} FROM {table}"), key=repr)
        for table, names in wanted.items()
        if table != "schema_migrations"
    }


def ledger(url: str) -> list[str]:
    return [name for (name,) in query(url, "SELECT name FROM schema_migrations ORDER BY name") if name != VIEWS]


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(LONG_ROUNDS, marks=pytest.mark.long)])
@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_it_works(fixture: Path, rounds: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    def new() -> str:
        if fixture.name.endswith(".sqlite.sql"):
            for left in tmp_path.glob("postroom.db*"):  # also the WAL of a killed process
                left.unlink(missing_ok=True)  # a connection that is collected only now removes its WAL
            url = f"sqlite:///{tmp_path / 'postroom.db'}"
        else:
            url = request.getfixturevalue("postgres").new_database()
        load(fixture, url)
        return url

    url = new()
    steps = migrate_in_a_process(url, 0)
    assert steps
    for kill_at in random.sample(range(1, steps + 1), min(rounds, steps)):
        url = new()
        before_schema, before_columns = ledger(url), columns(url)
        before = contents(url, before_columns)
        assert len(before["accounts"]) >= 6
        assert migrate_in_a_process(url, kill_at) is None
        assert ledger(url) == before_schema, kill_at
        assert columns(url) == before_columns
        assert contents(url, before_columns) == before
        migrate(url)
        assert ledger(url) == ALL
        after = columns(url)
        assert after.keys() >= before_columns.keys() - DROPPED
        assert not after.keys() & DROPPED
        kept = {
            table: [n for n in names if n in after[table]] for table, names in before_columns.items() if table in after
        }
        assert contents(url, kept) == {table: rows for table, rows in before.items() if table in after}
        assert query(url, "SELECT login FROM mail_logins")


@pytest.mark.parametrize("fixture", FIXTURES[-2:], ids=lambda path: path.stem)
def test_where_old_passwords_come_from(fixture: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The schema before password_scheme tells a chosen password by its hash."""
    is_sqlite = fixture.name.endswith(".sqlite.sql")
    url = f"sqlite:///{tmp_path / 'postroom.db'}" if is_sqlite else request.getfixturevalue("postgres").new_database()
    load(fixture, url)
    database = open_database(url)
    sql = "UPDATE accounts SET password = '{ARGON2ID}x' WHERE id = (SELECT MIN(id) FROM accounts)"
    database.write_sync(lambda tx: tx.run(sql))
    database.close()
    migrate(url)
    found = query(url, "SELECT password LIKE '{ARGON2ID}%', password_scheme FROM accounts ORDER BY id")
    assert [(bool(is_argon2), scheme) for is_argon2, scheme in found] == [
        (True, "chosen"),
        *[(False, "generated")] * (len(found) - 1),
    ]


def test_every_released_schema_has_its_fixtures() -> None:
    """The changelog names the newest migration of each version as `Schema: NAME`."""
    sections = re.split(r"^## ", CHANGELOG.read_text(encoding="utf-8"), flags=re.M)[1:]
    for section in sections:
        named = re.findall(r"Schema: `(\w+)`", section)
        assert named or "not released" in section.splitlines()[0], f"{section.splitlines()[0]} names no schema"
        for name in named:
            assert f"{name}.sql" in ALL
            assert {HERE / f"{name}.sqlite.sql", HERE / f"{name}.postgresql.sql"} <= set(FIXTURES), name
