"""The PostgreSQL role of the mail daemons: it is created where permitted, gets its grants again
after each migration, and has only the rights that it needs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from postroom.db import NoMailRole, mail_role, migrate
from postroom.db.migrations import SCHEMA, VIEWS
from postroom.schema import look_ups
from tests.harness.postgres import PostgresServer

SECRET = "the-owners-password"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that requires passwords."""
    with PostgresServer.start(password=SECRET) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    url = server.new_database()
    migrate(url)
    return url


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "password"


def run(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


def as_role(found: dict[str, str], statement: str) -> int:
    with psycopg.connect(psycopg.conninfo.make_conninfo(**found)) as connection:
        return len(connection.execute(statement.encode()).fetchall())


def test_it_works(url: str, kept: Path) -> None:
    found = mail_role.prepare(url, "", kept)
    assert found["user"] == url.rpartition("/")[2] + "_mail"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text().strip() == found["password"] != SECRET
    for view in ("mail_logins", "mail_recipients", "mail_signing_keys"):
        assert as_role(found, f"SELECT * FROM {view}") == 0
    for statement in ("SELECT * FROM accounts", "SELECT * FROM dkim_keys", "DELETE FROM mail_domains RETURNING name"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(found, statement)
    assert mail_role.prepare(url, "", kept) == found, "the second start must create nothing"
    assert mail_role.fault(url, "", kept) is None


def test_functions_answer_whoever_may_read_the_views(server: PostgresServer, kept: Path) -> None:
    """Also in a database whose functions nobody may call by default."""
    url = server.new_database()
    run(url, "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    migrate(url)
    found = mail_role.prepare(url, "", kept)
    run(url, "CREATE ROLE {} LOGIN PASSWORD 'x'", f"{found['user']}_other")
    for view, keys in look_ups.KEYS.items():
        asked = f"SELECT * FROM {look_ups.name(view)}({', '.join(['NULL'] * len(keys))})"
        assert as_role(found, asked) == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(found | {"user": f"{found['user']}_other", "password": "x"}, asked)


def test_each_migration_grants_again(url: str, kept: Path, tmp_path: Path) -> None:
    found = mail_role.prepare(url, "", kept)
    folder = Path(shutil.copytree(SCHEMA, tmp_path / "schema"))
    with (folder / VIEWS).open("a") as views:
        views.write("\nCREATE VIEW mail_news AS SELECT id FROM organizations;\n")
    migrate(url, folder)
    assert as_role(found, "SELECT * FROM mail_logins") == as_role(found, "SELECT * FROM mail_news") == 0


def test_a_role_that_the_operator_made(url: str, kept: Path, server: PostgresServer) -> None:
    run(url, "CREATE ROLE mail_reader LOGIN PASSWORD 'theirs'")
    setting = f"postgresql://mail_reader:theirs@127.0.0.1:{server.port}/{url.rpartition('/')[2]}"
    found = mail_role.prepare(url, setting, kept)
    assert as_role(found, "SELECT * FROM mail_logins") == 0
    assert not kept.exists()


def test_it_may_not_make_one(url: str, kept: Path, server: PostgresServer) -> None:
    name = url.rpartition("/")[2]
    run(url, "CREATE ROLE {} LOGIN PASSWORD 'low'", f"{name}_owner")
    run(url, "GRANT {} TO postgres", f"{name}_owner")
    low = f"postgresql://{name}_owner:low@127.0.0.1:{server.port}/{name}"
    with pytest.raises(NoMailRole) as refused:
        mail_role.prepare(low, "", kept)
    assert f'CREATE ROLE "{name}_mail" LOGIN' in str(refused.value)
    assert "POSTROOM_MAIL_DATABASE_URL" in str(refused.value)
    assert kept.read_text().strip() not in str(refused.value)


def test_a_password_that_is_lost_is_not_set_again(url: str, kept: Path) -> None:
    """Another machine may still use the password."""
    found = mail_role.prepare(url, "", kept)
    kept.unlink()
    with pytest.raises(NoMailRole, match="ALTER ROLE"):
        mail_role.prepare(url, "", kept)
    assert as_role(found, "SELECT * FROM mail_logins") == 0


@pytest.mark.parametrize("setting", ["postgresql://postgres:{}@127.0.0.1:{}/x", "postgresql:///?service=mail"])
def test_it_refuses(url: str, kept: Path, server: PostgresServer, setting: str) -> None:
    with pytest.raises(NoMailRole, match="POSTROOM_MAIL_DATABASE_URL") as refused:
        mail_role.prepare(url, setting.format(SECRET, server.port), kept)
    assert SECRET not in str(refused.value)


def test_no_database(kept: Path) -> None:
    with pytest.raises(NoMailRole, match="not available") as refused:
        mail_role.prepare(f"postgresql://x:{SECRET}@127.0.0.1:1/x", "", kept)
    assert SECRET not in str(refused.value)


def test_its_faults_are_found(url: str, kept: Path) -> None:
    assert "is missing" in (mail_role.fault(url, "", kept) or ("",))[0]
    role = mail_role.prepare(url, "", kept)["user"]
    run(url, "GRANT SELECT ON accounts TO {}", role)
    assert "can read accounts" in (mail_role.fault(url, "", kept) or ("",))[0]
    run(url, "REVOKE SELECT ON accounts FROM {}", role)
    run(url, "REVOKE SELECT ON mail_logins FROM {}", role)
    assert "cannot read mail_logins" in (mail_role.fault(url, "", kept) or ("",))[0]
    mail_role.prepare(url, "", kept)
    kept.write_text("wrong\n")
    assert "cannot log in" in (mail_role.fault(url, "", kept) or ("",))[0]
