"""The machine under an instance: owners and modes, disk, clock, certificate.

A mode is the most that is allowed; a stricter mode is fine.
"""

import os
import pwd
import ssl
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from postroom import settings as settings_of
from postroom.doctor.diagnosis import Diagnosis, Level
from postroom.instance.data_directory import directories
from postroom.instance.system_user import Identity
from postroom.mailplane.postfix import relay
from postroom.mailplane.render import service_path, tls_paths
from postroom.settings import Settings
from postroom.settings_file import readers

MIB = 1024 * 1024
NEARLY_FULL, FULL = 1024 * MIB, 100 * MIB
FEW_INODES = 0.05
RENEW = timedelta(days=21)
DRIFT = 300


def permissions(settings: Settings, me: Identity) -> Iterator[Diagnosis]:
    """Checks owner and mode of the files that Postroom keeps."""
    root = pwd.getpwuid(0)
    found = directories(settings.data.exists() and settings.data.stat().st_uid == 0).items()
    wanted = {settings.data / name: (mode, root.pw_name if kept else me.name) for name, (mode, kept) in found}
    wanted |= dict.fromkeys(_database_files(settings.data / "db"), (0o600, me.name))
    readers = {"dovecot": me.name, "opendkim": me.name, "postfix": "postfix"}  # who reads the database's password
    wanted |= {settings.data / relay.LOGIN: (0o600, root.pw_name)}
    wanted |= {service_path(settings, name): (0o600, reader) for name, reader in readers.items()}
    fine = True
    for path, (mode, owner) in wanted.items():
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue
        if status.st_uid != (me.uid if owner == me.name else pwd.getpwnam(owner).pw_uid):
            fine = False
            yield Diagnosis(
                "error", "permissions", f"{path} does not belong to {owner}.", f"chown {owner}:{me.name} {path}"
            )
        if stat.S_IMODE(status.st_mode) & ~mode:
            fine = False
            text = f"{path} is open to others: mode {stat.S_IMODE(status.st_mode):o}."
            yield Diagnosis("error", "permissions", text, f"chmod {mode:o} {path}")
    if fine:
        yield Diagnosis("ok", "permissions", f"Owners and modes in {settings.data} are right.")


def settings_file(found: Settings, me: Identity | None) -> Iterator[Diagnosis]:
    """Checks whether others can read a password in the settings file, or in a file that
    it names."""
    group = me.gid if me else None
    secret = Path(found.relay_password_file or "/nonexistent")
    if secret.is_file() and (fault := readers(secret, group)):
        yield Diagnosis("error", "settings", fault, f"chmod 600 {secret}")
    path = settings_of.file_of()
    if path is None:
        return
    if fault := settings_of.open_secrets(group):
        yield Diagnosis("error", "settings", fault, f"chmod 600 {path}")
    else:
        yield Diagnosis("ok", "settings", f"{path} does not expose a password.")


def disk(settings: Settings) -> Iterator[Diagnosis]:
    """Checks free space and inodes of the file system that has the data."""
    found = os.statvfs(settings.data)
    free = found.f_bavail * found.f_frsize
    level: Level = "error" if free < FULL else "warning" if free < NEARLY_FULL else "ok"
    yield Diagnosis(
        level, "disk", f"{free // MIB} MiB are free.", "" if level == "ok" else f"du -xh -d2 {settings.data}"
    )
    if found.f_files and found.f_favail / found.f_files < FEW_INODES:
        yield Diagnosis("warning", "disk", f"{found.f_favail} inodes are free.", f"df -i {settings.data}")


def clock(settings: Settings) -> Iterator[Diagnosis]:
    """Checks whether files have times in the future. No time server is asked."""
    now = time.time()
    paths = [settings.data / name for name in ("run/worker.alive", "run", "db/postroom.db-wal", "db/postroom.db")]
    newest = 0.0
    for path in paths:
        try:
            newest = max(newest, path.stat().st_mtime)
        except OSError:
            continue
    if newest > now + DRIFT:
        text = f"The clock is {newest - now:.0f} s behind files that Postroom wrote."
        yield Diagnosis("error", "clock", text, "timedatectl")
    else:
        said = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        yield Diagnosis("ok", "clock", f"{said}; not earlier than the files of Postroom. Time servers are not asked.")


def certificate(settings: Settings) -> Iterator[Diagnosis]:
    """Checks the certificate of the mail ports: readable, fits its key and the host's name, not
    about to expire."""
    path, key = tls_paths(settings)
    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
        if os.access(key, os.R_OK):
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, key)
    except FileNotFoundError:
        level: Level = "error" if settings.tls_cert else "skipped"
        yield Diagnosis(level, "certificate", f"{path} is not there{'' if settings.tls_cert else ' yet'}.")
        return
    except (OSError, ValueError) as error:
        text = f"{path} cannot be used: {getattr(error, 'strerror', None) or error}."
        yield Diagnosis("error", "certificate", text, f"openssl x509 -in {path} -noout -text")
        return
    yield from _dates_and_names(settings, path, found)


def _dates_and_names(settings: Settings, path: Path, found: x509.Certificate) -> Iterator[Diagnosis]:
    look, now, ends = f"openssl x509 -in {path} -noout -text", datetime.now(UTC), found.not_valid_after_utc
    if not _names(found, settings.hostname):
        yield Diagnosis("error", "certificate", f"It is not for {settings.hostname}.", look)
    if found.not_valid_before_utc > now:
        yield Diagnosis("error", "certificate", f"It is valid from {found.not_valid_before_utc:%Y-%m-%d} only.", look)
    elif ends < now:
        yield Diagnosis("error", "certificate", f"It ended on {ends:%Y-%m-%d}.", look)
    elif ends - now < RENEW:
        yield Diagnosis("warning", "certificate", f"It ends on {ends:%Y-%m-%d}.", look)
    elif found.issuer == found.subject and not all(a.startswith(("127.", "::1")) for a in settings.listen_addresses):
        yield Diagnosis(
            "warning", "certificate", "It is self-signed: clients will warn. Set POSTROOM_TLS_CERT and _KEY."
        )
    else:
        yield Diagnosis("ok", "certificate", f"It is valid until {ends:%Y-%m-%d}.")


def _names(found: x509.Certificate, hostname: str) -> bool:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    known = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return hostname in known or f"*.{hostname.partition('.')[2]}" in known


def _database_files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.is_dir()]
    except OSError:
        return []
