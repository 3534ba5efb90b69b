"""The settings file: where Postroom looks for it, and whether it can be trusted.

A file in the current directory is never used. The settings file is the first of these:

1. the file that POSTROOM_SETTINGS names, which must exist;
2. postroom.toml in the checkout that Postroom was installed from;
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
from urllib.parse import parse_qsl, urlsplit

VARIABLE = "POSTROOM_SETTINGS"
FILE = "postroom.toml"
SYSTEM = Path("/etc/postroom") / FILE
# A file that scripts/install.sh writes into the virtual environment. Its first line has `editable`
# or `copy`, and the path of the checkout.
STAMP = "postroom.stamp"
MOST_LINKS = 40  # symbolic links in one path, the same as in Linux


class BadSettings(Exception):
    """A setting cannot be used. The text is one line for the operator."""


def find(environ: Mapping[str, str]) -> Path | None:
    """Returns the settings file in force, or None. Raises BadSettings if POSTROOM_SETTINGS names a
    file that cannot be read."""
    if named := environ.get(VARIABLE):
        path = Path(named).absolute()
        if not _is_file(path):
            raise BadSettings(f"{VARIABLE}: {path} is not a readable file.")
        return path
    root = checkout()
    places = [root / FILE, SYSTEM] if root else [SYSTEM]
    return next((path for path in places if _is_file(path)), None)


def checkout() -> Path | None:
    """Returns the checkout that this package runs from or was copied from; None for any other
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
    """Returns the values in a settings file. Raises BadSettings if the file cannot be read or is
    not TOML, or if the process is root and another user could write the file."""
    try:
        with path.open("rb") as file:
            if os.geteuid() == 0 and (fault := _writable_by(path, os.fstat(file.fileno()))):
                raise BadSettings(fault)
            return tomllib.loads(file.read().decode())
    except (OSError, ValueError) as error:
        raise BadSettings(f"{path} cannot be read: {error}") from None


def readers(path: Path, group: int | None) -> str | None:
    """Returns one sentence about who can read a file with a secret, besides its owner; None if
    nobody else can.

    `group` is the id of the system user's group, which may read the file.
    """
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o007:
        return f"{path} has a password in it and is open to all users: mode {mode:o}."
    if mode & 0o070 and (status.st_gid not in (0, group) or mode & 0o030):
        return f"{path} has a password in it and is open to the group {status.st_gid}: mode {mode:o}."
    return None


def _writable_by(path: Path, status: os.stat_result) -> str | None:
    """Returns one sentence if a user other than root could change the file or replace it through a
    directory on the path, else None. Raises OSError."""
    advice = "Root accepts settings only from root's own files"
    if _is_open(status):
        return f"{path} can be written by another user. {advice}: chown root {path}; chmod go-w {path}"
    for folder, entry in _way(path):
        found = folder.stat()
        # A directory with the sticky bit, like /tmp: other users cannot replace root's own entries.
        shared = bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0 and entry.lstat().st_uid == 0
        if _is_open(found) and not shared:
            return f"{path} can be replaced by another user, who may write {folder}. {advice}: /etc/postroom is one."
    return None


def _way(path: Path) -> list[tuple[Path, Path]]:
    """Returns pairs (directory, entry) for each directory that decides where a path leads,
    including the directories of symbolic links in the path. Raises OSError."""
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


def is_secret(name: str, value: object) -> bool:
    """Returns whether a value is a password, or a URL that contains a password."""
    if any(word in name for word in ("password", "secret", "passphrase", "token")):
        return not name.endswith("_file")  # the path of a file
    if not isinstance(value, str) or "://" not in value:
        return False
    try:
        url = urlsplit(value)
        return bool(url.password) or any("password" in key for key, _ in parse_qsl(url.query))
    except ValueError:
        return True  # not a valid URL: assume that it contains a password
