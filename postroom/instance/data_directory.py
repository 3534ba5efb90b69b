"""One instance: its data directory, and the lock that lets only one service work on it.

The lock belongs to an open file that no child inherits, so it is free the moment the service is
dead, however it died. Started as root, the directory stays root's, with the sticky bit
(decision 0065): the system user works in it and cannot put something else in the place of what
root reads or runs.
"""

import fcntl
import os
import re
import time
from pathlib import Path

from postroom.instance import pending_restore
from postroom.instance.system_user import Identity

# A unix socket's path has 107 bytes (unix(7)); Dovecot's and Postfix's names below the directory
# take up to 42.
LONGEST_PATH = 107 - 42
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")  # decision 0022
LOCK_PATIENCE = 0.5
# What the system user owns, and what root keeps where there is root: mode for one, mode for the
# other.
OWNED = {"db": 0o700, "mail": 0o700}
KEPT = {"": (0o711, 0o1771), "run": (0o711, 0o1771), "log": (0o750, 0o750)}


class CannotStart(Exception):
    """The service cannot start; the text is one clear line for the operator."""


def check_path(data: Path) -> None:
    """Refuses a data directory that the daemons could not work with."""
    length = len(os.fsencode(data))
    if length > LONGEST_PATH:
        raise CannotStart(
            f"POSTROOM_DATA is too long for unix sockets: {data} has {length} bytes, {LONGEST_PATH} are possible."
        )
    if not PLAIN_PATH.fullmatch(str(data)):
        raise CannotStart(f"POSTROOM_DATA: {data} may have letters, digits and ._+@- only (the daemons' files).")


def make_directories(data: Path, identity: Identity) -> None:
    """Makes the data directory with its modes and owner."""
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
    """Each directory with its mode, and whether root owns it."""
    kept = {name: (modes[root], root) for name, modes in KEPT.items()}
    return kept | {name: (mode, False) for name, mode in OWNED.items()}


def _make(path: Path, identity: Identity, owner: int, mode: int) -> None:
    """A directory with its owner and mode. A link in its place is refused, and so is somebody
    else's directory."""
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
    """Every directory above must let the identity through; root's home, for one, does not."""
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
    """Locks the instance for a whole service, or for one part of it. Keep the descriptors open."""
    names = {"lock": fcntl.LOCK_EX} if part is None else {"lock": fcntl.LOCK_SH, f"lock.{part}": fcntl.LOCK_EX}
    return [_lock(data / "run" / name, kind, identity) for name, kind in names.items()]


def _lock(path: Path, kind: int, identity: Identity) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    identity.own(descriptor)
    deadline = time.monotonic() + LOCK_PATIENCE  # `postroom status` holds it for a moment
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise CannotStart(f"Another Postroom service runs on {path.parent.parent} already.") from None
            time.sleep(0.02)
    return descriptor


def is_locked(data: Path) -> bool:
    """Whether a service, or a part of one, holds the lock."""
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
