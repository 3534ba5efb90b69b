"""`postroom serve`, `status` and `env`: the service as a whole."""

import json
import shlex
from typing import Annotated, Literal

import typer

from postroom import __version__, settings
from postroom.cli.options import Json
from postroom.settings import PORTS, variable

Only = Literal["api", "worker", "mail"]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"postroom {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
]


def version(_version: Version = False) -> None:
    """Mailboxes for every user of a platform, by one HTTP call. On the server itself, as root or as postroom; `api` and
    `mcp` work from anywhere with a key."""


def serve(only: Annotated[Only | None, typer.Option(help="Run this part alone.")] = None) -> None:
    """Run everything: API, worker, Dovecot and Postfix."""
    from postroom import serve as service

    raise typer.Exit(service.serve(settings.load(), only))


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


def env() -> None:
    """Print shell exports of the URL and the ports: eval "$(postroom env)"."""
    found = settings.load()
    values = {"POSTROOM_URL": found.api_url}
    values |= {variable(name): str(getattr(found, name)) for name in ("data", "host", "mail_host")}
    values |= {variable(name): str(getattr(found, name)) for name in PORTS}
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")
