"""Transfer of a SQLite database to PostgreSQL: all rows in one transaction. Before the commit the
rows are counted and their checksums compared on both sides (decision 0097).

The ids of deleted rows must not be given again, so the sequences continue from SQLite's sequences
and not from the largest existing id. The checksum of a table does not depend on the order of its
rows, because the two databases sort text differently.
"""

import contextlib
import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg
from psycopg import sql

from postroom.db import dumps, snapshots
from postroom.db.migrations import migrate
from postroom.db.sqlite import exclusive
from postroom.errors import BadBackup, Busy

Progress = Callable[[str, int, int], None]
"""Called with the current table, the number of rows done, and the number of rows in all."""

SOME = 1000
MIGRATIONS = "schema_migrations"
LAST_IDS = "SELECT name, seq FROM sqlite_sequence"
MOVE_ON = "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)"
# Only one transfer at a time runs into the target.
ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('postroom transfer', 0))"


class Sum(msgspec.Struct, frozen=True):
    """The number of rows of a table, and the checksum of its rows."""

    rows: int
    digest: int


def transfer(source: Path, url: str, progress: Progress) -> dict[str, Sum]:
    """Copies every row from `source` to the database at `url`; the source does not change. Returns
    the sum of each table. Copies nothing if the target already has the same rows. Raises BadBackup
    on failure, after which nothing was copied."""
    try:
        with exclusive(source), contextlib.closing(_open(source)) as rows:
            _prepare(rows, url)
            with psycopg.connect(url) as target:
                found = _transfer(rows, target, progress)
            with psycopg.connect(url, autocommit=True) as target:
                target.execute("ANALYZE")
            return found
    except Busy as busy:
        raise BadBackup(busy.detail) from None
    except (psycopg.Error, sqlite3.Error) as error:
        # Without PostgreSQL's detail about the row, which may contain password hashes.
        raise BadBackup(f"Nothing was moved: {_reason(error)}.") from None


def _open(source: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("BEGIN")
    return connection


def _prepare(source: sqlite3.Connection, url: str) -> None:
    """Makes the schema in the target. Raises BadBackup if the target has other tables or another
    version."""
    ours = _tables(source)
    with psycopg.connect(url) as target:
        theirs = {str(name) for (name,) in target.execute(dumps.TABLES)}
        if MIGRATIONS not in theirs:
            _refuse(theirs)
    migrate(url)
    with psycopg.connect(url) as target:
        if set(target.execute(snapshots.LEDGER)) != set(source.execute(snapshots.LEDGER)):
            raise BadBackup("The two databases are not of the same version.")
        _refuse({str(name) for (name,) in target.execute(dumps.TABLES)} - set(ours))


def _refuse(foreign: set[str]) -> None:
    if foreign:
        raise BadBackup(f"The target has tables that are not Postroom's, as {min(foreign)}: name an empty database.")


def _transfer(source: sqlite3.Connection, target: "psycopg.Connection[Any]", progress: Progress) -> dict[str, Sum]:
    target.execute(ALONE)
    tables = [table for table in _tables(source) if table != MIGRATIONS]
    total = 2 * sum(source.execute(_select(table, ["COUNT(*)"])).fetchone()[0] for table in tables)
    done = 0

    def tell(table: str, rows: int) -> None:
        nonlocal done
        done += rows
        progress(table, done, total)

    filled = [table for table in tables if target.execute((_select(table, ["1"]) + " LIMIT 1").encode()).fetchone()]
    wanted: dict[str, Sum] = {}
    for table in tables:
        columns = [f'"{row[1]}"' for row in source.execute(f'PRAGMA table_info("{table}")')]
        rows = _Summed(source.execute(_select(table, columns)), partial(tell, table))
        if filled:  # by a run that was killed after its commit, or by others: the sums show which
            deque(rows, maxlen=0)
        else:
            _copy(rows, target, table, columns)
        wanted[table] = rows.sum()
        with target.cursor(name="verify") as cursor:
            cursor.itersize = SOME
            there = _Summed(cursor.execute(_select(table, columns).encode()), partial(tell, table))
            deque(there, maxlen=0)
        if there.sum() != wanted[table]:
            what = "has data of its own" if filled else "has not got what was sent"
            raise BadBackup(f"The target {what} (table {table}). Nothing was moved; name an empty database.")
    for table, last in source.execute(LAST_IDS).fetchall():
        if last:
            target.execute(MOVE_ON, [table, last])
    return wanted


def _tables(source: sqlite3.Connection) -> list[str]:
    """Returns the tables in an order in which each table follows the tables that it refers to."""
    left = {name: _referred(source, name) - {name} for (name,) in source.execute(snapshots.TABLES).fetchall()}
    found: list[str] = []
    while left:
        free = sorted(name for name, wanted in left.items() if not wanted & left.keys())
        if not free:
            raise LookupError("tables that refer to each other")
        found += free
        left = {name: wanted for name, wanted in left.items() if name not in free}
    return found


def _referred(source: sqlite3.Connection, table: str) -> set[str]:
    return {row[2] for row in source.execute(f'PRAGMA foreign_key_list("{table}")')}


def _select(table: str, columns: Sequence[str]) -> str:
    """Returns a SELECT for both engines. The names come from the database itself."""
    return f'SELECT {", ".join(columns)} FROM "{table}"'


def _copy(rows: Iterable[tuple[Any, ...]], target: "psycopg.Connection[Any]", table: str, columns: list[str]) -> None:
    names = [sql.Identifier(column.strip('"')) for column in columns]
    copy = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(", ").join(names))
    with target.cursor() as cursor, cursor.copy(copy) as out:
        for row in rows:
            out.write_row(row)


class _Summed:
    """Counts the rows and computes their checksum during the iteration."""

    def __init__(self, rows: Iterable[tuple[Any, ...]], progress: Callable[[int], None]) -> None:
        self._rows, self._said = rows, progress
        self._count = self._digest = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for row in self._rows:
            digest = hashlib.sha256(msgspec.json.encode(row)).digest()
            self._digest = (self._digest + int.from_bytes(digest)) % 2**256
            self._count += 1
            if self._count % SOME == 0:
                self._said(SOME)
            yield row
        self._said(self._count % SOME)

    def sum(self) -> Sum:
        return Sum(self._count, self._digest)


def _reason(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or "PostgreSQL is not available or has refused it"
    return str(error)
