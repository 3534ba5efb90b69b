"""The PostgreSQL role of the mail daemons, which may read the mail_* views and nothing else.

The password of a role that Postroom made is in one file. If the file is lost, Postroom does not set
a new password, because another machine may use the old one (decision 0092).
"""

import os
import re
import secrets
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from postroom.errors import Busy, NoMailRole

VIEWS = """
SELECT relname, has_table_privilege(%s, oid, 'SELECT') FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v' AND relname LIKE 'mail\\_%%'"""
EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = %s"
READABLE = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND has_table_privilege(%s, oid, 'SELECT')
ORDER BY relname"""
# libpq parameters, in seconds and milliseconds: without them a login or a recipient would wait for
# minutes on a database host that does not answer.
TIMEOUTS = {"connect_timeout": "3", "tcp_user_timeout": "5000"}
NAME = re.compile(r"[A-Za-z0-9_.-]+")
SETTING = "POSTROOM_MAIL_DATABASE_URL"


def prepare(url: str, mail_url: str, kept: Path) -> dict[str, str]:
    """Makes the role if it is missing, lets it read the views, and logs in with it. Returns libpq's
    connection parameters for the daemons.

    Raises NoMailRole.
    """
    try:
        with psycopg.connect(url, autocommit=True) as owner:
            found = parameters(owner, url, mail_url, kept)
            _make(owner, found, kept=None if mail_url else kept)
            _grant(owner, found["user"])
    except psycopg.Error as error:
        raise NoMailRole(f"The database is not available: {_line(error)}") from None
    try:
        psycopg.connect(make_conninfo(**found)).close()
    except psycopg.OperationalError as error:
        raise NoMailRole(
            f"The mail daemons' role {found['user']} cannot log in: {_line(error)} If its password is not known here: "
            f"ALTER ROLE \"{found['user']}\" PASSWORD '…'; and set {SETTING}."
        ) from None
    return found


def parameters(owner: "psycopg.Connection[tuple[object, ...]]", url: str, mail_url: str, kept: Path) -> dict[str, str]:
    """Returns the connection parameters of the daemons: those of the setting, else those of the
    owner with the role <database>_mail. Raises NoMailRole."""
    parts = {name: str(value) for name, value in conninfo_to_dict(mail_url or url).items()}
    found = TIMEOUTS | {"dbname": owner.info.dbname} | parts
    if not mail_url:
        found["user"] = f"{owner.info.dbname}_mail"
        found.pop("password", None)
        found |= {"password": password} if (password := read_password(kept)) else {}
    if found.get("host", "/")[:1] in "/@" and not mail_url:  # opendkim cannot use a unix socket
        found |= {"host": "127.0.0.1", "port": str(owner.info.port)}
    if "service" in found:
        raise NoMailRole(f"{SETTING} must say where the database is; service= does not.")
    if not NAME.fullmatch(found.get("user", "")) or found["user"] == owner.info.user:
        raise NoMailRole(f"{SETTING}: the user must be a role of its own, of letters, digits and _.-")
    return found


def read_password(kept: Path) -> str:
    """Returns the password of the role that Postroom made, or an empty string."""
    try:
        return kept.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def fault(url: str, mail_url: str, kept: Path) -> tuple[str, str] | None:
    """Returns what is wrong with the role and the SQL or setting that fixes it, or None. Changes
    nothing. Raises NoMailRole, Busy."""
    try:
        with psycopg.connect(url, autocommit=True) as owner:
            found = parameters(owner, url, mail_url, kept)
            role = found["user"]
            if not owner.execute(EXISTS, [role]).fetchone():
                return f"The mail daemons' role {role} is missing.", f"CREATE ROLE \"{role}\" LOGIN PASSWORD '…'"
            missing = [str(name) for name, granted in owner.execute(VIEWS, [role]) if not granted]
            tables = [str(name) for (name,) in owner.execute(READABLE, [role])]
    except psycopg.OperationalError:
        raise Busy("The database is not available. Try again.") from None
    if missing:
        return f"Role {role} cannot read {missing[0]}.", f'GRANT SELECT ON {", ".join(missing)} TO "{role}"'
    if tables:
        return f"Role {role} can read {tables[0]}, and should read the mail_* views alone.", f'\\du "{role}"'
    try:
        psycopg.connect(make_conninfo(**found)).close()
    except psycopg.OperationalError as error:
        return f"Role {role} cannot log in: {_line(error)}", f"ALTER ROLE \"{role}\" PASSWORD '…' and {SETTING}"
    return None


def _make(owner: "psycopg.Connection[tuple[object, ...]]", found: dict[str, str], kept: Path | None) -> None:
    role = found["user"]
    if owner.execute(EXISTS, [role]).fetchone():
        return
    if kept and "password" not in found:
        found["password"] = _new_password(kept)
    password = b""
    if "password" in found:  # sent as a hash, because the server may log statements
        password = owner.pgconn.encrypt_password(found["password"].encode(), role.encode(), b"scram-sha-256")
    command = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password.decode()))
    try:
        owner.execute(command)
    except psycopg.errors.DuplicateObject:  # another machine made the role first
        return
    except psycopg.errors.InsufficientPrivilege:
        raise NoMailRole(
            f"The mail daemons' role {role} is missing and cannot be made. Let a superuser run: "
            f"CREATE ROLE \"{role}\" LOGIN PASSWORD '…'; and set {SETTING}."
        ) from None


def _new_password(kept: Path) -> str:
    password, draft = secrets.token_urlsafe(24), kept.with_name(f"{kept.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(kept)
    return password


def _grant(owner: "psycopg.Connection[tuple[object, ...]]", role: str) -> None:
    missing = [str(name) for name, granted in owner.execute(VIEWS, [role]) if not granted]
    if missing:
        views = sql.SQL(", ").join(map(sql.Identifier, missing))
        owner.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(views, sql.Identifier(role)))


def _line(error: psycopg.Error) -> str:
    """Returns the error as one line. libpq's messages contain host, port, user and database, never
    a password."""
    return " ".join(str(error).split())
