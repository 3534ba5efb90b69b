"""`postroom domains`: managed domains."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from postroom.cli import options, store
from postroom.cli.options import Json, Organization, User

if TYPE_CHECKING:
    from postroom.domains.dns_records import Record

app = typer.Typer(no_args_is_help=True, help="Managed domains, on the server itself.")


@app.command("create")
def create_domain(
    domain: str,
    organization: Organization,
    user: User = None,
    active: Annotated[bool, typer.Option("--active", help="Accounts can be made at once; nothing is checked.")] = False,
    as_json: Json = False,
) -> None:
    """Make a managed domain. Without --user it is a platform domain for every user of the
    organization."""
    from postroom.db import Tx
    from postroom.domains import dkim
    from postroom.domains.commands import Domain
    from postroom.service import bootstrap
    from postroom.tenants import organizations

    options.check_user(user)
    name, key = options.domain(domain), dkim.generate()

    def work(tx: Tx) -> Domain:
        organizations.get(tx, organization)  # a mistyped name must not make a new organization
        return bootstrap.create_domain(tx, organization, name, user, "active" if active else "pending", key)

    made = store.write(work)
    options.show({"domain": made.name, "status": made.status}, f"{made.name} {made.status}", as_json)


@app.command("list")
def list_domains(organization: Organization, as_json: Json = False) -> None:
    """List the domains of an organization."""
    from postroom.domains import commands as domains
    from postroom.tenants import organizations

    found = store.write(lambda tx: domains.get_all(tx, organizations.get(tx, organization)))
    lines = [f"{d.name:<40} {d.status:<10} {d.user_id or ''}".rstrip() for d in found]
    rows = [{"domain": d.name, "status": d.status, "user_id": d.user_id} for d in found]
    options.show(rows, "\n".join(lines), as_json)


@app.command("activate")
def activate_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Allow new accounts on a domain."""
    _set_status(domain, organization, user, "active")


@app.command("suspend")
def suspend_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Refuse new accounts on a domain; existing accounts keep working."""
    _set_status(domain, organization, user, "suspended")


@app.command("delete")
def delete_domain(domain: str, organization: Organization, user: User = None) -> None:
    """Delete a domain that has no accounts. Its name can be claimed again."""
    from postroom.service import bootstrap

    name = options.domain(domain)
    store.write(lambda tx: bootstrap.delete_domain(tx, organization, name, user))
    print(f"{name} deleted")


@app.command("dns")
def show_dns(
    domain: str,
    organization: Organization,
    user: User = None,
    form: Annotated[Literal["table", "zone", "json"], typer.Option("--format", help="The output format.")] = "table",
) -> None:
    """Print the DNS records that a domain needs."""
    import msgspec

    from postroom import settings
    from postroom.actor import Actor
    from postroom.api.endpoints.domain_views import DomainInfo, info, shown
    from postroom.cli import tables
    from postroom.db import Tx
    from postroom.domains import commands as domains
    from postroom.domains import dns_records
    from postroom.tenants import organizations

    name, host = options.domain(domain), settings.load().dns_host

    def work(tx: Tx) -> DomainInfo:
        actor = Actor(organizations.get(tx, organization))
        return info(tx, actor, domains.get(tx, actor, name, user), host, shown)

    found = store.write(work)
    if form == "json":
        print(msgspec.json.encode(found).decode())
    elif form == "zone":
        print(dns_records.zone(name, found.dns), end="")
    else:
        tables.show_rows([_row(record) for record in found.dns])


def _row(record: "Record") -> dict[str, Any]:
    need = "required" if record.required else "recommended"
    what = {"type": record.record_type, "host": record.host, "priority": record.priority}
    return what | {"value": record.expected_value, "for": record.purpose, "need": need}


def _set_status(domain: str, organization: str, user: str | None, status: Literal["active", "suspended"]) -> None:
    from postroom.actor import Actor
    from postroom.db import Tx
    from postroom.domains import commands as domains
    from postroom.tenants import organizations

    name = options.domain(domain)

    def work(tx: Tx) -> None:
        actor = Actor(organizations.get(tx, organization))
        domains.set_status(tx, actor, domains.get(tx, actor, name, user), status)

    store.write(work)
    print(f"{name} {status}")
