"""One instance: its data directory, and the lock that lets only one service work on it.

A stranger would get wrong: the lock belongs to an open file that no child inherits, so it is free the moment
the service is dead, however it died.
"""

import fcntl
import os
import re
import time
from pathlib import Path

from postroom import restored
from postroom.identity import Identity

# A unix socket's path has 107 bytes (unix(7)); Dovecot's and Postfix's names below the directory take up to 42.
LONGEST_PATH = 107 - 42
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+@-]+")
LOCK_PATIENCE = 0.5
DIRECTORIES = {"": 0o711, "db": 0o700, "mail": 0o700, "run": 0o711, "log": 0o750}


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
            restored.finish(data)
        for name, mode in DIRECTORIES.items():
            path = data / name
            path.mkdir(parents=not name, exist_ok=True)
            _check_owner(path, identity)
            path.chmod(mode)
    except OSError as error:
        raise CannotStart(f"POSTROOM_DATA: {error.filename}: {error.strerror}.") from None
    _check_reach(data, identity)


def _check_owner(path: Path, identity: Identity) -> None:
    owner = path.lstat().st_uid
    if owner == 0 and not any(path.iterdir()):
        identity.own(path)
    elif owner != identity.uid:
        raise CannotStart(
            f"POSTROOM_DATA: {path} belongs to user {owner}, Postroom runs as {identity.name} ({identity.uid})."
        )


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
