"""`postroom nodes`: several machines on one database."""

import ipaddress
import re
import sys
import time
from typing import Annotated, Any

import typer

from postroom.cli import options, store
from postroom.cli.options import Json
from postroom.errors import Refused

# Moves requested at a time. A node carries out one move at a time; the others wait.
AT_ONCE = 10
PAUSE_SECONDS = 0.5

app = typer.Typer(no_args_is_help=True, help="Several machines on one PostgreSQL database.")
Name = Annotated[str, typer.Argument(help="The node's name, as its POSTROOM_NODE says it.")]


@app.command("add")
def add_node(
    name: Name,
    address: Annotated[str, typer.Argument(help="The IP address at which the other nodes reach it.")],
    port: Annotated[
        int, typer.Option(help="The first of four ports there, for the other nodes alone.", min=1, max=65532)
    ] = 1700,
    as_json: Json = False,
) -> None:
    """Add a machine. The first node is the existing machine, which keeps every account. Adding a
    known node gives it a new address, and it may start from another data directory."""
    from postroom import settings
    from postroom.cluster import nodes

    _check(name, address)
    if settings.load().is_sqlite:
        raise Refused("invalid_request", "Several machines need PostgreSQL: set POSTROOM_DATABASE_URL. See docs.")
    node = store.write(lambda tx: nodes.add(tx, name, address, port))
    text = f"{name} is reached at {address}. Start it with POSTROOM_NODE={name}."
    if node.founder and node.seen_at is None:
        text += (
            "\nThis is the first node: set POSTROOM_NODE on the machine whose data "
            "directory has the mail, and restart that machine before any other. It keeps its accounts."
        )
    options.show(_shown(node), text, as_json)


def _check(name: str, address: str) -> None:
    from postroom.settings.values import FORMATS

    pattern, advice = FORMATS["node"]
    if not re.fullmatch(pattern, name):
        raise Refused("invalid_request", f"A node's name: {advice}.")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise Refused("invalid_request", f"{address} is not an IP address.") from None


@app.command("list")
def list_nodes(as_json: Json = False) -> None:
    """Show the nodes, how many accounts each has, and when each was last seen."""
    from postroom.cluster import nodes

    found = store.write(nodes.everything)
    now = time.time_ns() // 1_000_000
    lines = [_line(node, now) for node in found]
    options.show(
        [_shown(node) for node in found],
        "\n".join(lines) or "There are no nodes: one machine serves all accounts.",
        as_json,
    )


@app.command("drain")
def drain_node(name: Name, as_json: Json = False) -> None:
    """Place no new accounts on a node. Its accounts stay; `postroom nodes empty` moves them to
    other nodes."""
    _set_draining(name, True, as_json)


@app.command("undrain")
def undrain_node(name: Name, as_json: Json = False) -> None:
    """Place new accounts on a node again."""
    _set_draining(name, False, as_json)


@app.command("empty")
def empty_node(name: Name) -> None:
    """Move every account of a drained node to the other nodes, a few at a time. Interrupting this
    stops no move that has begun; running it again continues."""
    from postroom import settings
    from postroom.cluster import moves, nodes
    from postroom.db import open_database

    store.write(lambda tx: moves.request_more(tx, name, AT_ONCE))
    database = open_database(settings.load().database)
    try:
        while database.write_sync(lambda tx: moves.request_more(tx, name, AT_ONCE)):
            if sys.stderr.isatty():
                left = database.write_sync(lambda tx: nodes.get(tx, name)).accounts
                print(f"\r{left} accounts are left on {name} ".ljust(60), end="", file=sys.stderr, flush=True)
            time.sleep(PAUSE_SECONDS)
        left = database.write_sync(lambda tx: nodes.get(tx, name)).accounts
    finally:
        database.close()
    rest = f" The mail of {left} deleted accounts stays until it is purged." if left else ""
    print(f"{name} has no accounts left.{rest}")


@app.command("remove")
def remove_node(name: Name) -> None:
    """Remove a node that is drained and has no accounts left. The other nodes stop trusting it
    within seconds."""
    from postroom.cluster import nodes

    store.write(lambda tx: nodes.remove(tx, name))
    print(f"{name} is removed.")


def _set_draining(name: str, draining: bool, as_json: bool) -> None:
    from postroom.cluster import nodes

    node = store.write(lambda tx: nodes.drain(tx, name, draining))
    text = f"{name} takes no new accounts. It has {node.accounts}." if draining else f"{name} takes new accounts."
    options.show(_shown(node), text, as_json)


def _line(node: Any, now: int) -> str:
    state = "draining" if node.draining else "takes accounts"
    if node.seen_at is None:
        seen = "never started"
    elif node.is_away(now):
        seen = f"not seen for {node.silence(now) // 1000} s"
    else:
        seen = "runs"
    return f"{node.name:<16} {node.address:<24} {node.accounts:>9} accounts  {state:<14}  {seen}"


def _shown(node: Any) -> dict[str, Any]:
    return {
        name: getattr(node, name) for name in ("name", "address", "port", "accounts", "draining", "founder", "seen_at")
    }
