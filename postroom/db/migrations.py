"""The schema: numbered files that are applied in order, all in one transaction. The transaction
also drops the views, creates them again and grants them again to the roles that could read them;
on PostgreSQL also the functions that look up rows of them (schema/look_ups.py).
An applied file must never be edited: its checksum is stored and checked."""

import hashlib
import re
from contextlib import closing
from pathlib import Path

from postroom.db.database import Engine, engine_for
from postroom.db.tx import Tx
from postroom.db.writer import run_alone
from postroom.schema import look_ups

SCHEMA = Path(__file__).parent.parent / "schema"
VIEWS = "mail_views.sql"

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  name       TEXT PRIMARY KEY,
  checksum   TEXT NOT NULL,
  applied_at BIGINT NOT NULL
)"""
APPLIED = "SELECT name, checksum FROM schema_migrations"
RECORD = """
INSERT INTO schema_migrations (name, checksum, applied_at) VALUES (:name, :checksum, :now)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = excluded.applied_at"""


class NewerSchema(Exception):
    """The database is from a newer Postroom, or an applied migration was edited."""


def migrate(url: str, folder: Path = SCHEMA) -> None:
    """Brings the database to the schema of this version, in one transaction. Does nothing if the
    schema is up to date.

    Raises NewerSchema if the database has migrations that this version does not have.
    """
    engine = engine_for(url)
    with closing(engine.writer(has_deadlines=False)) as connection:
        run_alone(connection, lambda tx: _apply(tx, engine, folder))


def check_known(applied: dict[str, str], folder: Path = SCHEMA) -> None:
    """Raises NewerSchema if this version does not have one of these migrations."""
    files = _files(folder)
    for name, checksum in applied.items():
        if name == VIEWS:
            continue
        if name not in files:
            raise NewerSchema(f"The database has migration {name}, which this version does not know: upgrade.")
        if checksum != _checksum(files[name]):
            raise NewerSchema(f"Migration {name} is not the one that made this database: restore the file.")


def statements(text: str) -> list[str]:
    """Returns the statements of a schema file. Its literals must not contain `;` or `--`."""
    bare = re.sub(r"--[^\n]*", "", text)
    return [part.strip() for part in bare.split(";") if part.strip()]


def _apply(tx: Tx, engine: Engine, folder: Path) -> None:
    tx.run(LEDGER)
    applied: dict[str, str] = dict(tx.all(APPLIED))
    check_known(applied, folder)
    new = {name: text for name, text in _files(folder).items() if name not in applied}
    views = (folder / VIEWS).read_text(encoding="utf-8")
    checksum = _checksum(views + "".join(look_ups.FUNCTIONS.values()))  # the same on both engines
    if not new and applied.get(VIEWS) == checksum:
        return
    names = re.findall(r"CREATE VIEW (\w+)", views)
    readers = engine.view_readers(tx, names)
    functions = look_ups.FUNCTIONS if engine.has_functions else {}
    for view in functions:
        tx.run(f"DROP FUNCTION IF EXISTS {look_ups.name(view)}")
    for name in reversed(names):
        tx.run(f"DROP VIEW IF EXISTS {name}")
    for name, text in new.items():
        _run_all(tx, engine, text)
        tx.run(RECORD, name=name, checksum=_checksum(text), now=tx.now)
    _run_all(tx, engine, views)
    for view in functions.keys() & set(names):
        tx.run(functions[view])
        # Whatever the database's default is. The caller's rights hold in the function.
        tx.run(f"GRANT EXECUTE ON FUNCTION {look_ups.name(view)} TO PUBLIC")
    for role in readers:  # dropping a view has removed its grants
        quoted = role.replace('"', '""')
        tx.run(f'GRANT SELECT ON {", ".join(names)} TO "{quoted}"')
    tx.run(RECORD, name=VIEWS, checksum=checksum, now=tx.now)


def _files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("[0-9]*.sql"))}


def _run_all(tx: Tx, engine: Engine, text: str) -> None:
    for statement in statements(text):
        for name, type_ in engine.types.items():
            statement = statement.replace(f"{{{name}}}", type_)
        tx.run(statement)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
