"""A page of accounts costs the same, however many accounts there are that its filters leave out.
Work is counted, not timed: SQLite's steps, PostgreSQL's pages of memory."""

import itertools
import json
import sqlite3
from collections.abc import Iterator
from typing import Any, cast

import psycopg
import pytest

from postroom.accounts import alias_pages, queries
from postroom.accounts.model import COLUMNS
from postroom.accounts.queries import AccountFilter
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from tests.harness.postgres import PostgresServer

ACCOUNTS = 20_000
LIMIT = 51
# At most this much for a page. Reading every account takes more than 100,000 steps and 400 pages.
MOST_STEPS, MOST_PAGES = 12_000, 150
FILL = """
INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
  created_at, updated_at)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
SELECT (SELECT id FROM organizations WHERE name = 'flat'), (SELECT id FROM domains WHERE name = 'flat.test'), 'u',
  'a' || n || '@flat.test', :status, 0, '{SSHA512}x', 1, 1, 1 FROM numbers ORDER BY n"""
EVERY_STATUS = (None, "active", "suspended", "disabled")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('flat') / 'postroom.db'}"
    return cast(PostgresServer, request.getfixturevalue("postgres")).new_database()


@pytest.fixture(scope="module", params=["active", "suspended"])
def filled(url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Database, str, Actor, int]]:
    """One organization, domain and user, whose accounts all have this status."""
    status = request.param
    migrate(url)
    database = open_database(url)

    def work(tx: Tx) -> tuple[int, int]:
        tx.run("DELETE FROM accounts WHERE id > 0")
        tx.run("INSERT INTO organizations (name, created_at) VALUES ('flat', 1) ON CONFLICT DO NOTHING")
        tx.run(
            "INSERT INTO domains (organization_id, name, status, created_at, updated_at)"
            " SELECT id, 'flat.test', 'active', 1, 1 FROM organizations WHERE name = 'flat'"
            " AND NOT EXISTS (SELECT 1 FROM domains WHERE name = 'flat.test')"
        )
        tx.run(FILL, status=status)
        row = tx.one("SELECT MIN(organization_id), MIN(domain_id) FROM accounts")
        assert row
        return row[0], row[1]

    organization, domain = database.write_sync(work)
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    yield database, status, Actor(organization), domain
    database.close()


class Recorder:
    """Takes the statement of a page, instead of a transaction."""

    now = 1

    def all(self, sql: str, **params: Any) -> list[Any]:
        self.asked = sql, params
        return []


def work_of(url: str, database: Database, sql: str, params: dict[str, Any]) -> tuple[int, int]:
    """The work of a statement, and the most that it may be."""
    if url.startswith("postgresql"):
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"
        ((plan,),) = database.write_sync(lambda tx: tx.all(explained, **params))
        top = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        return top["Shared Hit Blocks"] + top["Shared Read Blocks"], MOST_PAGES
    steps = itertools.count()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.set_progress_handler(lambda: next(steps) and 0, 10)
        connection.execute(sql, params).fetchall()
    return next(steps) * 10, MOST_STEPS


@pytest.mark.parametrize("names", [(), ("user_id",), ("domain_id",), ("user_id", "domain_id")], ids=" ".join)
@pytest.mark.parametrize("q", [None, "a777@"])
@pytest.mark.parametrize("newest", [False, True])
def test_a_page_is_flat(
    url: str, filled: tuple[Database, str, Actor, int], names: tuple[str, ...], q: str | None, newest: bool
) -> None:
    """With one exception: among accounts of which none is active, a list of the active ones reads
    all."""
    database, status, actor, domain = filled
    values: dict[str, Any] = {"user_id": "u", "domain_id": domain}
    for wanted in EVERY_STATUS:
        if wanted == "active" and status != "active" and q is None:
            continue
        chosen = AccountFilter(**{name: values[name] for name in names}, status=wanted, q=q, newest=newest)
        for columns in (COLUMNS, "id, user_id, address", *(["id, address"] if "domain_id" in names else [])):
            asked = Recorder()
            queries.rows(cast(Tx, asked), actor, chosen, columns, limit=LIMIT)
            work, most = work_of(url, database, *asked.asked)
            assert 0 <= work <= most, (wanted, asked.asked[0])


@pytest.mark.parametrize("names", [(), ("user_id",), ("domain_id",), ("user_id", "domain_id")], ids=" ".join)
def test_a_page_of_one_scheme_is_flat(
    url: str, filled: tuple[Database, str, Actor, int], names: tuple[str, ...]
) -> None:
    """Every password is a generated one: the few others are found at once, with and without the
    status that all accounts have."""
    database, status, actor, domain = filled
    values: dict[str, Any] = {"user_id": "u", "domain_id": domain}
    of_scheme = {name: values[name] for name in names}
    for wanted, scheme in itertools.product((None, status), ("generated", "chosen", "imported")):
        for q in (None, "a777@"):
            chosen = AccountFilter(**of_scheme, status=wanted, password_scheme=scheme, q=q)
            asked = Recorder()
            queries.rows(cast(Tx, asked), actor, chosen, limit=LIMIT)
            work, most = work_of(url, database, *asked.asked)
            assert 0 <= work <= most, asked.asked[0]


def test_the_aliases_of_a_page_take_one_more_statement() -> None:
    class Rows(Recorder):
        number = 0

        def all(self, sql: str, **params: Any) -> list[Any]:
            self.number += 1
            return [(id_, f"{id_}@x.test") for id_ in range(LIMIT)]

    asked = Rows()
    found = alias_pages.of_rows(cast(Tx, asked), Actor(1), AccountFilter(), limit=LIMIT)
    assert [row[2:] for row in found] == [((f"{id_}@x.test",), False) for id_ in range(LIMIT)]
    assert asked.number == 2
