"""`postroom api`: every route of the API as a command, for users with a key to any server
(decision 0076).

The commands are made only when one of them is called, so that other commands start fast.
"""

from typing import Any

import typer
from typer.core import TyperGroup

HELP = {
    "accounts": "Mailboxes.",
    "domains": "Domains, their DNS and their DKIM keys.",
    "aliases": "Further addresses of accounts: aliases, groups, catch-alls.",
    "keys": "API keys.",
    "webhooks": "URLs that events and mail are sent to.",
    "limits": "How much a user or the organization may have.",
}


class LazyGroup(TyperGroup):
    """A group whose commands are made on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "commands": {}})
        del self.commands

    def __getattr__(self, name: str) -> Any:
        if name != "commands":
            raise AttributeError(name)
        self.commands = typer.main.get_group(build()).commands
        return self.commands


app = typer.Typer(no_args_is_help=True, cls=LazyGroup, help="The API of a server, here or elsewhere, by its key.")


def build() -> typer.Typer:
    """The complete group, with all its commands."""
    from postroom.cli import api_accounts, login
    from postroom.cli.api_commands import command, place
    from postroom.client.catalog import catalog

    app = typer.Typer()
    groups = {name: typer.Typer(no_args_is_help=True, help=words) for name, words in HELP.items()}
    for entry in catalog().values():
        group, name = place(entry)
        if entry.name not in api_accounts.OWN:
            (groups[group] if group else app).command(name, help=entry.words.replace("`", ""))(command(entry))
    api_accounts.add(groups["accounts"])
    for name, commands in groups.items():
        app.add_typer(commands, name=name)
    app.command("login")(login.login)
    return app
