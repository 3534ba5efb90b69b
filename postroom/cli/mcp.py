"""`postroom mcp`: the API as tools for an agent, which starts it and speaks with it over stdin
and stdout."""

from typing import Annotated

import typer

from postroom.cli import connection
from postroom.cli.connection import KeyFile, Url
from postroom.settings import BadSettings


def mcp(
    read_only: Annotated[bool, typer.Option("--read-only", help="Offer only tools that change nothing.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Serve the API to an agent as MCP tools, over stdin and stdout."""
    try:
        from postroom.mcp import stdio
    except ModuleNotFoundError as error:
        raise BadSettings("The MCP server is not installed: pip install '.[mcp]' in Postroom's checkout.") from error
    if str(key_file) == "-":
        raise BadSettings("stdin belongs to the agent: give --key-file a file.")
    base, key = connection.find(url, key_file)
    if not key:
        raise BadSettings("There is no API key: set POSTROOM_API_KEY, give --key-file, or postroom api login.")
    try:
        stdio.run(base, key, read_only)
    except ValueError as error:
        raise BadSettings(str(error)) from None
