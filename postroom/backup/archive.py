"""The file of a backup: a tar of manifest.json, the database, the key of app passwords and, if
wanted, the mail. It is compressed with zstd and followed by the SHA-256 of the compressed bytes, in
a frame that zstd skips.

A backup must be read completely before any of it is used, because only its last line says that it
is complete. Mail may change while it is read: each message file is in the backup completely or not
at all.
"""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

import msgspec
import zstandard

from postroom.backup.encryption import MAGIC, DecryptingReader, EncryptingWriter
from postroom.errors import BadBackup
from postroom.instance import digest_key
from postroom.mailplane.dovecot import maildir

FORMAT = 1
MANIFEST, DATABASE, MAIL = "manifest.json", "database", "mail"
OLD_MAGIC = (b"postroom-sealed-1\n", b"manifest.json\0")  # of encrypted and of plain old backups
TRAILER = b"\x50\x2a\x4d\x18\x48\0\0\0sha256 "  # a skippable frame of 72 bytes (RFC 8878, section 3.1.2)
TRAILER_SIZE = len(TRAILER) + 64 + 1
BLOCK = 1024 * 1024
# Bytes. A smaller file may change in place, so it is read at once. Dovecot replaces its own small
# files by renaming.
SMALL = 8 * 1024 * 1024
REBUILT = ("dovecot.index", "dovecot.list.index")

Said = Callable[[int], None]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of a backup, and the version that made it."""

    format: int
    postroom: str
    created_at: int
    engine: Literal["sqlite", "postgresql"]
    migrations: dict[str, str]
    rows: dict[str, int]
    database_sha256: str
    mail: bool


class _Tee:
    """Passes data on and hashes it."""

    def __init__(self, output: BinaryIO | EncryptingWriter) -> None:
        self._output = output
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._output.write(data)


def write(
    output: BinaryIO,
    manifest: Manifest,
    database: Path,
    mail: Path | None,
    passphrase: str,
    said: Said,
    *,
    key: Path | None = None,
) -> None:
    """Writes a complete backup. `key` is the file of the key of app passwords. `said` is called
    with the number of bytes of each stored file."""
    encrypting = EncryptingWriter(output, passphrase) if passphrase else None
    tee = _Tee(encrypting or output)
    with (
        zstandard.ZstdCompressor(write_checksum=True).stream_writer(tee, closefd=False) as packed,  # type: ignore[arg-type]
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add(tar, MANIFEST, io.BytesIO(text := msgspec.json.encode(manifest)), len(text), 0, said)
        with database.open("rb") as file:
            _add(tar, DATABASE, file, database.stat().st_size, 0, said)
        if key:
            _add_file(tar, digest_key.NAME, key, said)
        for home in _homes(mail) if mail else ():
            _add_account(tar, mail or home, home, said)
    tee.write(TRAILER + tee.digest.hexdigest().encode() + b"\n")
    if encrypting:
        encrypting.finish()
    output.flush()


def _add(tar: tarfile.TarFile, name: str, source: BinaryIO, size: int, modified: float, said: Said) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, modified
    tar.addfile(info, source)
    said(size)


def _homes(mail: Path) -> list[Path]:
    """The folder of each account, by its unsealed name."""
    return sorted({path.with_name(path.name.removesuffix(maildir.SEALED)) for path in mail.glob("*/*")})


def _add_account(tar: tarfile.TarFile, mail: Path, home: Path, said: Said) -> None:
    """Adds the mail of an account. A message that is moved during the copy (because it was read or
    flagged) is found under its new name in the next round. The same holds for a mailbox that is
    sealed or unsealed during the copy."""
    stored: set[str] = set()
    lost = True
    while lost:
        folder = maildir.place(home)
        lost = False
        for path in _walk(folder):
            name = path.relative_to(folder)
            place = name.parent.parent if name.parent.name in ("new", "cur") else name.parent
            identity = f"{place}/{name.name.partition(':2,')[0]}"
            if identity in stored:
                continue
            if _add_file(tar, f"{MAIL}/{home.relative_to(mail) / name}", path, said):
                stored.add(identity)
            else:
                lost = True
        lost = lost or maildir.place(home) != folder
    if not stored:
        _add_directory(tar, f"{MAIL}/{home.relative_to(mail)}")


def _walk(folder: Path) -> Iterator[Path]:
    """The files of an account, except those that Dovecot rebuilds. Unfinished deliveries, in tmp,
    are left out."""
    for where, folders, files in os.walk(folder):
        if "cur" in folders and "tmp" in folders:
            folders.remove("tmp")
        folders.sort(reverse=True)  # new before cur, because messages move that way
        yield from (Path(where, name) for name in files if not name.startswith(REBUILT) and not name.endswith(".lock"))


def _add_directory(tar: tarfile.TarFile, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    tar.addfile(info)


def _add_file(tar: tarfile.TarFile, name: str, path: Path, said: Said) -> bool:
    """Adds a file and returns False if it no longer exists. Anything but a regular file is skipped.
    Raises BadBackup."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return True
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise BadBackup(f"{path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_size < SMALL:
            text = file.read()
            _add(tar, name, io.BytesIO(text), len(text), status.st_mtime, said)
        else:
            _add(tar, name, file, status.st_size, status.st_mtime, said)
    return True


class _Checked:
    """Reads everything but the trailer, and hashes it. `finish` raises BadBackup if the hash is not
    the one in the trailer."""

    def __init__(self, source: BinaryIO | DecryptingReader) -> None:
        self._source = source
        self._waiting = b""
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size + TRAILER_SIZE and (more := self._source.read(max(size, BLOCK))):
            self._waiting += more
        ready = max(0, min(size, len(self._waiting) - TRAILER_SIZE))
        given, self._waiting = self._waiting[:ready], self._waiting[ready:]
        self._digest.update(given)
        return given

    def finish(self) -> None:
        while self.read(BLOCK):
            pass
        if self._waiting != TRAILER + self._digest.hexdigest().encode() + b"\n":
            raise BadBackup("The backup is damaged or cut short: its checksum is wrong.")


def read(source: BinaryIO, passphrase: str, folder: Path | None, said: Said) -> Manifest:
    """Reads and checks a whole backup, and unpacks it into an empty folder, or only checks it if
    `folder` is None. Raises BadBackup; then nothing that was unpacked may be used."""
    start = source.read(len(MAGIC))
    source.seek(0)
    if start.startswith(OLD_MAGIC):
        raise BadBackup("The backup has an older format: restore it with the Postroom that made it, then upgrade.")
    sealed = start == MAGIC
    if sealed and not passphrase:
        raise BadBackup("The backup is encrypted: set POSTROOM_BACKUP_PASSPHRASE.")
    checked = _Checked(DecryptingReader(source, passphrase) if sealed else source)
    try:
        unpacked = zstandard.ZstdDecompressor().stream_reader(checked)  # type: ignore[arg-type]
        with tarfile.open(fileobj=unpacked, mode="r|") as tar:
            manifest = _read_manifest(tar)
            _unpack(tar, manifest, folder, said)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, ValueError, OverflowError):
        checked.finish()  # a damaged file has its own message
        raise BadBackup("This file is not a backup of Postroom.") from None
    checked.finish()
    return manifest


def _read_manifest(tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    file = tar.extractfile(first) if first and first.name == MANIFEST else None
    if not file:
        raise tarfile.TarError
    manifest = msgspec.json.decode(file.read(), type=Manifest)
    if manifest.format != FORMAT:
        raise BadBackup("The backup has a newer format: upgrade Postroom first.")
    return manifest


def _unpack(tar: tarfile.TarFile, manifest: Manifest, folder: Path | None, said: Said) -> None:
    digest = None
    while member := tar.next():
        parts = PurePosixPath(member.name).parts
        if parts not in ((DATABASE,), (digest_key.NAME,)) and (
            parts[:1] != (MAIL,) or ".." in parts or not (member.isreg() or member.isdir())
        ):
            raise tarfile.TarError
        target = folder.joinpath(*parts) if folder else None
        if target:
            (target if member.isdir() else target.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        if member.isreg():
            found = _copy(tar, member, target)
            digest = found if parts == (DATABASE,) else digest
        said(member.size)
    if digest != manifest.database_sha256:
        raise tarfile.TarError


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path | None) -> str:
    """Writes a member to `target`, synced to disk, or only reads it if `target` is None. Returns
    its SHA-256."""
    digest, source = hashlib.sha256(), tar.extractfile(member)
    descriptor = os.open(target or os.devnull, os.O_WRONLY | (os.O_CREAT | os.O_EXCL if target else 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while source and (block := source.read(BLOCK)):
            digest.update(block)
            file.write(block)
        file.flush()
        if target:
            os.utime(descriptor, (member.mtime, member.mtime))
            os.fsync(descriptor)
    return digest.hexdigest()
