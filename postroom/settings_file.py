"""The settings file: where it is looked for, and whether it can be trusted.

The file of the current directory is never taken. The file is the first of these:

1. what POSTROOM_SETTINGS names, which must exist;
2. postroom.toml of the checkout that Postroom was installed from;
3. /etc/postroom/postroom.toml.

`settings_file` in scripts/install.sh follows the same rule (decision 0164).
"""

import errno
import os
import stat
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "POSTROOM_SETTINGS"
FILE = "postroom.toml"
SYSTEM = Path("/etc/postroom") / FILE
# Written by scripts/install.sh into the environment: `editable` or `copy`, and the checkout.
STAMP = "postroom.stamp"
MOST_LINKS = 40  # as Linux follows on the way to one file


class BadSettings(Exception):
    """A setting that cannot be used; the text is one line for the operator."""


def find(environ: Mapping[str, str]) -> Path | None:
    """The settings file in force; None where there is none. Raises BadSettings for a named file
    that is not there."""
    if named := environ.get(VARIABLE):
        path = Path(named).absolute()
        if not _is_file(path):
            raise BadSettings(f"{VARIABLE}: {path} is not a readable file.")
        return path
    root = checkout()
    places = [root / FILE, SYSTEM] if root else [SYSTEM]
    return next((path for path in places if _is_file(path)), None)


def checkout() -> Path | None:
    """The checkout that this package runs from, or that it was copied from. None for any other
    installation."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").exists():
        return root
    try:
        first = (Path(sys.prefix) / STAMP).read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    mode, _, folder = first.partition(" ")
    return Path(folder) if mode == "copy" and folder.startswith("/") else None


def read(path: Path) -> dict[str, Any]:
    """The values of a settings file. Raises BadSettings for a file that cannot be read, that is
    not TOML, and as root for a file that another user could write."""
    try:
        with path.open("rb") as file:
            if os.geteuid() == 0 and (fault := _writable_by(path, os.fstat(file.fileno()))):
                raise BadSettings(fault)
            return tomllib.loads(file.read().decode())
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path} cannot be read: {error}") from None


def readers(path: Path, group: int | None) -> str | None:
    """Who may read a file with a secret in it beside its owner: one sentence, or None where nobody
    may.

    `group` is the id of the group that may read the file: that of the system user.
    """
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o007:
        return f"{path} has a password in it and is open to all users: mode {mode:o}."
    if mode & 0o070 and (status.st_gid not in (0, group) or mode & 0o030):
        return f"{path} has a password in it and is open to the group {status.st_gid}: mode {mode:o}."
    return None


def _writable_by(path: Path, status: os.stat_result) -> str | None:
    """Whether another user than root could change what the path leads to: the file, or a
    directory on the way to it."""
    advice = "Root accepts settings only from root's own files"
    if _is_open(status):
        return f"{path} can be written by another user. {advice}: chown root {path}; chmod go-w {path}"
    for folder, entry in _way(path):
        found = folder.stat()
        # As /tmp: what is root's own stays there.
        shared = bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0 and entry.lstat().st_uid == 0
        if _is_open(found) and not shared:
            return f"{path} can be replaced by another user, who may write {folder}. {advice}: /etc/postroom is one."
    return None


def _way(path: Path) -> list[tuple[Path, Path]]:
    """The directories whose entries decide where a path leads, each with the entry: those of each
    link on the way are among them. Raises OSError."""
    found, at, links = [], Path("/"), 0
    left = [*reversed(path.absolute().parts[1:])]
    while left:
        name = left.pop()
        found.append((at, at / name))
        if name == "..":
            at = at.parent
        elif (at / name).is_symlink():
            target, links = (at / name).readlink(), links + 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            at = Path("/") if target.is_absolute() else at
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        else:
            at /= name
    return found


def _is_open(status: os.stat_result) -> bool:
    return status.st_uid != 0 or bool(status.st_mode & 0o022)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
