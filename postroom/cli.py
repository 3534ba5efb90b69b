"""The command line: thin commands over the same functions that the API uses. It works while the server runs and
while it does not.

A stranger would get wrong: run as root it acts as the system user wherever it touches data, so that no file of
root's is left behind. What a command does not need is not imported.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import typer

from postroom import identity, instance, networks, settings
from postroom.actor import ALL_SCOPES
from postroom.errors import Busy, Refused
from postroom.settings import PORTS, Settings, variable

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
keys_app = typer.Typer(no_args_is_help=True, help="API keys.")
domains_app = typer.Typer(no_args_is_help=True, help="Managed domains.")
limits_app = typer.Typer(no_args_is_help=True, help="How much an organization or a user may have.")
app.add_typer(keys_app, name="keys")
app.add_typer(limits_app, name="limits")
app.add_typer(domains_app, name="domains")

Organization = Annotated[str, typer.Option(help="The organization's name; it is made when it is new.")]
User = Annotated[str | None, typer.Option(help="The platform's user_id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Cap = Annotated[int | None, typer.Option(min=-1, help="How many there may be; -1 for no limit.")]
DAY_MS = 24 * 3600 * 1000
Only = Literal["api", "worker", "mail"]


def main() -> None:
    """The entry point: errors of the operator are one line and an exit code, never a traceback."""
    try:
        app()
    except Refused as error:
        found = "There is no such thing in this organization." if error.code == "not_found" else error.detail
        _fail(" ".join(field.message for field in error.fields) or found, 1)
    except Busy as error:
        _fail(error.detail, 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (settings.BadSettings, instance.CannotStart, identity.NoSystemUser) as error:
        _fail(str(error), 2)


def _fail(text: str, code: int) -> None:
    print(f"postroom: {text}", file=sys.stderr)
    sys.exit(code)


@app.command()
def serve(only: Annotated[Only | None, typer.Option(help="Run this part alone.")] = None) -> None:
    """Run everything: API, worker, Dovecot and Postfix."""
    from postroom import serve as service

    raise typer.Exit(service.serve(settings.load(), only))


@app.command()
def status(as_json: Json = False) -> None:
    """Say what runs, what does not and why. Exit code 1 when a part that should run does not."""
    from postroom import serve as service

    rows = service.status(settings.load())
    if as_json:
        print(json.dumps([{"part": part, "state": state, "reason": reason} for part, state, reason in rows]))
    else:
        for part, state, reason in rows:
            print(f"{part:<10} {state:<8} {reason}".rstrip())
    raise typer.Exit(1 if any(state == "stopped" for _, state, _ in rows) else 0)


@app.command()
def env() -> None:
    """Print shell exports of the URL and the ports: eval "$(postroom env)"."""
    found = settings.load()
    values = {"POSTROOM_URL": found.api_url}
    values |= {variable(name): str(getattr(found, name)) for name in ("data", "host", "mail_host")}
    values |= {variable(name): str(getattr(found, name)) for name in PORTS}
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")


@keys_app.command("create")
def create_key(
    organization: Organization,
    user: User = None,
    name: Annotated[str | None, typer.Option(help="What you will know it by.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated; all scopes without it.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="May be repeated; no other domain exists then.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="CIDR that it is used from; may be repeated.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=36_500)] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it; it cannot be read again."""
    from postroom import operator
    from postroom.db import Tx
    from postroom.keys import CreateKey

    _check_user(user)
    scopes, names, found = _scopes(scope), [_domain(text) for text in domain or ()], _networks(network)

    def work(tx: Tx) -> str:
        expires_at = tx.now + expires_in_days * DAY_MS if expires_in_days else None
        command = CreateKey(name, user, scopes, tuple(names) or None, found, expires_at)
        return operator.create_key(tx, organization, command)

    key = _write(work)
    _show({"api_key": key}, key, as_json)


@keys_app.command("list")
def list_keys(organization: Organization, as_json: Json = False) -> None:
    """List the keys of an organization."""
    import msgspec

    from postroom import keys, organizations

    found = _write(lambda tx: keys.get_all(tx, organizations.get(tx, organization)))
    _show(msgspec.to_builtins(found), "\n".join(_key_line(key) for key in found), as_json)


@keys_app.command("revoke")
def revoke_key(key_id: int, organization: Organization) -> None:
    """End an API key; it is refused from this moment."""
    from postroom import keys, organizations
    from postroom.actor import Actor

    _write(lambda tx: keys.revoke(tx, Actor(organizations.get(tx, organization)), key_id))


@limits_app.command("set")
def set_limits(
    organization: Organization,
    user: User = None,
    domains: Cap = None,
    accounts: Cap = None,
    accounts_per_domain: Cap = None,
    as_json: Json = False,
) -> None:
    """Cap how much an organization, or one of its users, may have. What is not given stays; -1 lifts a cap."""
    from postroom import limits, organizations
    from postroom.actor import Actor
    from postroom.limits import SetLimits

    _check_user(user)
    given = {"domains": domains, "accounts": accounts, "accounts_per_domain": accounts_per_domain}
    command = SetLimits(**{name: None if cap == -1 else cap for name, cap in given.items() if cap is not None})
    found = _write(lambda tx: limits.change(tx, Actor(organizations.get(tx, organization)), user, command))
    _show_limits(found, as_json)


@limits_app.command("show")
def show_limits(organization: Organization, user: User = None, as_json: Json = False) -> None:
    """Show the caps of an organization, or of one of its users."""
    from postroom import limits, organizations

    _check_user(user)
    _show_limits(_write(lambda tx: limits.get(tx, organizations.get(tx, organization), user)), as_json)


def _show_limits(found: Any, as_json: bool) -> None:
    import msgspec

    caps = msgspec.structs.asdict(found)
    lines = [f"{name.replace('_', ' '):<20} {'no limit' if cap is None else cap}" for name, cap in caps.items()]
    _show(caps, "\n".join(lines), as_json)


@domains_app.command("create")
def create_domain(
    domain: str,
    organization: Organization,
    user: User = None,
    active: Annotated[bool, typer.Option("--active", help="Accounts can be made at once; nothing is checked.")] = False,
    as_json: Json = False,
) -> None:
    """Make a managed domain. Without --user it is a platform domain for every user of the organization."""
    from postroom import operator

    _check_user(user)
    name = _domain(domain)
    made = _write(lambda tx: operator.create_domain(tx, organization, name, user, "active" if active else "pending"))
    _show({"domain": made.name, "status": made.status}, f"{made.name} {made.status}", as_json)


@domains_app.command("list")
def list_domains(organization: Organization, as_json: Json = False) -> None:
    """List the domains of an organization."""
    from postroom import domains, organizations

    found = _write(lambda tx: domains.get_all(tx, organizations.get(tx, organization)))
    lines = [f"{d.name:<40} {d.status:<10} {d.user_id or ''}".rstrip() for d in found]
    rows = [{"domain": d.name, "status": d.status, "user_id": d.user_id} for d in found]
    _show(rows, "\n".join(lines), as_json)


@domains_app.command("activate")
def activate_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Let accounts be made on a domain."""
    _set_status(domain, organization, user, "active")


@domains_app.command("suspend")
def suspend_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Refuse new accounts on a domain; those that exist keep working."""
    _set_status(domain, organization, user, "suspended")


def _set_status(domain: str, organization: str, user: str | None, status: Literal["active", "suspended"]) -> None:
    from postroom import domains, organizations
    from postroom.actor import Actor
    from postroom.db import Tx

    name = _domain(domain)

    def work(tx: Tx) -> None:
        actor = Actor(organizations.get(tx, organization))
        domains.set_status(tx, actor, domains.get(tx, actor, name, user), status)

    _write(work)


def _key_line(key: Any) -> str:
    """One line for a person; what limits the key stands at its end."""
    state = "revoked" if key.revoked_at else f"until {_day(key.expires_at)}" if key.expires_at else "live"
    used = f"used {_day(key.last_used_at)}" if key.last_used_at else "never used"
    limits = [key.user_id or "", *(key.domains or ()), *(key.networks or ()), key.name or ""]
    return f"{key.id:>5}  {key.prefix}…  {state:<16} {used:<15} {'  '.join(filter(None, limits))}".rstrip()


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


def _scopes(texts: list[str] | None) -> tuple[str, ...] | None:
    if not set(texts or ()) <= set(ALL_SCOPES):
        raise Refused("invalid_request", f"The scopes are: {', '.join(ALL_SCOPES)}.")
    return tuple(scope for scope in ALL_SCOPES if scope in texts) if texts else None


def _networks(texts: list[str] | None) -> tuple[str, ...] | None:
    try:
        return tuple(networks.parse(text) for text in texts) if texts else None
    except ValueError as error:
        raise Refused("invalid_request", f"--network: {error}.") from None


def _domain(text: str) -> str:
    from postroom.address import BadAddress, parse_domain

    try:
        return parse_domain(text)
    except BadAddress as error:
        raise Refused(error.code, f"{text}: {error.message}") from None


def _check_user(user: str | None) -> None:
    if user is not None and not (1 <= len(user) <= 128 and user.isprintable()):
        raise Refused("invalid_request", "--user is 1 to 128 printable characters.")


def _write(work: Callable[[Any], T]) -> T:
    """One transaction as the system user; the schema is made when nobody started the server yet."""
    from postroom.db import migrate, open_database

    found = settings.load()
    _become_owner(found)
    migrate(found.database)
    database = open_database(found.database)
    try:
        return database.write_alone(work)
    finally:
        database.close()


def _become_owner(found: Settings) -> None:
    instance.check_path(found.data)
    me = identity.ensure()
    instance.make_directories(found.data, me)
    me.become()
    os.umask(0o077)


def _show(data: Any, text: str, as_json: bool) -> None:
    print(json.dumps(data, ensure_ascii=False) if as_json else text)
