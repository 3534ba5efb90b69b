"""Who Postroom runs as: the system user `postroom` when root starts it, else the current user.

`become` is final for the process, also for what it does at its end.
"""

import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

NAME = "postroom"
USERADD = [
    "useradd",
    "--system",
    "--user-group",
    "--no-create-home",
    "--home-dir=/nonexistent",
    "--shell=/usr/sbin/nologin",
    "--comment=Postroom",
]


class NoSystemUser(Exception):
    """The system user is missing and could not be made; the text is one line for the operator."""


class Ownership(TypedDict, total=False):
    """What subprocess needs to start a process as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Identity:
    """The user that owns the data directory and runs all that needs no root."""

    name: str
    uid: int
    gid: int

    def ownership(self) -> Ownership:
        """Arguments for subprocess.Popen; empty when this process is that user already."""
        if os.geteuid() != 0 or self.uid == 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: str | os.PathLike[str] | int) -> None:
        """Gives a file or directory to this user. A link is not followed."""
        if os.geteuid() == 0:
            follow = isinstance(path, int)
            os.chown(path, self.uid, self.gid, follow_symlinks=follow)

    def become(self) -> None:
        """Drops root for good. Does nothing without root."""
        if os.geteuid() == 0 and self.uid != 0:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """This user for a while, for what reads where that user may have put a link. Does
        nothing without root."""
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        groups = os.getgroups()
        os.setgroups([])
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


def find() -> Identity | None:
    """The identity if it exists, without making it."""
    try:
        entry = pwd.getpwnam(NAME) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:
        return None
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def ensure() -> Identity:
    """The identity; as root the system user is made if it is missing."""
    found = find()
    if found:
        return found
    if os.geteuid() != 0:  # a container may run as a number without a name
        return Identity(str(os.geteuid()), os.geteuid(), os.getegid())
    etc = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(etc, fcntl.LOCK_EX)  # two useradd of one name at a time may both make it, with two numbers
        return find() or _make()
    finally:
        os.close(etc)


def _make() -> Identity:
    try:
        done = subprocess.run([*USERADD, NAME], capture_output=True, text=True)
    except FileNotFoundError:
        raise NoSystemUser(f"The system user {NAME} is missing and there is no useradd to make it.") from None
    found = find()
    if not found:
        raise NoSystemUser(f"The system user {NAME} could not be made: {done.stderr.strip()}")
    return found
