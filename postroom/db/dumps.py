"""Dumps of a PostgreSQL database by its own pg_dump, in its custom format.

The rows are counted in the very snapshot that pg_dump reads, and no credential is in the
arguments of a process.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from postroom.db.pipeline import connect
from postroom.db.snapshots import LEDGER, Contents
from postroom.errors import BadBackup, Busy

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
# libpq's variable for each part of a connection string.
VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
VARIABLES |= {"password": "PGPASSWORD", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}
VARIABLES |= {"target_session_attrs": "PGTARGETSESSIONATTRS", "options": "PGOPTIONS", "service": "PGSERVICE"}


def take(url: str, target: Path) -> Contents:
    """Dumps the database as it is at this moment. Raises BadBackup."""
    try:
        with connect(url) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            contents = _contents(connection)
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            # The snapshot is known to the server that we are on, whatever other hosts the URL
            # names.
            place = {"host": connection.info.host, "port": str(connection.info.port)}
            dump = ["pg_dump", "--format=custom", "--no-owner", f"--snapshot={row[0] if row else ''}"]
            _run(dump, {**conninfo_to_dict(url), **place}, target)
            return contents
    except Busy as error:
        raise BadBackup(error.detail) from None
    except psycopg.Error:
        raise BadBackup("The database is not available.") from None


def _contents(connection: "psycopg.Connection[tuple[object, ...]]") -> Contents:
    names = [str(name) for (name,) in connection.execute(TABLES)]
    count = sql.SQL("SELECT COUNT(*) FROM {}")
    rows = {name: connection.execute(count.format(sql.Identifier(name))).fetchone() for name in names}
    ledger = {str(name): str(checksum) for name, checksum in connection.execute(LEDGER)}
    return Contents(ledger, {name: int(str(row[0])) for name, row in rows.items() if row})


def _run(command: list[str], parts: Mapping[str, object], target: Path) -> None:
    variables = {VARIABLES[name]: str(value) for name, value in parts.items() if name in VARIABLES}
    try:
        with target.open("wb") as output:
            done = subprocess.run(command, env=os.environ | variables, stdout=output, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise BadBackup("pg_dump is missing: apt-get install postgresql-client.") from None
    if done.returncode != 0:
        raise BadBackup(f"pg_dump has failed: {(done.stderr.strip().splitlines() or [''])[-1]}")
