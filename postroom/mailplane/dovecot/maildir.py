"""Folders of mailboxes: they are sealed, unsealed and erased. A sealed mailbox has its folder under
another name, and a file under the original name.

If the folder were only renamed, a recent session or a running delivery would make it again, and
mail that it acknowledges would be lost. A file under the original name prevents that. File and
folder exchange their names in one atomic step, so there is no moment between (decision 0114).
"""

import ctypes
import errno
import fcntl
import os
import shutil
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

SEALED = ".sealed"
COPY_LOCKS = (".dovecot-sync.lock", ".dovecot-box-sync.lock")
# Seconds after which an unchanged file of a delivery counts as left behind. The file of a running
# delivery grows.
STALE_SECONDS = 60
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Largest number of files and folders that one round erases before other work is done.
ERASE_BATCH_ENTRIES = 2000
RENAME_EXCHANGE = 2  # renameat2(2): ext4, XFS, Btrfs, tmpfs; not NFS

_libc = ctypes.CDLL(None, use_errno=True)


def seal(mail: Path, account_id: int) -> None:
    """Seals a mailbox, so that nothing can be added to it. Does nothing if it is sealed already.
    Raises OSError."""
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
    """Reverses `seal`. Does nothing if the mailbox is not sealed. Raises OSError."""
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
    """Returns where the mailbox of this folder is now: the folder itself or its sealed name."""
    sealed = home.with_name(f"{home.name}{SEALED}")
    return sealed if sealed.is_dir() and not home.is_dir() else home


def is_quiet(mail: Path, account_id: int) -> bool:
    """Returns whether no delivery or change is in progress in the mailbox, as far as its files
    show."""
    home = home_of(mail, account_id)
    now = time.time()
    drafts = [path for folder in _folders(home) for path in _entries(folder / "tmp")]
    return not any(now - modified < STALE_SECONDS for path in (*drafts, *_locks(home)) if (modified := _modified(path)))


def is_being_copied(mail: Path, account_id: int) -> bool:
    """Returns whether a process is copying the mailbox. A lock file that no process has locked was
    left behind and does not count."""
    home = place(home_of(mail, account_id))
    return any(_is_locked(home / name) for name in COPY_LOCKS)


def unlock(mail: Path, account_id: int) -> None:
    """Removes the lock files in a sealed mailbox, because their holders can neither continue nor
    release them. Keeps the lock of a copy: a copy continues even if its worker was killed, and must
    be waited for."""
    for path in _locks(home_of(mail, account_id, SEALED)):
        if path.name not in COPY_LOCKS:
            path.unlink(missing_ok=True)


def changes(mail: Path, account_id: int) -> tuple[int, int]:
    """Returns when a folder of an account last changed, in nanoseconds since 1970 UTC, and a number
    that differs after each delivery. Both are made of the times of folders, so asking costs
    little."""
    found = {}
    for folder in _folders(home_of(mail, account_id)):
        for name in ("new", "cur"):
            with suppress(OSError):
                found[folder.name, name] = (folder / name).stat().st_mtime_ns
    return max(found.values(), default=0), hash(frozenset(found.items()))


def shelf_of(account_id: int) -> str:
    """Returns the name of the shelf of an account: the folder, below the folder of all mail, that
    contains the account's folder."""
    return f"{account_id % 256:02x}"


def home_of(mail: Path, account_id: int, suffix: str = "") -> Path:
    """Returns the folder of an account, which has its mail and its Sieve scripts."""
    return mail / shelf_of(account_id) / f"{account_id}{suffix}"


def _folders(home: Path) -> list[Path]:
    """Returns the mail folders of a Maildir++: the INBOX, and in it the folders whose names begin
    with a dot."""
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
    """Returns whether the mailbox is sealed. If both names are folders, the mailbox is open, and a
    command that ran too long has made the folder with the sealed name."""
    return _is_folder(shelf, name + SEALED) and not _is_folder(shelf, name)


def _is_folder(shelf: int, name: str) -> bool:
    try:
        os.close(os.open(name, FOLDER, dir_fd=shelf))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _clear(mail: Path, shelf: int, account_id: int) -> None:
    """Removes a stray folder with the sealed name. Raises OSError if there is mail in the
    folder."""
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
    """Erases the folder of an account, at most `most` files and folders. Returns how many more
    could have been erased; 0 means that some may be left. Raises OSError."""
    root = os.open(mail, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # may be a link: the operator chooses the place
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
    except NotADirectoryError:  # a file, or a link, whose target must not be touched
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
