"""`postroom serve`, `status` and `env`: the service as a whole."""

import json
import shlex
import time
from typing import Annotated, Any, Literal

import typer

from postroom import __version__, settings
from postroom.cli.options import Json
from postroom.settings import PORTS, Settings, variable

Only = Literal["api", "worker", "mail"]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"postroom {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
]


def version(_version: Version = False) -> None:
    """Mailboxes for every user of a platform, by one HTTP call. On the server itself, as root or
    as postroom; `api` and `mcp` work from anywhere with a key."""


def serve(only: Annotated[Only | None, typer.Option(help="Run only this part.")] = None) -> None:
    """Run everything: API, worker, Dovecot and Postfix."""
    from postroom.service import serve as service

    raise typer.Exit(service.serve(settings.load(), only))


def status(as_json: Json = False) -> None:
    """Say what runs, what does not and why; of several machines also how the others do. Exit
    code 1 when a part of this one that should run does not."""
    from postroom.service import serve as service

    found = settings.load()
    rows = service.status(found)
    if found.node:
        rows += _nodes(found)
    if as_json:
        print(json.dumps([{"part": part, "state": state, "reason": reason} for part, state, reason in rows]))
    else:
        width = max(10, *(len(part) for part, _, _ in rows))
        for part, state, reason in rows:
            print(f"{part:<{width}} {state:<8} {reason}".rstrip())
    raise typer.Exit(1 if any(state == "stopped" for _, state, _ in rows) else 0)


def _nodes(found: Settings) -> list[tuple[str, str, str]]:
    """A row for each node, from the database."""
    import asyncio

    from postroom.cluster import nodes
    from postroom.db import open_database
    from postroom.errors import Busy

    database = open_database(found.database)
    try:
        machines = asyncio.run(database.read_slow(nodes.everything))
    except Busy as error:
        return [("nodes", "unknown", error.detail)]
    finally:
        database.close()
    now = time.time_ns() // 1_000_000
    return [(f"node {node.name}", *_node(node, now)) for node in machines]


def _node(node: Any, now: int) -> tuple[str, str]:
    reason = f"{node.accounts} accounts" + (", takes no new accounts" if node.draining else "")
    silence = node.silence(now)
    if silence is None:
        return "new", f"{reason}, was never started"
    if node.is_away(now):
        return "away", f"{reason}, not seen for {silence // 1000} s"
    return "running", reason


def env() -> None:
    """Print shell exports of the URL and the ports: eval "$(postroom env)"."""
    found = settings.load()
    values = {"POSTROOM_URL": found.api_url}
    values |= {variable(name): str(getattr(found, name)) for name in ("data", "host", "mail_host")}
    values |= {variable(name): str(getattr(found, name)) for name in PORTS}
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
