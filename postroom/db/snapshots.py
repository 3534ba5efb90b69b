"""Snapshots: a copy of the whole SQLite database at one moment, in one file, taken while other
processes write.

The copy reads in one transaction, so that writers in other processes neither disturb nor restart
the copy. The contents are read from the finished file, never from its source.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from postroom.errors import BadBackup

Progress = Callable[[int, int], None]
VERSION = sqlite3.sqlite_version
PAGES = 2048
# Number added to each id sequence by a restore. Ids that were given after the backup must not be
# given again, because mail folders and queued mail are named by id.
LEAP = 1_000_000

LEDGER = "SELECT name, checksum FROM schema_migrations ORDER BY name"
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
DAMAGED = "The database is damaged."
LEAP_SEQUENCES = "UPDATE sqlite_sequence SET seq = seq + ?"


class Contents(msgspec.Struct, frozen=True):
    """The migrations in a snapshot (name: checksum), and the number of rows in each table."""

    migrations: dict[str, str]
    rows: dict[str, int]


def take(source: Path, target: Path, progress: Progress) -> None:
    """Copies the current state of the database to `target`, which must not exist. The copy is one
    file, without a WAL. Raises BadBackup."""
    try:
        with (
            closing(sqlite3.connect(source, isolation_level=None)) as reader,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            reader.execute("PRAGMA query_only=1")
            reader.execute("PRAGMA wal_autocheckpoint=0")
            reader.execute("BEGIN")
            reader.execute(TABLES).fetchall()
            reader.backup(copy, pages=PAGES, progress=lambda _, left, all_: progress(all_ - left, all_), sleep=0)
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise BadBackup(f"The database cannot be copied: {error}.") from None


def inspect(path: Path) -> Contents:
    """Checks a whole database and returns its contents. Raises BadBackup if it is damaged."""
    with _checked(path, "PRAGMA integrity_check") as connection:
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            raise BadBackup(DAMAGED)
        names = [name for (name,) in connection.execute(TABLES)]
        return Contents(dict(connection.execute(LEDGER)), {name: _count(connection, name) for name in names})


def quick_check(path: Path) -> dict[str, str]:
    """Checks quickly a database that may be in use. Returns its migrations (name: checksum). Raises
    BadBackup if it is damaged."""
    with _checked(path, "PRAGMA quick_check") as connection:
        return {name: checksum for name, checksum in connection.execute(LEDGER) if name[:1].isdigit()}


@contextmanager
def _checked(path: Path, check: str) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            (state, *_), *_ = connection.execute(check).fetchall()
            if state != "ok":
                raise BadBackup(DAMAGED)
            yield connection
    except sqlite3.Error as error:
        raise BadBackup(f"The database cannot be read: {error}.") from None


def leap(path: Path) -> None:
    """Raises every id sequence by LEAP, beyond the ids that were given after the backup."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(LEAP_SEQUENCES, (LEAP,))


def run(path: Path, sql: str) -> None:
    """Runs one statement in a snapshot that nothing else has open."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql)


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0])
