"""`postroom api accounts create`, for one account or many, and a command for each change of status.

Each status has its own command, and `update --status` does the same.
"""

import functools
import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from postroom.cli import api_commands, connection
from postroom.client import Client
from postroom.client.catalog import catalog
from postroom.parameters import (
    AllowReserved,
    Credential,
    DisplayName,
    IdempotencyKey,
    Password,
    PasswordHash,
    QuotaMessages,
    UserId,
    words_of,
)

# Operations whose command is written in this file, not generated.
OWN = ("create_account",)
# Parameters of `create` whose options are generated.
GENERATED = ("quota_bytes", "protocols", "main_password")
OPTIONS = [one for one in catalog()["create_account"].parameters if one.name in GENERATED]
STATUSES = {
    "suspend": ("suspended", "No login and no sending; mail still arrives and waits. Open sessions end."),
    "disable": ("disabled", "No login, no sending, and new mail is refused. Open sessions end."),
    "resume": ("active", "Back to active: same password, all mail."),
}

# What an account's update can change besides the status and the address.
OTHER_CHANGES = (
    *("display_name", "is_default", "quota_bytes", "quota_messages", "protocols", "main_password"),
    *("may_send", "send_limits", "send_blocked"),
)

PasswordFile = Annotated[Path | None, typer.Option(help=f"{words_of(Password)} The file holds it, - for stdin.")]
HashFile = Annotated[Path | None, typer.Option(help=f"{words_of(PasswordHash)} The file holds it, - for stdin.")]
CredentialOption = Annotated[
    Literal["password", "setup_link", "none"] | None, typer.Option("--credential", help=words_of(Credential))
]
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
    signature = list(inspect.signature(create).parameters.values())[:-1]
    signature += [option for one in OPTIONS for option in api_commands.options(one)]
    run = functools.wraps(create)(lambda **given: create(**given))
    app.command("create")(api_commands.with_signature(run, signature))
    update = catalog()["update_account"]
    for name, (status, words) in STATUSES.items():
        fixed = {"status": status}
        app.command(name, help=words)(api_commands.command(update, fixed, without=OTHER_CHANGES))


def create(
    address: Annotated[str | None, typer.Argument(help="As billing@customer.com.", show_default=False)] = None,
    user_id: Annotated[str | None, typer.Option("--user", help=words_of(UserId))] = None,
    display_name: Annotated[str | None, typer.Option(help=words_of(DisplayName))] = None,
    password_file: PasswordFile = None,
    password_hash_file: HashFile = None,
    allow_reserved: Annotated[bool, typer.Option("--allow-reserved", help=words_of(AllowReserved))] = False,
    quota_messages: Annotated[int | None, typer.Option(min=1, help=words_of(QuotaMessages))] = None,
    credential: CredentialOption = None,
    idempotency_key: Annotated[str | None, typer.Option(help=words_of(IdempotencyKey))] = None,
    source: Source = None,
    passwords: Passwords = None,
    **more: Any,
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
        "quota_messages": quota_messages,
        "credential": credential,
    } | api_commands.arguments_of(OPTIONS, more)
    with connection.client(more["server"], more["key_file"]) as client:
        if source is not None:
            _create_all(client, source, passwords, given)
            return
        local_part, _, domain = str(address).rpartition("@")
        arguments = {"domain": domain, "local_part": local_part} | given
        api_commands.show_one(api_commands.ask(catalog()["create_account"], client, arguments), more["as_json"])


def _create_all(client: Client, source: Path, passwords: Path | None, given: dict[str, Any]) -> None:
    from postroom.cli import batch

    batch.run(client, source, passwords or source.with_name(f"{source.name}.passwords.csv"), _for_all(given))


def _for_all(given: dict[str, Any]) -> dict[str, Any]:
    """The fields that are the same for every row."""
    own = ("display_name", "password", "password_hash", "idempotency_key")
    if wrong := [name for name in own if given[name] is not None]:
        raise typer.BadParameter(f"With --from, {wrong[0].replace('_', '-')} is a column or made for each row.")
    return {name: value for name, value in given.items() if name not in own}


def _check_address(address: str | None, source: Path | None) -> None:
    if (source is None) == (address is None):
        raise typer.BadParameter("Give an address, or --from FILE.")
    if address is not None and "@" not in address:
        raise typer.BadParameter(f"{address} is not an address: use the form name@domain.")
