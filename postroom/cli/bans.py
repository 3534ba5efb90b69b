"""`postroom bans`: who may not log in because of wrong passwords."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from postroom.cli import options, store
from postroom.cli.options import Json
from postroom.errors import Refused

app = typer.Typer(no_args_is_help=True, help="Banned addresses and accounts under attack, on the server itself.")


@app.command("list")
def list_bans(as_json: Json = False) -> None:
    """List the banned networks, and the accounts under attack."""
    import msgspec

    from postroom.accounts import login_attacks, login_bans

    bans, attacks = store.write(lambda tx: (login_bans.in_force(tx), login_attacks.under_way(tx)))
    lines = [f"{ban.network:<28} banned until {_time(ban.until_at)}" for ban in bans]
    lines += [
        f"{attack.address:<28} under attack since {_time(attack.started_at)}, {attack.failures} wrong passwords"
        for attack in attacks
    ]
    options.show(msgspec.to_builtins({"networks": bans, "accounts": attacks}), "\n".join(lines), as_json)


@app.command("lift")
def lift_ban(
    whom: Annotated[str, typer.Argument(help="An IP address or network, or the address of an account.")],
) -> None:
    """Lift a ban, or end the attack on an account, and forget the wrong passwords that were
    counted."""
    from postroom.accounts import login_failures, login_networks

    def account(tx: Any) -> bool:
        found = login_failures.find(tx, whom)
        if found is None:
            raise Refused("not_found", f"{whom} is not the address of an account.")
        return login_failures.lift_account(tx, found)

    if "@" in whom:
        print(f"{whom}: {'the attack has ended' if store.write(account) else 'was not under attack'}")
        return
    network = login_networks.network_of(whom.partition("/")[0])
    if network is None:
        raise Refused("invalid_request", f"{whom} is neither an IP address nor the address of an account.")
    was_banned = store.write(lambda tx: login_failures.lift_network(tx, network))
    print(f"{network}: {'the ban is lifted' if was_banned else 'was not banned'}")


def _time(milliseconds: int) -> str:
    return (
        datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
    )
