"""`postroom api accounts create`, for one account or many, and a command for each change of status.

Each status has its own command, and `update --status` does the same.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import UNSET

from postroom.cli import api_commands, connection
from postroom.cli.connection import KeyFile, Url
from postroom.cli.options import Json
from postroom.client.catalog import catalog
from postroom.parameters import (
    AllowReserved,
    DisplayName,
    IdempotencyKey,
    Password,
    PasswordHash,
    QuotaBytes,
    QuotaMessages,
    UserId,
    words_of,
)

# Operations whose command is written in this file, not generated.
OWN = ("create_account",)
STATUSES = {
    "suspend": ("suspended", "No login and no sending; mail still arrives and waits. Open sessions end."),
    "disable": ("disabled", "No login, no sending, and new mail is refused. Open sessions end."),
    "resume": ("active", "Back to active: same password, all mail."),
}

PasswordFile = Annotated[Path | None, typer.Option(help=f"{words_of(Password)} The file holds it, - for stdin.")]
HashFile = Annotated[Path | None, typer.Option(help=f"{words_of(PasswordHash)} The file holds it, - for stdin.")]
Source = Annotated[
    Path | None,
    typer.Option(
        "--from", help="Many: a CSV with address, user_id and, if you like, display_name, password or password_hash."
    ),
]
Passwords = Annotated[
    Path | None, typer.Option(help="With --from: where the passwords go, - for stdout; else FROM.passwords.csv.")
]


def add(app: typer.Typer) -> None:
    app.command("create")(create)
    update = catalog()["update_account"]
    for name, (status, words) in STATUSES.items():
        fixed = {"status": status}
        hidden = ("display_name", "is_default", "quota_bytes", "quota_messages")
        app.command(name, help=words)(api_commands.command(update, fixed, without=hidden))


def create(
    address: Annotated[str | None, typer.Argument(help="As billing@customer.com.", show_default=False)] = None,
    user_id: Annotated[str | None, typer.Option("--user", help=words_of(UserId))] = None,
    display_name: Annotated[str | None, typer.Option(help=words_of(DisplayName))] = None,
    password_file: PasswordFile = None,
    password_hash_file: HashFile = None,
    allow_reserved: Annotated[bool, typer.Option("--allow-reserved", help=words_of(AllowReserved))] = False,
    quota_bytes: Annotated[int | None, typer.Option(min=1, help=words_of(QuotaBytes))] = None,
    quota_messages: Annotated[int | None, typer.Option(min=1, help=words_of(QuotaMessages))] = None,
    idempotency_key: Annotated[str | None, typer.Option(help=words_of(IdempotencyKey))] = None,
    source: Source = None,
    passwords: Passwords = None,
    as_json: Json = False,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Make an account, or many with --from. The password is shown only once; the passwords of many
    accounts go into a new file."""
    _check_address(address, source)
    given = {
        "user_id": user_id,
        "display_name": display_name,
        "password": password_file and connection.read(password_file),
        "password_hash": password_hash_file and connection.read(password_hash_file),
        "allow_reserved": allow_reserved or None,
        "idempotency_key": idempotency_key,
        "quota_bytes": UNSET if quota_bytes is None else quota_bytes,
        "quota_messages": quota_messages,
    }
    with connection.client(url, key_file) as client:
        if source is not None:
            from postroom.cli import batch

            if passwords is None:
                passwords = source.with_name(f"{source.name}.passwords.csv")
            batch.run(client, source, passwords, _for_all(given))
            return
        local_part, _, domain = str(address).rpartition("@")
        arguments = {"domain": domain, "local_part": local_part} | given
        api_commands.show_one(api_commands.ask(catalog()["create_account"], client, arguments), as_json)


def _for_all(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that are the same for every row."""
    wrong = [
        name for name in ("display_name", "password", "password_hash", "idempotency_key") if given[name] is not None
    ]
    if wrong:
        raise typer.BadParameter(f"With --from, {wrong[0].replace('_', '-')} is a column or made for each row.")
    return {name: given[name] for name in ("user_id", "allow_reserved", "quota_bytes", "quota_messages")}


def _check_address(address: str | None, source: Path | None) -> None:
    if (source is None) == (address is None):
        raise typer.BadParameter("Give an address, or --from FILE.")
    if address is not None and "@" not in address:
        raise typer.BadParameter(f"{address} is not an address: use the form name@domain.")
