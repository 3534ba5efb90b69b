"""`postroom migrate-database`: moves the data from SQLite to PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postroom import settings
from postroom.cli import store
from postroom.errors import BadBackup


def migrate_database(
    to: Annotated[
        str, typer.Option("--to", help="An empty database: postgresql://…; PGPASSWORD may have its password.")
    ],
) -> None:
    """Move the SQLite database into a PostgreSQL database; the service must not be running."""
    from postroom.db import migrate, transfer

    found = settings.load()
    if not found.database.startswith("sqlite:///"):
        raise BadBackup("POSTROOM_DATABASE_URL already names a PostgreSQL database: only SQLite can be moved.")
    if not to.startswith("postgresql://"):
        raise BadBackup("--to: use postgresql://….")
    _locks = store.take(found)
    source = Path(found.database.removeprefix("sqlite:///"))
    if not source.exists():
        raise BadBackup(f"There is nothing to move: {source} does not exist.")
    migrate(found.database)
    with _progress() as said:
        moved = transfer.transfer(source, to, said)
    rows = sum(table.rows for table in moved.values())
    print(f"{rows} rows of {len(moved)} tables are in the target, counted and compared ({source} is as it was).")
    print("Set POSTROOM_DATABASE_URL to the target before the next start.")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Shows a progress bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda table, done, total: progress.update(task, description=table, completed=done, total=total)
