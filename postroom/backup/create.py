"""Makes a backup: takes a snapshot of the database, writes the file, and reads that file before it
gets its name.

The database is copied before the mail, so that no account in the backup lacks mail that it had at
that time.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from postroom import __version__
from postroom.backup import archive
from postroom.backup.archive import Manifest, Said
from postroom.db import dumps, snapshots
from postroom.db.snapshots import Contents
from postroom.errors import BadBackup
from postroom.instance import digest_key, durable
from postroom.instance.system_user import Identity

SQLITE = "sqlite:///"
COPY = "backup-"


def make(data: Path, url: str, file: Path, me: Identity, passphrase: str, *, mail: bool, said: Said) -> Manifest:
    """Writes and verifies a backup, and returns its manifest. FILE is replaced in one step, or left
    as it was. Raises BadBackup."""
    part = file.with_name(file.name + ".part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w+b") as output:
            with me.acting():  # decision 0059
                manifest = _fill(output, data, url, passphrase, mail, said)
            os.fsync(output.fileno())
        part.replace(file)
        durable.sync(file.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadBackup(f"The backup cannot be written: {error.filename or file}: {error.strerror}.") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return manifest


def _fill(output: BinaryIO, data: Path, url: str, passphrase: str, mail: bool, said: Said) -> Manifest:
    with _copied(data, url) as (copy, contents):
        with copy.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        manifest = Manifest(
            format=archive.FORMAT,
            postroom=__version__,
            created_at=time.time_ns() // 1_000_000,
            engine="sqlite" if url.startswith(SQLITE) else "postgresql",
            migrations=contents.migrations,
            rows=contents.rows,
            database_sha256=digest,
            mail=mail,
        )
        folder = data / "mail" if mail else None
        archive.write(output, manifest, copy, folder, passphrase, said, key=digest_key.path(data))
    output.seek(0)
    if archive.read(output, passphrase, None, lambda _: None) != manifest:
        raise BadBackup("The written file differs from the backup: check the disk and try again.")
    return manifest


@contextmanager
def _copied(data: Path, url: str) -> Iterator[tuple[Path, Contents]]:
    """A checked copy of the database, in the same folder. It is as secret as the database and needs
    as much disk."""
    folder = data / "db"
    for left in folder.glob(f"{COPY}*"):  # left by a backup that was killed
        left.unlink(missing_ok=True)
    copy = folder / f"{COPY}{secrets.token_hex(8)}"
    os.close(os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        if url.startswith(SQLITE):
            source = Path(url.removeprefix(SQLITE))
            if not source.is_file():
                raise BadBackup(f"There is nothing to back up: {source} does not exist.")
            snapshots.take(source, copy, lambda _done, _all: None)
            yield copy, snapshots.inspect(copy)
        else:
            yield copy, dumps.take(url, copy)
    finally:
        copy.unlink(missing_ok=True)
