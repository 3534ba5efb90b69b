"""The data directory of an instance, and the lock that lets only one service use it.

The lock belongs to an open file that no child inherits, so the lock ends with the service, no
matter how the service died. If root starts the service, root owns the directory, with the sticky
bit (decision 0065): the system user works in it, but cannot replace files that root reads or runs.
"""

import fcntl
import os
import re
import time
from pathlib import Path

from postroom.instance import pending_restore
from postroom.instance.system_user import Identity

# Longest path of the data directory in bytes. The path of a unix socket has at most 107 bytes
# (unix(7)); the names of Dovecot and Postfix below the directory take up to 42.
LONGEST_PATH = 107 - 42
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")  # decision 0022
LOCK_SECONDS = 0.5
# OWNED: directories of the system user, with their modes. KEPT: directories that root owns if the
# service has root; the first mode is without root, the second with root.
OWNED = {"db": 0o700, "mail": 0o700}
KEPT = {"": (0o711, 0o1771), "run": (0o711, 0o1771), "log": (0o750, 0o750)}


class CannotStart(Exception):
    """The service cannot start. The text is one line for the operator."""


def check_path(data: Path) -> None:
    """Raises CannotStart for a path that the daemons cannot use."""
    length = len(os.fsencode(data))
    if length > LONGEST_PATH:
        raise CannotStart(
            f"POSTROOM_DATA is too long for unix sockets: {data} has {length} bytes, {LONGEST_PATH} are possible."
        )
    if not PLAIN_PATH.fullmatch(str(data)):
        raise CannotStart(f"POSTROOM_DATA: {data} may have letters, digits and ._+@- only (the daemons' files).")


def make_directories(data: Path, identity: Identity) -> None:
    """Makes the data directory with its modes and owners, after any unfinished restore. Raises
    CannotStart."""
    try:
        with identity.acting():
            pending_restore.finish(data)
        root = bool(identity.ownership())
        for name, modes in KEPT.items():
            _make(data / name, identity, 0 if root else identity.uid, modes[root])
        for name, mode in OWNED.items():
            _make(data / name, identity, identity.uid, mode)
    except OSError as error:
        who = f" Run this as root, or as the user {identity.name}." if isinstance(error, PermissionError) else ""
        raise CannotStart(f"POSTROOM_DATA: {error.filename}: {error.strerror}.{who}") from None
    _check_reach(data, identity)


def directories(root: bool) -> dict[str, tuple[int, bool]]:
    """Returns each directory with its mode, and whether root owns it."""
    kept = {name: (modes[root], root) for name, modes in KEPT.items()}
    return kept | {name: (mode, False) for name, mode in OWNED.items()}


def _make(path: Path, identity: Identity, owner: int, mode: int) -> None:
    """Makes a directory with its owner and mode. Raises OSError for a link in its place, and
    CannotStart for a directory of another user."""
    path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        kept = found.st_uid == 0 and found.st_gid == identity.gid
        if not (kept or found.st_uid == identity.uid or (found.st_uid == 0 and next(path.iterdir(), None) is None)):
            raise CannotStart(
                f"POSTROOM_DATA: {path} belongs to user {found.st_uid}, "
                f"Postroom runs as {identity.name} ({identity.uid})."
            )
        if os.geteuid() == 0:
            os.fchown(descriptor, owner, identity.gid)
        if os.geteuid() in (0, found.st_uid):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _check_reach(data: Path, identity: Identity) -> None:
    """Raises CannotStart if the identity cannot enter a directory above, such as root's home."""
    if not identity.ownership():
        return
    for folder in data.parents:
        status = folder.stat()
        bit = 0o100 if status.st_uid == identity.uid else 0o010 if status.st_gid == identity.gid else 0o001
        if not status.st_mode & bit:
            raise CannotStart(
                f"POSTROOM_DATA: user {identity.name} cannot reach {data}, because {folder} is closed to others."
            )


def lock(data: Path, part: str | None, identity: Identity) -> list[int]:
    """Locks the instance for a whole service, or for one part of it. Returns the descriptors, which
    hold the lock while they are open. Raises CannotStart."""
    names = {"lock": fcntl.LOCK_EX} if part is None else {"lock": fcntl.LOCK_SH, f"lock.{part}": fcntl.LOCK_EX}
    return [_lock(data / "run" / name, kind, identity) for name, kind in names.items()]


def _lock(path: Path, kind: int, identity: Identity) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    identity.own(descriptor)
    deadline = time.monotonic() + LOCK_SECONDS  # in seconds; `postroom status` holds the lock for a moment
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise CannotStart(f"Another Postroom service runs on {path.parent.parent}: stop it first.") from None
            time.sleep(0.02)
    return descriptor


def is_locked(data: Path) -> bool:
    """Returns whether a service, or a part of one, holds the lock."""
    try:
        descriptor = os.open(data / "run" / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
