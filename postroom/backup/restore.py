"""Restores a backup: unpacks and checks it next to the present data, then puts it in its place.

    restoring/               being unpacked; a stop here has changed nothing
    restored-<time>/         decided, by one rename; `finish` moves its folders to their places
    before-restore-<time>/   the former data

`finish` also runs at the next start, before anything makes the data directory's folders, so that
no process ever sees the state after a crash between two renames (decision 0057).
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from postroom.accounts import mail_tokens, owner_sessions, setup_links
from postroom.backup import archive, diff
from postroom.backup.archive import Manifest, Said
from postroom.backup.diff import Differences
from postroom.db import NewerSchema, check_known, open_database, snapshots
from postroom.errors import BadBackup, Busy
from postroom.instance import digest_key, durable
from postroom.instance.pending_restore import MOVED, finish
from postroom.webhooks import deliveries, passing_messages, received_messages

STAGING = "restoring"
FILE = "postroom.db"


def stage(source: BinaryIO, passphrase: str, data: Path, said: Said) -> Manifest:
    """Unpacks a backup and checks all of it; the present data is not touched. Returns the manifest.
    Raises BadBackup."""
    staging = data / STAGING
    discard(data)
    staging.mkdir(mode=0o700)
    try:
        manifest = archive.read(source, passphrase, staging, said)
        if manifest.engine != "sqlite":
            raise BadBackup("This is a backup of a PostgreSQL database: POSTROOM_DATABASE_URL must name one.")
        _check_schema(manifest)
        (staging / "db").mkdir(mode=0o700)
        (staging / archive.DATABASE).rename(staging / "db" / FILE)
        with contextlib.suppress(FileNotFoundError):  # a backup of a version without app passwords
            (staging / digest_key.NAME).rename(digest_key.path(staging))
        if snapshots.inspect(staging / "db" / FILE) != snapshots.Contents(manifest.migrations, manifest.rows):
            raise BadBackup("The backup is damaged: its database does not match its manifest.")
        if "setup_links" in manifest.rows:  # a link that was used since must not work again
            snapshots.run(staging / "db" / FILE, setup_links.END_ALL)
        if "owner_sessions" in manifest.rows:  # an owner may have signed out since
            snapshots.run(staging / "db" / FILE, owner_sessions.END_ALL)
        if "mail_tokens" in manifest.rows:  # a token whose key or account has ended since must not work again
            snapshots.run(staging / "db" / FILE, mail_tokens.END_ALL_ACCOUNTS)
            snapshots.run(staging / "db" / FILE, mail_tokens.END_ALL)
        if "webhook_deliveries" in manifest.rows:  # a copy must not call the receivers of the original (decision 0297)
            snapshots.run(staging / "db" / FILE, deliveries.END_ALL)
            snapshots.run(staging / "db" / FILE, deliveries.SKIP_ALL)
        if "received_messages" in manifest.rows:
            snapshots.run(staging / "db" / FILE, received_messages.SKIP_ALL)
        if "passing_messages" in manifest.rows:
            snapshots.run(staging / "db" / FILE, passing_messages.KEEP_ALL)
        _complete_mail(staging / "mail", manifest)
    except OSError as error:
        discard(data)
        raise BadBackup(f"The backup cannot be unpacked: {error.strerror}.") from None
    except BaseException:
        discard(data)
        raise
    return manifest


def discard(data: Path) -> None:
    """Removes the staged data."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(data / STAGING)


def is_empty(data: Path) -> bool:
    """Whether the data directory has neither a database nor mail."""
    return not (data / "db" / FILE).exists() and not any((data / "mail").glob("*"))


def compare(data: Path, manifest: Manifest) -> Differences | None:
    """The differences from the present database, or None if the present database cannot be read.
    The manifest is that of the staged backup."""
    present = data / "db" / FILE
    if not present.exists():
        return Differences()
    try:
        has_webhooks = tuple("webhooks" in rows for rows in (manifest.rows, snapshots.inspect(present).rows))
        urls = [f"sqlite:///{path}" for path in (data / STAGING / "db" / FILE, present)]
        old, new = (open_database(url) for url in urls)
    except (BadBackup, Busy):
        return None
    try:
        return old.write_sync(lambda then: new.write_sync(lambda now: diff.find(then, now, has_webhooks=has_webhooks)))
    finally:
        old.close()
        new.close()


def commit(data: Path) -> Path | None:
    """Moves the staged data to its place. Returns the folder of the former data, or None if there
    was none."""
    staging = data / STAGING
    # Ids continue a million higher, because mail folders and queued mail are named by ids (decision
    # 0055).
    snapshots.leap(staging / "db" / FILE)
    for path in [*_below(staging), staging]:
        durable.sync(path)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    staging.rename(data / f"{MOVED}{stamp}")
    durable.sync(data)
    return finish(data)


def _check_schema(manifest: Manifest) -> None:
    try:
        check_known(manifest.migrations)
    except NewerSchema as error:
        raise BadBackup(f"The backup is of a newer version. {error}") from None


def _complete_mail(mail: Path, manifest: Manifest) -> None:
    """Makes the three folders that each Maildir needs, of which the backup lacks the empty ones."""
    if not manifest.mail:
        return
    mail.mkdir(mode=0o700, exist_ok=True)
    for where in {path.parent for name in ("cur", "new") for path in mail.rglob(name) if path.is_dir()}:
        for name in ("cur", "new", "tmp"):
            (where / name).mkdir(mode=0o700, exist_ok=True)


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        yield from (Path(where, name) for name in (*folders, *files))
