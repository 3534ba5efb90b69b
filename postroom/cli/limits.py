"""`postroom limits`: the limits of an organization or a user."""

from typing import Annotated, Any

import typer

from postroom.cli import options, store
from postroom.cli.options import Json, Organization, User

app = typer.Typer(no_args_is_help=True, help="Limits of an organization or a user, on the server itself.")
LimitNumber = Annotated[int | None, typer.Option(min=-1, help="The highest number; -1 for no limit.")]


@app.command("set")
def set_limits(
    organization: Organization,
    user: User = None,
    domains: LimitNumber = None,
    accounts: LimitNumber = None,
    accounts_per_domain: LimitNumber = None,
    aliases_per_account: LimitNumber = None,
    quota_bytes: LimitNumber = None,
    storage_bytes: LimitNumber = None,
    as_json: Json = False,
) -> None:
    """Set the limits of an organization, or of one of its users. Limits that are not given stay; -1
    removes a limit."""
    from postroom.actor import Actor
    from postroom.tenants import limits, organizations
    from postroom.tenants.limits import SetLimits

    options.check_user(user)
    given = {"domains": domains, "accounts": accounts, "accounts_per_domain": accounts_per_domain}
    given |= {"aliases_per_account": aliases_per_account}
    given |= {"quota_bytes": quota_bytes, "storage_bytes": storage_bytes}
    command = SetLimits(**{name: None if n == -1 else n for name, n in given.items() if n is not None})
    found = store.write(lambda tx: limits.change(tx, Actor(organizations.get(tx, organization)), user, command))
    _show_limits(found, as_json)


@app.command("show")
def show_limits(organization: Organization, user: User = None, as_json: Json = False) -> None:
    """Show the limits of an organization, or of one of its users."""
    from postroom.tenants import limits, organizations

    options.check_user(user)
    _show_limits(store.write(lambda tx: limits.get(tx, organizations.get(tx, organization), user)), as_json)


def _show_limits(found: Any, as_json: bool) -> None:
    import msgspec

    numbers = msgspec.structs.asdict(found)
    lines = [f"{name.replace('_', ' '):<20} {'no limit' if n is None else n}" for name, n in numbers.items()]
    options.show(numbers, "\n".join(lines), as_json)
