"""`postroom keys`: API keys."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from postroom.actor import ALL_SCOPES
from postroom.auth import networks
from postroom.cli import options, store
from postroom.cli.options import Json, Organization, User
from postroom.errors import Refused
from postroom.parameters import KeepWebhooks, words_of

app = typer.Typer(no_args_is_help=True, help="API keys, on the server itself.")
DAY_MS = 24 * 3600 * 1000


@app.command("create")
def create_key(
    organization: Organization,
    user: User = None,
    name: Annotated[str | None, typer.Option(help="Your name for the key.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="May be repeated; default: all scopes.")] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="May be repeated; the key then sees no other domain.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="CIDR from which the key may be used; may be repeated.")
    ] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, max=36_500)] = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it; it cannot be shown again. An organization that does not exist
    is made, too."""
    # decision 0102
    from postroom.auth.keys import CreateKey
    from postroom.db import Tx
    from postroom.service import bootstrap
    from postroom.tenants.limits import NEW_ORGANIZATION
    from postroom.tenants.send_limits import SendLimits

    options.check_user(user)
    scopes, names, found = _scopes(scope), [options.domain(text) for text in domain or ()], _networks(network)

    def work(tx: Tx) -> tuple[str, bool]:
        is_new = bootstrap.begin_organization(tx, organization)
        expires_at = tx.now + expires_in_days * DAY_MS if expires_in_days else None
        command = CreateKey(name, user, scopes, tuple(names) or None, found, expires_at)
        return bootstrap.create_key(tx, organization, command), is_new

    key, is_new = store.write(work)
    if is_new:
        words = NEW_ORGANIZATION.of(SendLimits()).words()
        limits = f"Each account may write to {words}; `postroom limits set` changes the limits."
        print(f"The organization {organization} is new: it was made with this key. {limits}", file=sys.stderr)
    options.show({"api_key": key}, key, as_json)


@app.command("list")
def list_keys(organization: Organization, as_json: Json = False) -> None:
    """List the keys of an organization."""
    import msgspec

    from postroom.auth import keys
    from postroom.tenants import organizations

    found = store.write(lambda tx: keys.get_all(tx, organizations.get(tx, organization)))
    options.show(msgspec.to_builtins(found), "\n".join(_key_line(key) for key in found), as_json)


@app.command("revoke")
def revoke_key(
    key_id: int,
    organization: Organization,
    keep_webhooks: Annotated[bool, typer.Option("--keep-webhooks", help=words_of(KeepWebhooks))] = False,
) -> None:
    """Revoke an API key and disable its webhooks; the server refuses the key from now on."""
    from postroom.actor import Actor
    from postroom.auth import keys
    from postroom.db import Tx
    from postroom.tenants import organizations
    from postroom.webhooks import webhooks

    def revoke(tx: Tx) -> int:
        actor = Actor(organizations.get(tx, organization))
        ended = keys.revoke(tx, actor, key_id)
        return 0 if keep_webhooks else webhooks.disable_of_keys(tx, actor, [key.id for key in ended])

    disabled = store.write(revoke)
    print(f"key {key_id} revoked, and every key that was made with it; webhooks disabled: {disabled}")


def _key_line(key: Any) -> str:
    """One line of text about a key; its restrictions are at the end."""
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
