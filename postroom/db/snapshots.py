"""A snapshot: the whole SQLite database of one moment in one file, taken while others write.

The copy reads in one transaction, so that writers of other processes neither disturb it
nor start it anew; and what a snapshot has is asked of the finished file, never of its source.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import msgspec

from postroom.errors import BadBackup

Progress = Callable[[int, int], None]
PAGES = 2048
# After a restore no id is given again that was given after the backup: mail folders and queued mail
# are named by it.
LEAP = 1_000_000

LEDGER = "SELECT name, checksum FROM schema_migrations ORDER BY name"
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
DAMAGED = "The database is damaged."
LEAP_SEQUENCES = "UPDATE sqlite_sequence SET seq = seq + ?"


class Contents(msgspec.Struct, frozen=True):
    """The schema of a snapshot, and how many rows each table has."""

    migrations: dict[str, str]
    rows: dict[str, int]


def take(source: Path, target: Path, progress: Progress) -> None:
    """Copies the database as it is at this moment. The target must be new; it is one file,
    without a WAL."""
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
    """What a database has, after a check of all of it. Raises BadBackup when it is not whole."""
    with _checked(path, "PRAGMA integrity_check") as connection:
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            raise BadBackup(DAMAGED)
        names = [name for (name,) in connection.execute(TABLES)]
        return Contents(dict(connection.execute(LEDGER)), {name: _count(connection, name) for name in names})


def quick_check(path: Path) -> dict[str, str]:
    """A fast look at a database that may be in use; answers its migrations. Raises BadBackup
    when it is damaged."""
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
    """Moves every id that will be given beyond those that may have been given since."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(LEAP_SEQUENCES, (LEAP,))


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()
    return int(count)


def version() -> str:
    """The version of SQLite."""
    return sqlite3.sqlite_version
