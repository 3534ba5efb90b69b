"""A mailbox that is sealed: its folder has another name, and a file stands in its place.

A session that was let in a moment ago, or a delivery under way, would make a folder that is
missing anew, and what it has acknowledged would be lost with the old copy. It cannot where a
file stands. Both change places in one step of the file system, so there is no moment between
(decision 0114).
"""

import ctypes
import errno
import fcntl
import os
import shutil
import time
from itertools import islice
from pathlib import Path

SEALED = ".sealed"
COPY_LOCKS = (".dovecot-sync.lock", ".dovecot-box-sync.lock")
# A file of a delivery under way grows; what is older was left behind.
STALE_SECONDS = 60
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# What one round erases at most, so that other work has its turn.
ERASE_BATCH_ENTRIES = 2000
RENAME_EXCHANGE = 2  # renameat2(2): ext4, XFS, Btrfs, tmpfs; not NFS

_libc = ctypes.CDLL(None, use_errno=True)


def seal(mail: Path, account_id: int) -> None:
    """From here on nothing can be added to the mailbox. Done twice it is done once. Raises
    OSError."""
    shelf = _open_shelf(mail, account_id)
    try:
        name = str(account_id)
        if not _is_sealed(shelf, name):
            _clear(mail, shelf, account_id)
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


def place(home: Path) -> Path:
    """Where the mailbox of this folder is now."""
    sealed = home.with_name(f"{home.name}{SEALED}")
    return sealed if sealed.is_dir() and not home.is_dir() else home


def is_quiet(mail: Path, account_id: int) -> bool:
    """Whether no delivery and no change is under way in the mailbox, as far as files show it."""
    home = home_of(mail, account_id)
    now = time.time()
    drafts = [path for folder in _folders(home) for path in _entries(folder / "tmp")]
    return not any(now - modified < STALE_SECONDS for path in (*drafts, *_locks(home)) if (modified := _modified(path)))


def is_being_copied(mail: Path, account_id: int) -> bool:
    """Whether any process is copying the mailbox. A file that no process locks was left behind."""
    home = place(home_of(mail, account_id))
    return any(_is_locked(home / name) for name in COPY_LOCKS)


def unlock(mail: Path, account_id: int) -> None:
    """Removes the locks in a sealed mailbox: their holders can neither continue nor release them.
    Keeps the lock of a copy, which continues even if the worker that began it was killed, and
    must be waited for."""
    for path in _locks(home_of(mail, account_id, SEALED)):
        if path.name not in COPY_LOCKS:
            path.unlink(missing_ok=True)


def shelf_of(account_id: int) -> str:
    """The folder of the mailboxes that an account's is among, below the folder of all mail."""
    return f"{account_id % 256:02x}"


def home_of(mail: Path, account_id: int, suffix: str = "") -> Path:
    """The folder of an account: of its mail and its Sieve scripts."""
    return mail / shelf_of(account_id) / f"{account_id}{suffix}"


def _folders(home: Path) -> list[Path]:
    """The folders of a Maildir++: beside each other, with a dot in front."""
    inbox = home / "Maildir"
    return [inbox, *(path for path in _entries(inbox) if path.name.startswith(".") and path.is_dir())]


def _locks(home: Path) -> list[Path]:
    return [path for folder in (home, *_folders(home)) for path in _entries(folder) if path.name.endswith(".lock")]


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


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
        shelf = shelf_of(account_id)
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
    """Where both are folders the mailbox is open: the other one was made by a command that went
    on after its end."""
    return _is_folder(shelf, name + SEALED) and not _is_folder(shelf, name)


def _is_folder(shelf: int, name: str) -> bool:
    try:
        os.close(os.open(name, FOLDER, dir_fd=shelf))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _clear(mail: Path, shelf: int, account_id: int) -> None:
    """Takes away such a folder. One with mail in it is nobody's to erase."""
    name = f"{account_id}{SEALED}"
    if not _is_folder(shelf, name):
        return
    for folder in _folders(home_of(mail, account_id, SEALED)):
        if _entries(folder / "new") or _entries(folder / "cur"):
            raise OSError(errno.ENOTEMPTY, f"{name} is in the way, and there is mail in it", name)
    shutil.rmtree(name, dir_fd=shelf)


def _exchange(shelf: int, one: str, other: str) -> None:
    if _libc.renameat2(shelf, one.encode(), shelf, other.encode(), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one)


def erase(mail: Path, account_id: int, most: int, suffix: str = "") -> int:
    """Takes away the folder of an account, at most so many entries; answers how many more it
    might have. 0: it may not be done yet."""
    root = os.open(mail, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # where it leads is the operator's choice
    try:
        shelf = os.open(shelf_of(account_id), FOLDER, dir_fd=root)
    except FileNotFoundError:
        return most
    finally:
        os.close(root)
    try:
        return _erase_entry(shelf, f"{account_id}{suffix}", most)
    finally:
        os.close(shelf)


def _erase_entry(parent: int, name: str, most: int) -> int:
    try:
        folder = os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return most
    except NotADirectoryError:  # a file; or a link, whose target is none of ours
        os.unlink(name, dir_fd=parent)
        return most - 1
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, most)]
        for entry_name in names:
            if most > 0:
                most = _erase_entry(folder, entry_name, most)
    finally:
        os.close(folder)
    if most <= 0:
        return 0
    os.rmdir(name, dir_fd=parent)
    return most - 1
