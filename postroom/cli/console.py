"""`postroom console-link`: a way into the web console without a key."""

from typing import Annotated

import typer

from postroom.cli import options, store
from postroom.cli.options import Json, Organization


def console_link(
    organization: Organization,
    key: Annotated[
        int | None,
        typer.Option(help="The id of the key to sign in with; default: the oldest unrestricted key."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a link that signs in to the web console once, within 15 minutes."""
    from postroom import settings
    from postroom.service import bootstrap, terminal

    token = store.write(lambda tx: bootstrap.create_link(tx, organization, key))
    link = terminal.console_link(settings.load(), token)
    options.show({"link": link}, link, as_json)
