"""A mailbox that is sealed: its folder has another name, and a file stands in its place.

A stranger would get wrong: a session that was let in a moment ago, or a delivery under way, would make a folder that
is missing anew, and what it has acknowledged would be lost with the old copy. It cannot where a file stands. Both
change places in one step of the file system, so there is no moment between.
"""

import ctypes
import os
import time
from pathlib import Path

SEALED = ".sealed"
# A file of a delivery under way grows; what is older was left behind.
STALE_SECONDS = 60
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RENAME_EXCHANGE = 2  # renameat2(2): ext4, XFS, Btrfs, tmpfs; not NFS

_libc = ctypes.CDLL(None, use_errno=True)


def seal(mail: Path, account_id: int) -> None:
    """From here on nothing can be added to the mailbox. Done twice it is done once. Raises OSError."""
    shelf = _open_shelf(mail, account_id)
    try:
        name = str(account_id)
        if not _is_sealed(shelf, name):
            _make(shelf, name)
            os.close(os.open(name + SEALED, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=shelf))
            _exchange(shelf, name, name + SEALED)
        os.fsync(shelf)
    finally:
        os.close(shelf)


def unseal(mail: Path, account_id: int) -> None:
    """The mailbox is as it was."""
    shelf = _open_shelf(mail, account_id)
    try:
        name = str(account_id)
        if _is_sealed(shelf, name):
            _exchange(shelf, name, name + SEALED)
            os.unlink(name + SEALED, dir_fd=shelf)
        os.fsync(shelf)
    finally:
        os.close(shelf)


def is_quiet(mail: Path, account_id: int) -> bool:
    """Whether no delivery and no change is under way in the mailbox, as far as files show it."""
    home = _home(mail, account_id)
    now = time.time()
    drafts = [path for folder in _folders(home) for path in _entries(folder / "tmp")]
    return not any(now - modified < STALE_SECONDS for path in (*drafts, *_locks(home)) if (modified := _modified(path)))


def unlock(mail: Path, account_id: int) -> None:
    """Takes away the locks in a sealed mailbox: whoever held one can neither go on nor give it back."""
    for path in _locks(_home(mail, account_id, SEALED)):
        path.unlink(missing_ok=True)


def _home(mail: Path, account_id: int, suffix: str = "") -> Path:
    return mail / f"{account_id % 256:02x}" / f"{account_id}{suffix}"


def _folders(home: Path) -> list[Path]:
    """The folders of a Maildir++: beside each other, with a dot in front."""
    inbox = home / "Maildir"
    return [inbox, *(path for path in _entries(inbox) if path.name.startswith(".") and path.is_dir())]


def _locks(home: Path) -> list[Path]:
    return [path for folder in (home, *_folders(home)) for path in _entries(folder) if path.name.endswith(".lock")]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0


def _open_shelf(mail: Path, account_id: int) -> int:
    root = os.open(mail, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        shelf = f"{account_id % 256:02x}"
        _make(root, shelf)
        return os.open(shelf, FOLDER, dir_fd=root)
    finally:
        os.close(root)


def _make(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return


def _is_sealed(shelf: int, name: str) -> bool:
    try:
        os.close(os.open(name + SEALED, FOLDER, dir_fd=shelf))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _exchange(shelf: int, one: str, other: str) -> None:
    if _libc.renameat2(shelf, one.encode(), shelf, other.encode(), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one)
