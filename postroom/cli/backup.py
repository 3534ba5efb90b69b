"""`postroom backup` and `restore`.

When run as root, both read and write the data as the system user; only FILE belongs to root.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postroom import settings
from postroom.cli import store
from postroom.errors import BadBackup
from postroom.instance import system_user
from postroom.settings import PASSPHRASE


def backup(
    file: Path,
    mail: Annotated[bool, typer.Option("--mail", help="Include the mail folders.")] = False,
) -> None:
    """Write a backup of the database to FILE; the service may be running.
    POSTROOM_BACKUP_PASSPHRASE encrypts the backup."""
    from postroom.backup import create as making

    found, passphrase = settings.load(), os.environ.get(PASSPHRASE, "")
    me = system_user.find()
    if not me:
        raise BadBackup(f"There is nothing to back up: {found.data} was never used.")
    with _progress() as said:
        manifest = making.make(found.data, found.database, file.absolute(), me, passphrase, mail=mail, said=said)
    open_ = f"NOT encrypted: it has password hashes, private DKIM keys, secrets of webhooks. {PASSPHRASE} encrypts it"
    with_mail = f"the mail of node {found.node} alone" if found.node else "mail"
    kept, sealed = with_mail if mail else "WITHOUT their mail (--mail adds it)", "encrypted" if passphrase else open_
    rows = manifest.rows.get("accounts", 0)
    print(f"{file}: {file.stat().st_size} bytes, {rows} accounts, {kept}, verified, {sealed}.")


def restore(
    file: Path,
    force: Annotated[bool, typer.Option("--force", help="Replace the present data, which is moved aside.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept what will differ without being asked.")] = False,
) -> None:
    """Restore a backup that `postroom backup` wrote; the service must not be running."""
    from postroom.backup import restore as restoring

    found = settings.load()
    try:
        source = file.open("rb")
    except OSError as error:
        raise BadBackup(f"{file}: {error.strerror}.") from None
    if found.database != f"sqlite:///{found.data / 'db' / restoring.FILE}":
        raise BadBackup("POSTROOM_DATABASE_URL is set: only the data directory's own database is restored.")
    _locks = store.take(found)
    if not restoring.is_empty(found.data) and not force:
        raise BadBackup(f"{found.data} is already in use: --force replaces it and moves the present data aside.")
    with source, _progress() as said:
        manifest = restoring.stage(source, os.environ.get(PASSPHRASE, ""), found.data, said)
    try:
        _accept(restoring.compare(found.data, manifest), yes)
    except BaseException:
        restoring.discard(found.data)
        raise
    aside = restoring.commit(found.data)
    print(f"Restored {manifest.rows['accounts']} accounts{' and their mail' if manifest.mail else ', no mail'}.")
    if aside:
        print(f"The former data is in {aside}.")


def _accept(found: "object", yes: bool) -> None:
    """Prints what will differ, and asks for confirmation. Raises BadBackup if it is not given."""
    from postroom.backup.diff import Differences

    if isinstance(found, Differences):
        lines = found.lines()
    else:
        lines = ["The present database cannot be read, so what will differ is not known."]
    for line in lines:
        print(line)
    if not lines or yes:
        return
    if not sys.stdin.isatty():
        raise BadBackup("Nothing was changed: --yes accepts what will differ.")
    if not typer.confirm("Restore it?"):
        raise BadBackup("Nothing was changed.")


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(pulse_style="green"), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda size: progress.advance(task, size)
