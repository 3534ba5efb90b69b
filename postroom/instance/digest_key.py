"""The key of the digests by which Dovecot finds an app password (decision 0249): a file of the data
directory that only the system user can read.

Without the file, every app password is refused. Backups contain it, and nodes share it.
"""

import hashlib
import os
import re
import secrets
from pathlib import Path

from postroom.instance import durable

NAME = "digest.key"
KEY_BYTES = 32
DIGITS = 10
FORM = re.compile(r"[0-9a-f]{64}")


def ensure(data: Path) -> str:
    """Returns the key in hexadecimal. Makes it if there is none: of several processes at once, one
    makes it. Raises OSError, ValueError."""
    try:
        return read(data)
    except FileNotFoundError:
        keep(data, secrets.token_hex(KEY_BYTES))
    return read(data)


def read(data: Path) -> str:
    """Returns the key. Raises OSError, and ValueError for a damaged file."""
    key = path(data).read_text(encoding="ascii").strip()
    if not FORM.fullmatch(key):
        raise ValueError(f"{path(data)} is damaged: restore it from a backup")
    return key


def keep(data: Path, key: str) -> None:
    """Stores the key, unless there is one. Raises OSError."""
    draft = path(data).with_name(f"{NAME}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path(data))
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    durable.sync(path(data).parent)


def replace(data: Path, key: str) -> None:
    """Stores the key of the other nodes in the place of an own one, which is kept beside it. Raises
    OSError."""
    try:
        if read(data) == key:
            return
    except FileNotFoundError:
        pass
    except ValueError:
        path(data).unlink()
    else:
        path(data).replace(path(data).with_name(f"{NAME}.former"))
    keep(data, key)


def fingerprint(key: str) -> str:
    """Returns a text that tells two keys apart and says nothing else about them."""
    return hashlib.sha256(f"fingerprint {key}".encode()).hexdigest()[:16]


def path(data: Path) -> Path:
    return data / "db" / NAME


def digest(key: str, password: str) -> str:
    """Returns the digest of an app password. Dovecot computes the same of what a client sends."""
    return hashlib.sha256(key.encode() + password.encode()).hexdigest()[:DIGITS]
