"""What several commands take and how they print: options, their checks, text or JSON."""

import json
from typing import Annotated, Any

import typer

from postroom.errors import Refused

Organization = Annotated[str, typer.Option(help="The organization's name.")]
User = Annotated[str | None, typer.Option(help="The platform's user_id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def domain(text: str) -> str:
    from postroom.address import BadAddress, parse_domain

    try:
        return parse_domain(text)
    except BadAddress as error:
        raise Refused(error.code, f"{text}: {error.message}") from None


def check_user(user: str | None) -> None:
    if user is not None and not (1 <= len(user) <= 128 and user.isprintable()):
        raise Refused("invalid_request", "--user must be 1 to 128 printable characters.")


def show(data: Any, text: str, as_json: bool) -> None:
    """Prints the data as JSON, or the text: lines, no table (decision 0200)."""
    print(json.dumps(data, ensure_ascii=False) if as_json else text)
