"""`postroom domains`: managed domains."""

from typing import Annotated, Literal

import typer

from postroom.cli import options, store
from postroom.cli.options import Json, Organization, User

app = typer.Typer(no_args_is_help=True, help="Managed domains.")


@app.command("create")
def create_domain(
    domain: str,
    organization: Organization,
    user: User = None,
    active: Annotated[bool, typer.Option("--active", help="Accounts can be made at once; nothing is checked.")] = False,
    as_json: Json = False,
) -> None:
    """Make a managed domain. Without --user it is a platform domain for every user of the organization."""
    from postroom import dkim, operator

    options.check_user(user)
    name, key = options.domain(domain), dkim.generate()
    made = store.write(
        lambda tx: operator.create_domain(tx, organization, name, user, "active" if active else "pending", key)
    )
    options.show({"domain": made.name, "status": made.status}, f"{made.name} {made.status}", as_json)


@app.command("list")
def list_domains(organization: Organization, as_json: Json = False) -> None:
    """List the domains of an organization."""
    from postroom import domains, organizations

    found = store.write(lambda tx: domains.get_all(tx, organizations.get(tx, organization)))
    lines = [f"{d.name:<40} {d.status:<10} {d.user_id or ''}".rstrip() for d in found]
    rows = [{"domain": d.name, "status": d.status, "user_id": d.user_id} for d in found]
    options.show(rows, "\n".join(lines), as_json)


@app.command("activate")
def activate_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Let accounts be made on a domain."""
    _set_status(domain, organization, user, "active")


@app.command("suspend")
def suspend_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Refuse new accounts on a domain; those that exist keep working."""
    _set_status(domain, organization, user, "suspended")


def _set_status(domain: str, organization: str, user: str | None, status: Literal["active", "suspended"]) -> None:
    from postroom import domains, organizations
    from postroom.actor import Actor
    from postroom.db import Tx

    name = options.domain(domain)

    def work(tx: Tx) -> None:
        actor = Actor(organizations.get(tx, organization))
        domains.set_status(tx, actor, domains.get(tx, actor, name, user), status)

    store.write(work)
