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
    recipients_per_hour: LimitNumber = None,
    recipients_per_day: LimitNumber = None,
    new_recipients_per_day: LimitNumber = None,
    recipients_per_message: LimitNumber = None,
    total_recipients_per_hour: LimitNumber = None,
    total_recipients_per_day: LimitNumber = None,
    as_json: Json = False,
) -> None:
    """Set the limits of an organization, or of one of its users. Limits that are not given stay; -1
    removes a limit. The limits of recipients are for each account, the total ones for all accounts
    together."""
    from postroom.actor import Actor
    from postroom.tenants import limits, organizations
    from postroom.tenants.limits import SetLimits
    from postroom.tenants.send_limits import SetSendLimits, SetSendTotals

    options.check_user(user)
    given = {"domains": domains, "accounts": accounts, "accounts_per_domain": accounts_per_domain}
    given |= {"aliases_per_account": aliases_per_account}
    given |= {"quota_bytes": quota_bytes, "storage_bytes": storage_bytes}
    each = {"recipients_per_hour": recipients_per_hour, "recipients_per_day": recipients_per_day}
    each |= {"new_recipients_per_day": new_recipients_per_day, "recipients_per_message": recipients_per_message}
    totals = {"recipients_per_hour": total_recipients_per_hour, "recipients_per_day": total_recipients_per_day}
    command = SetLimits(
        **_given(given), send_limits=SetSendLimits(**_given(each)), send_limits_total=SetSendTotals(**_given(totals))
    )
    found = store.write(lambda tx: limits.change(tx, Actor(organizations.get(tx, organization)), user, command))
    _show_limits(found, as_json)


@app.command("show")
def show_limits(organization: Organization, user: User = None, as_json: Json = False) -> None:
    """Show the limits of an organization, or of one of its users."""
    from postroom.tenants import limits, organizations

    options.check_user(user)
    _show_limits(store.write(lambda tx: limits.get(tx, organizations.get(tx, organization), user)), as_json)


def _given(numbers: dict[str, int | None]) -> dict[str, Any]:
    """Returns the limits to change: -1 removes one."""
    return {name: None if number == -1 else number for name, number in numbers.items() if number is not None}


def _show_limits(found: Any, as_json: bool) -> None:
    import msgspec

    shown = msgspec.to_builtins(found)
    numbers = {name: value for name, value in shown.items() if not name.startswith("send_limits")}
    numbers |= shown["send_limits"]
    numbers |= {f"total_{name}": number for name, number in shown["send_limits_total"].items()}
    lines = [f"{name.replace('_', ' '):<25} {'no limit' if n is None else n}" for name, n in numbers.items()]
    options.show(shown, "\n".join(lines), as_json)
