"""A snapshot: the whole SQLite database of one moment in one file, taken while others write.

The copy reads in one transaction, so that writers of other processes neither disturb it
nor start it anew; and what a snapshot has is asked of the finished file, never of its source.
"""

import sqlite3
from collections.abc import Callable
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
LEAP_SEQUENCES = "UPDATE sqlite_sequence SET seq = seq + ?"


class Contents(msgspec.Struct, frozen=True):
    """The schema of a snapshot, and how many rows each table has."""

    migrations: dict[str, str]
    rows: dict[str, int]


def take(source: Path, target: Path, progress: Progress) -> None:
    """Copies the database as it is at this moment. The target must be new; it is one file,
    without a WAL."""
    try:
        reader = sqlite3.connect(source, isolation_level=None)
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            reader.execute("PRAGMA query_only=1")
            reader.execute("PRAGMA wal_autocheckpoint=0")
            reader.execute("BEGIN")
            reader.execute(TABLES).fetchall()
            reader.backup(copy, pages=PAGES, progress=lambda _, left, all_: progress(all_ - left, all_), sleep=0)
            copy.execute("PRAGMA journal_mode=DELETE")
        finally:
            copy.close()
            reader.close()
    except sqlite3.Error as error:
        raise BadBackup(f"The database cannot be copied: {error}.") from None


def inspect(path: Path) -> Contents:
    """What a database has, after a check of all of it. Raises BadBackup when it is not whole."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            (state, *_), *_ = connection.execute("PRAGMA integrity_check").fetchall()
            if state != "ok" or connection.execute("PRAGMA foreign_key_check").fetchall():
                raise BadBackup("The database is damaged.")
            names = [name for (name,) in connection.execute(TABLES)]
            return Contents(dict(connection.execute(LEDGER)), {name: _count(connection, name) for name in names})
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise BadBackup(f"The database cannot be read: {error}.") from None


def leap(path: Path) -> None:
    """Moves every id that will be given beyond those that may have been given since."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(LEAP_SEQUENCES, (LEAP,))
    finally:
        connection.close()


def _count(connection: sqlite3.Connection, table: str) -> int:
    (count,) = connection.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()
    return int(count)


def quick_check(path: Path) -> dict[str, str]:
    """A fast look at a database that may be in use; answers its migrations. Raises BadBackup
    when it is damaged."""
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        try:
            (state, *_), *_ = connection.execute("PRAGMA quick_check").fetchall()
            if state != "ok":
                raise BadBackup("The database is damaged.")
            return {name: checksum for name, checksum in connection.execute(LEDGER) if name[:1].isdigit()}
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise BadBackup(f"The database cannot be read: {error}.") from None


def version() -> str:
    """The version of SQLite."""
    return sqlite3.sqlite_version
