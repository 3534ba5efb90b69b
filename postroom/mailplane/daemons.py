"""The daemons: their files, their commands, and their own checks of their configuration.

Each daemon runs by its master program, never by its start script. Postroom neither uses nor changes
the system's own Dovecot and Postfix, their files under /etc and their services.
"""

import functools
import grp
import os
import pwd
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from postroom.instance.data_directory import PLAIN_PATH
from postroom.instance.system_user import Identity
from postroom.mailplane.postfix import relay
from postroom.mailplane.render import (
    File,
    OwnNode,
    Plane,
    configuration,
    database_path,
    judge_path,
    milter_path,
    service_path,
    tls_paths,
)
from postroom.settings import BadSettings, Settings

DOVECOT = "/usr/sbin/dovecot"
DOVECONF = "/usr/bin/doveconf"
SIEVEC = "/usr/bin/sievec"
POSTFIX = "/usr/sbin/postfix"
POSTCONF = "/usr/sbin/postconf"
POSTFIX_MASTER = "/usr/lib/postfix/sbin/master"
OPENDKIM = "/usr/sbin/opendkim"
SETPRIV = "/usr/bin/setpriv"
POSTFIX_GROUP = "postfix"
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}
CHECK_TIMEOUT = 60
# Files that an earlier version wrote, or that this version writes for another Dovecot or with other
# settings. Postfix 3.10 warns about the first, and Postroom refuses to start after a warning.
OBSOLETE = (
    "postfix/database.conf",
    relay.LOGIN,
    "dovecot/once.sieve",
    "dovecot/once.svbin",
    "dovecot/junk.sieve",
    "dovecot/junk.svbin",
    "dovecot/sql.conf.ext",
    "dovecot/refused.conf.ext",
    "dovecot/passdbs.conf",
    "dovecot/folders.acl",
    "dovecot/scripts.conf.ext",
    "dovecot/none.sieve",
    "dovecot/learn",
    "dovecot/learn-spam.sieve",
    "dovecot/learn-ham.sieve",
)
STABLE_SECONDS = 10
# Versions of Dovecot that have a configuration, and the Debian release of each (decision 0202).
DOVECOT_VERSIONS = {"2.3": "Debian 12", "2.4": "Debian 13"}

# Debian package -> the required file in it.
DOVECOT_PACKAGES = {
    "dovecot-core": DOVECOT,
    "dovecot-imapd": "/usr/lib/dovecot/imap",
    "dovecot-pop3d": "/usr/lib/dovecot/pop3",
    "dovecot-lmtpd": "/usr/lib/dovecot/lmtp",
    "dovecot-managesieved": "/usr/lib/dovecot/managesieve",
    "dovecot-sieve": "/usr/lib/dovecot/modules/lib90_sieve_plugin.so",
    "dovecot-auth-lua": "/usr/lib/dovecot/modules/auth/libauthdb_lua.so",
}
POSTFIX_PACKAGES = {
    "postfix": POSTFIX_MASTER,
    "postfix-pcre": "/usr/lib/postfix/postfix-pcre.so",
    "opendkim": OPENDKIM,
    "python3-dkim": "/usr/lib/python3/dist-packages/dkim/__init__.py",
}
# Additional packages for each database engine: for Dovecot, and for Postfix.
SQLITE_PACKAGES = (
    {
        "dovecot-sqlite": "/usr/lib/dovecot/modules/dict/libdriver_sqlite.so",
        "lua-dbi-sqlite3": "/usr/lib/*/lua/5.4/dbd/sqlite3.so",
    },
    {
        "postfix-sqlite": "/usr/lib/postfix/postfix-sqlite.so",
        "libopendbx1-sqlite3": "/usr/lib/opendbx/libsqlite3backend.so",
    },
)
PGSQL_PACKAGES = (
    {
        "dovecot-pgsql": "/usr/lib/dovecot/modules/dict/libdriver_pgsql.so",
        "lua-sql-postgres": "/usr/lib/*/lua/5.4/luasql/postgres.so",
    },
    {
        "postfix-pgsql": "/usr/lib/postfix/postfix-pgsql.so",
        "libopendbx1-pgsql": "/usr/lib/opendbx/libpgsqlbackend.so",
    },
)


class Unusable(Exception):
    """The mail plane cannot run with this configuration. The text is for the operator and quotes
    the daemon."""


@dataclass(frozen=True)
class Daemon:
    """A daemon that the supervisor runs: `command` in the foreground, its log on stdout and stderr.
    `grace` is the time that it gets to end by itself, in seconds."""

    name: str
    command: list[str]
    checks: list[list[str]]
    environment: dict[str, str]
    silent: bool = False  # whether a check that prints a warning has failed
    grace: float = 5.0

    def check(self) -> None:
        """Has the daemon check its files and create missing ones. Raises Unusable with the daemon's
        error."""
        for command in self.checks:
            done = _run(command, self.environment)
            words = done.stderr.strip()
            # postsuper's reports concern messages in the queue and are no reason to refuse a start.
            warned = [line for line in words.splitlines() if not line.startswith("postsuper: ")]
            if done.returncode != 0 or (self.silent and warned):
                raise Unusable(f"{self.name} refuses its configuration: {words or done.stdout.strip()}")


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        with process:
            # Postfix logs to /dev/stdout, which its tools open again as another user.
            os.fchmod(process.stdout.fileno(), 0o666)  # type: ignore[union-attr]
            try:
                output, words = process.communicate(timeout=CHECK_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(str(error)) from None
    return subprocess.CompletedProcess(command, process.returncode, output, words)


def missing(settings: Settings, with_postfix: bool) -> list[str]:
    """Returns the names of the required Debian packages that are not installed."""
    for_dovecot, for_postfix = SQLITE_PACKAGES if settings.is_sqlite else PGSQL_PACKAGES
    for_postfix = POSTFIX_PACKAGES | for_postfix | relay.packages(settings)
    needed = DOVECOT_PACKAGES | for_dovecot | (for_postfix if with_postfix else {})
    return [package for package, path in needed.items() if not any(Path("/").glob(path.lstrip("/")))]


@functools.cache
def dovecot_version() -> str:
    """Returns the version of the installed Dovecot that decides its configuration: 2.3 or 2.4.
    Raises Unusable for any other version."""
    told = _run([DOVECOT, "--version"], ENVIRONMENT).stdout
    version = ".".join(told.split(".")[:2])
    if version not in DOVECOT_VERSIONS:
        known = " and ".join(f"{name} ({debian})" for name, debian in DOVECOT_VERSIONS.items())
        raise Unusable(f"Dovecot {told.strip() or '?'} is installed; Postroom knows {known}.")
    return version


def dovecot(settings: Settings) -> Daemon:
    """Dovecot: IMAP, POP3, ManageSieve, LMTP, and Postfix's SMTP AUTH. Runs with and without
    root."""
    path = str(settings.data / "dovecot" / "dovecot.conf")
    return Daemon(
        name="dovecot",
        command=[DOVECOT, "-F", "-c", path],
        # Compiles the Sieve scripts of all mailboxes now: deliveries may not write to their folder.
        checks=[[DOVECONF, "-n", "-c", path], [SIEVEC, "-c", path, str(settings.data / "dovecot")]],
        # The host name in replies, Message-IDs and file names of mail. Default: the machine's name.
        environment=ENVIRONMENT | {"DOVECOT_HOSTNAME": settings.hostname},
    )


def postfix(settings: Settings) -> Daemon:
    """Postfix: SMTP in, submission and the queue. Its master needs root."""
    folder = str(settings.data / "postfix")
    return Daemon(
        name="postfix",
        # Not `postfix start-fg`: SIGTERM to that script orphans the master.
        command=[POSTFIX_MASTER, "-s", "-c", folder],
        # postconf reports unknown settings. `postfix check` also creates the queue directories.
        checks=[[POSTCONF, "-c", folder, "-n"], [POSTCONF, "-c", folder, "-M"], [POSTFIX, "-c", folder, "check"]],
        environment=ENVIRONMENT,
        silent=True,
    )


def opendkim(settings: Settings, identity: Identity) -> Daemon:
    """OpenDKIM: signs submitted mail. It never runs as root: it reads the database as the owner of
    the database (decision 0051)."""
    owner = [f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups", "--no-new-privs"]
    command = [SETPRIV, *owner, "--pdeathsig", "SIGTERM", OPENDKIM]
    path = str(settings.data / "opendkim" / "opendkim.conf")
    service = {"PGSERVICEFILE": str(service_path(settings, "opendkim")), "PGSERVICE": "postroom"}
    return Daemon(
        name="opendkim",
        command=[*command, "-f", "-x", path],
        checks=[[*command, "-n", "-x", path]],
        environment=ENVIRONMENT | (service if not settings.is_sqlite else {}),
        # libmilter looks every five seconds whether it should end. Postfix, which asks it, ends
        # sooner.
        grace=0.5,
    )


def write_configuration(
    settings: Settings,
    identity: Identity,
    doveadm_key: str,
    postgres: Mapping[str, str] | None = None,
    node: OwnNode | None = None,
) -> None:
    """Writes every file of the daemons, and the self-signed certificate where one is needed.

    `postgres`: how the daemons connect, as libpq's parameters.
    """
    from postroom.mailplane import certificate

    _check(settings, postgres)
    _check_program(settings.filter_learn, identity)
    plane = _plane(settings, identity, doveadm_key, postgres, node)
    for name in _folders(plane.root):
        _make_folder(settings.data / name)
    if plane.root:
        for socket in (milter_path(settings), judge_path(settings)):
            _make_socket_folder(socket.parent, identity)
    if not settings.tls_cert:
        certificate.ensure(*tls_paths(settings), settings.hostname)
    files = configuration(settings, plane)
    for path in set(OBSOLETE) - files.keys():
        (settings.data / path).unlink(missing_ok=True)
    for path, file in files.items():
        _write(settings.data / path, file)


def renew_configuration(
    settings: Settings, identity: Identity, postgres: Mapping[str, str] | None, node: OwnNode
) -> bool:
    """Rewrites the files whose content has changed with the other nodes, while the daemons run.
    Returns whether any file has changed."""
    plane = _plane(settings, identity, node.secret, postgres, node)
    changed = False
    for path, file in configuration(settings, plane).items():
        if (settings.data / path).read_text(encoding="utf-8") != file.text:
            _write(settings.data / path, file)
            changed = True
    return changed


def _plane(
    settings: Settings, identity: Identity, doveadm_key: str, postgres: Mapping[str, str] | None, node: OwnNode | None
) -> Plane:
    return Plane(
        user=identity.name,
        group=_group(identity.gid),
        root=os.geteuid() == 0,
        python=os.path.realpath(sys.executable),
        doveadm_key=doveadm_key,
        dovecot=dovecot_version(),
        postgres=postgres,
        node=node,
        relay_login=_relay_login(settings),
    )


def _relay_login(settings: Settings) -> str:
    try:
        return relay.login(settings)
    except BadSettings as error:
        raise Unusable(str(error)) from None


def _folders(root: bool) -> Iterator[str]:
    yield from ("dovecot", "tls")
    if root:
        yield from ("postfix", "spool", "opendkim", "milter")


def _check(settings: Settings, postgres: Mapping[str, str] | None) -> None:
    """Raises Unusable for a value that would have another meaning in a daemon's file."""
    for path in (*(() if postgres else (database_path(settings),)), *tls_paths(settings)):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise Unusable(f"{path}: a path for the mail daemons may have letters, digits and ._+@- only.")
    if postgres:
        _check_postgres(postgres)
    elif re.search(r"[+@]|^.$", database_path(settings).name):
        raise Unusable(f"{database_path(settings)}: opendkim opens no database with + or @ in its file's name.")
    if settings.tls_cert:
        _check_certificate(settings)


def _check_postgres(postgres: Mapping[str, str]) -> None:
    for name, value in postgres.items():
        if re.search(r"[\x00-\x1f\x7f]|^\s|\s$", f"{name}={value}"):
            raise Unusable(f"POSTROOM_MAIL_DATABASE_URL: {name} must not begin or end with a space.")
    for name in ("host", "port", "dbname"):
        if not re.fullmatch(r"[A-Za-z0-9_.,-]+" if name == "host" else r"[A-Za-z0-9_.,-]*", postgres.get(name, "")):
            raise Unusable(
                f"POSTROOM_MAIL_DATABASE_URL: opendkim wants a {name} of letters, digits and ._- (no socket, no IPv6)."
            )


def _check_certificate(settings: Settings) -> None:
    """Raises Unusable for a certificate and key that do not match: Postfix would start with only a
    warning, and nobody could submit."""
    paths = tls_paths(settings)
    try:
        for path in paths:
            path.open().close()  # an error of `ssl` does not name the file
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*paths)
    except OSError as error:  # ssl.SSLError too
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise Unusable(f"POSTROOM_TLS_CERT and POSTROOM_TLS_KEY: {named}.") from None


def _check_program(path: str, identity: Identity) -> None:
    """Raises Unusable unless Dovecot, as this user, can run the program."""
    with identity.acting():
        if path and not (os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)):  # noqa: PTH113 - Path raises
            raise Unusable(f"POSTROOM_FILTER_LEARN: {path} must be a program that user {identity.name} can run.")


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _make_folder(path: Path) -> None:
    """Creates a directory that root (or the present user) owns. Root runs the files in it, so a
    directory that another user created is refused."""
    path.mkdir(mode=0o755, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or status.st_uid != os.geteuid():
        raise Unusable(f"{path} must be a directory of the user that starts Postroom.")
    path.chmod(0o755)


def _make_socket_folder(path: Path, identity: Identity) -> None:
    """Creates a directory that only Postroom's user and Postfix can enter: anyone who can reach the
    socket can get any message signed."""
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, identity.uid, grp.getgrnam(POSTFIX_GROUP).gr_gid, follow_symlinks=False)
    path.chmod(0o710)


def _write(path: Path, file: File) -> None:
    """Replaces a file atomically: a reader sees either the old or the new file."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        output.write(file.text)
        os.fchmod(output.fileno(), file.mode)
        if file.owner and os.geteuid() == 0:
            owner = pwd.getpwnam(file.owner)
            os.fchown(output.fileno(), owner.pw_uid, owner.pw_gid)
        # Each Postfix program waits for a second before it reads a new file, in case the writer has
        # not finished. This file is finished, so it gets an older time.
        output.flush()
        stable = time.time() - STABLE_SECONDS
        os.utime(output.fileno(), (stable, stable))
    draft.replace(path)
