"""The user that Postroom runs as: the system user `postroom` if root starts it, else the current
user.

A process that has called `become` can never get root again, not even for its cleanup.
"""

import fcntl
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypedDict

NAME = "postroom"
SENDING_GROUP = "postdrop"
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
    """The system user is missing and cannot be created. The text is one line for the operator."""


class Ownership(TypedDict, total=False):
    """The arguments of subprocess.Popen that start a process as another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Identity:
    """The user that owns the data directory and runs everything that does not need root."""

    name: str
    uid: int
    gid: int

    def ownership(self) -> Ownership:
        """Returns the arguments for subprocess.Popen; empty if this process already has this
        user."""
        if os.geteuid() != 0 or self.uid == 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: str | os.PathLike[str] | int) -> None:
        """Makes this user the owner of a file or directory, without following a link. Does nothing
        without root."""
        if os.geteuid() == 0:
            follow = isinstance(path, int)
            os.chown(path, self.uid, self.gid, follow_symlinks=follow)

    def become(self, groups: Sequence[int] = ()) -> None:
        """Drops root permanently, and keeps only these other groups. Does nothing without root."""
        if os.geteuid() == 0 and self.uid != 0:
            os.setgroups(groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    @contextmanager
    def acting(self, groups: Sequence[int] = ()) -> Iterator[None]:
        """Acts as this user in the block, for code that reads where this user may have put a link.
        `groups`: the user's other groups. Does nothing without root."""
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        before = os.getgroups()
        os.setgroups(groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(before)


def sending_groups() -> list[int]:
    """Returns the group that can reach Postfix's sockets for mail of this machine, if Postfix is
    installed (decision 0321)."""
    try:
        return [grp.getgrnam(SENDING_GROUP).gr_gid]
    except KeyError:
        return []


def find() -> Identity | None:
    """Returns the identity, or None if it does not exist. Makes no user."""
    try:
        entry = pwd.getpwnam(NAME) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    except KeyError:
        return None
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def ensure() -> Identity:
    """Returns the identity. As root, creates the system user if it is missing. Raises
    NoSystemUser."""
    found = find()
    if found:
        return found
    if os.geteuid() != 0:  # in a container, the user may have a number and no name
        return Identity(str(os.geteuid()), os.geteuid(), os.getegid())
    etc = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Two simultaneous useradd may both create the user, with different numbers.
        fcntl.flock(etc, fcntl.LOCK_EX)
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
