"""Migrations: in order, all or nothing; a newer schema or an edited migration is refused; views are
created again."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postroom.db import NewerSchema, migrate, open_database
from postroom.db.migrations import SCHEMA, VIEWS, statements

NewUrl = Callable[[], str]
SECOND = """
-- One more; a comment with a semicolon; and a quote'
CREATE TABLE things (id {identity}, name {exact_text} NOT NULL);
ALTER TABLE organizations ADD COLUMN note TEXT;
INSERT INTO things (name) VALUES ('first')
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """A function that returns the URL of a new, empty database."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
    made: NewUrl = request.getfixturevalue("postgres").new_database
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the schema that a test may change."""
    return Path(shutil.copytree(SCHEMA, tmp_path / "schema"))


def ask(url: str, sql: str) -> list[Any]:
    database = open_database(url)
    try:
        return database.write_sync(lambda tx: tx.all(sql))
    finally:
        database.close()


LEDGER = "SELECT name, checksum, applied_at FROM schema_migrations ORDER BY name"


def test_it_works(new_url: NewUrl) -> None:
    url = new_url()
    migrate(url)
    assert [row[0] for row in ask(url, LEDGER)] == [*sorted(path.name for path in SCHEMA.glob("0*.sql")), VIEWS]
    assert ask(url, "SELECT id FROM accounts") == ask(url, "SELECT login FROM mail_logins") == []


def test_the_second_time_does_nothing(new_url: NewUrl) -> None:
    url = new_url()
    migrate(url)
    before = ask(url, LEDGER)
    ask(url, "INSERT INTO organizations (name, created_at) VALUES ('kept', 1) RETURNING id")
    migrate(url)
    assert ask(url, LEDGER) == before
    assert ask(url, "SELECT name FROM organizations") == [("kept",)]


def test_a_new_file_is_applied_once(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    migrate(url, folder)
    ask(url, "INSERT INTO organizations (name, created_at) VALUES ('kept', 1) RETURNING id")
    (folder / "0002_things.sql").write_text(SECOND)
    migrate(url, folder)
    migrate(url, folder)
    assert ask(url, "SELECT id, name FROM things") == [(1, "first")]
    assert ask(url, "SELECT name, note FROM organizations") == [("kept", None)]


def test_upgraded_equals_new(new_url: NewUrl, folder: Path) -> None:
    upgraded, new = new_url(), new_url()
    migrate(upgraded, folder)
    (folder / "0002_things.sql").write_text(SECOND)
    for url in (upgraded, new):
        migrate(url, folder)
    schema = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    if not new.startswith("sqlite"):
        schema = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        )
    assert ask(upgraded, schema) == ask(new, schema)


@pytest.mark.parametrize(
    "broken", [SECOND + "; CREATE TABLE things (id BIGINT)", SECOND + "; NONSENSE", SECOND + "; SELECT id FROM no_such"]
)
def test_all_or_nothing(new_url: NewUrl, folder: Path, broken: str) -> None:
    url = new_url()
    migrate(url, folder)
    before = ask(url, LEDGER)
    (folder / "0002_things.sql").write_text("CREATE TABLE earlier (id BIGINT)")
    (folder / "0003_broken.sql").write_text(broken)
    with pytest.raises(Exception, match=r"things|(?i:nonsense)|no_such"):
        migrate(url, folder)
    assert ask(url, LEDGER) == before
    assert ask(url, "SELECT login FROM mail_logins") == []
    (folder / "0003_broken.sql").unlink()
    migrate(url, folder)
    assert ask(url, "SELECT id FROM earlier") == []


def test_a_view_that_cannot_be_made_undoes_all(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    migrate(url, folder)
    (folder / "0002_things.sql").write_text(SECOND)
    views = (folder / VIEWS).read_text()
    (folder / VIEWS).write_text(views + "; CREATE VIEW mail_broken AS SELECT no_such_column FROM accounts")
    if url.startswith("sqlite"):  # SQLite checks a view only when it is read
        return
    with pytest.raises(Exception, match="no_such_column"):
        migrate(url, folder)
    assert not any(row[0] == "0002_things.sql" for row in ask(url, LEDGER))


def test_a_newer_schema_is_refused(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    (folder / "0002_things.sql").write_text(SECOND)
    migrate(url, folder)
    before = ask(url, LEDGER)
    with pytest.raises(NewerSchema, match=r"0002_things\.sql.*upgrade"):
        migrate(url)
    assert ask(url, LEDGER) == before


def test_an_edited_migration_is_refused(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    migrate(url, folder)
    before = ask(url, LEDGER)
    first = folder / "0001_start.sql"
    first.write_text(first.read_text() + "\n")
    with pytest.raises(NewerSchema, match=r"0001_start\.sql"):
        migrate(url, folder)
    assert ask(url, LEDGER) == before


def test_views_are_made_again_when_they_change(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    migrate(url, folder)
    views = (folder / VIEWS).read_text()
    (folder / VIEWS).write_text(views.replace("SELECT name FROM domains", "SELECT name, id AS domain_id FROM domains"))
    migrate(url, folder)
    assert ask(url, "SELECT domain_id FROM mail_domains") == []
    (folder / VIEWS).write_text(views)
    migrate(url, folder)
    with pytest.raises(Exception, match="domain_id"):
        ask(url, "SELECT domain_id FROM mail_domains")


def test_a_migration_may_change_what_a_view_reads(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    migrate(url, folder)
    (folder / "0002_rename.sql").write_text("ALTER TABLE accounts RENAME COLUMN generation TO era")
    views = (folder / VIEWS).read_text()
    (folder / VIEWS).write_text(
        views.replace("accounts.generation", "accounts.era").replace("SELECT id, generation ||", "SELECT id, era ||")
    )
    migrate(url, folder)
    assert ask(url, "SELECT login FROM mail_logins") == ask(url, "SELECT domain FROM mail_sessions") == []


def test_statements() -> None:
    assert statements("-- a; b\nSELECT 1; -- c\n\n;  SELECT\n2;") == ["SELECT 1", "SELECT\n2"]
    assert all("--" not in part for part in statements((SCHEMA / VIEWS).read_text()))


def test_keys_that_were_made_by_keys_find_their_root(new_url: NewUrl, folder: Path) -> None:
    url = new_url()
    later = [path.rename(path.with_suffix(".later")) for path in folder.glob("0014*.sql")]
    migrate(url, folder)
    database = open_database(url)
    database.write_sync(lambda tx: tx.run("INSERT INTO organizations (name, created_at) VALUES ('o', 1)"))
    made = """
    INSERT INTO api_keys (organization_id, prefix, digest, scopes, created_at, parent_id)
    VALUES (1, 'p', :d, 's', 1, :p)"""
    for digest, parent in (("a", None), ("b", 1), ("c", 2), ("d", None), ("e", 2)):
        database.write_sync(lambda tx, given=(digest, parent): tx.run(made, d=given[0], p=given[1]))  # type: ignore[misc]
    database.close()
    for path in later:
        path.rename(path.with_suffix(".sql"))
    migrate(url, folder)
    assert ask(url, "SELECT id, root_id FROM api_keys ORDER BY id") == [(1, None), (2, 1), (3, 1), (4, None), (5, 1)]
