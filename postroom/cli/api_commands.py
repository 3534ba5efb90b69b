"""The commands of `postroom api`, generated from the client's operations, which give the arguments,
options and help.

`--json` prints the API's answer byte for byte, not what the client reads from it.
"""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
import typer

from postroom.cli import connection
from postroom.cli.connection import KeyFile, Url
from postroom.cli.options import Json
from postroom.settings import BadSettings

try:
    from postroom.client import Client
    from postroom.client.catalog import CURSORS, Entry, Parameter
    from postroom.client.new_attachment import NewAttachment
except ModuleNotFoundError as error:
    raise BadSettings(connection.MISSING) from error

# Groups by the first segment of the path after /v2. An operation without a group is a command of
# its own.
GROUPS = {
    "email-accounts": "accounts",
    "email-aliases": "aliases",
    "domain": "domains",
    "domains": "domains",
    "keys": "keys",
    "limits": "limits",
    "webhooks": "webhooks",
}
# `--url` is the server of every command.
OPTIONS = {"user_id": "user", "is_default": "default", "scopes": "scope", "networks": "network"}
OPTIONS |= {"url": "webhook_url", "events": "event", "attachments": "attachment", "headers": "header"}
# Flags that are sent as false too.
SWITCHES = ("enabled", "keep_copy", "main_password", "may_send", "save_sent", "send_blocked")
REPEATED = {"list": " May be repeated.", "texts": " As `Name: value`; may be repeated."}
REPEATED["files"] = " A file; may be repeated."
SWITCHED = {"protocols": "Switch {} on or off, for every password.", "flags": "Set or remove the flag `{}`."}
PAGE = 500


class Items(msgspec.Struct):
    """The items of a page, undecoded."""

    items: list[msgspec.Raw]


def place(entry: Entry) -> tuple[str, str]:
    """The group of an operation and its name in the group: create_account is `accounts create`."""
    segments = entry.path.split("/")
    group = GROUPS.get(segments[2], "") if segments[1] == "v2" else ""
    verb, _, noun = entry.name.partition("_")
    if not group:
        return "", noun.replace("_", "-") if verb in ("get", "list") else f"{verb}-{noun.replace('_', '-')}"
    nouns = [part for part in noun.split("_") if part not in (group, group.removesuffix("s"))]
    return group, "-".join([verb, *nouns])


def command(
    entry: Entry, fixed: Mapping[str, Any] = MappingProxyType({}), without: Sequence[str] = ()
) -> Callable[..., None]:
    """The function of a command. `fixed` are arguments that the command always sends, `without` are
    arguments that it never takes."""
    parameters = [one for one in entry.parameters if one.name not in (*fixed, *without)]

    def run(
        server: str | None, key_file: Path | None, as_json: bool, every: bool = False, wide: bool = False, **given: Any
    ) -> None:
        arguments = arguments_of(parameters, given) | dict(fixed)
        with connection.client(server, key_file, asks=not entry.is_public) as client:
            if entry.is_list:
                show_list(entry, client, arguments, as_json, every, wide)
            elif entry.is_stream:
                follow(entry, client, arguments)
            elif entry.gives_bytes:
                sys.stdout.buffer.write(ask(entry, client, arguments))
            else:
                show_one(ask(entry, client, arguments), as_json)

    signature = [option for parameter in parameters for option in options(parameter)]
    if entry.is_list:
        every = typer.Option("--all", help="All of them, page by page; with --json one a line.")
        whole = typer.Option("--wide", help="Every column and all of each value, however narrow the terminal is.")
        signature += [_option("every", Annotated[bool, every], False), _option("wide", Annotated[bool, whole], False)]
    return with_signature(run, signature)


def with_signature(run: Callable[..., None], signature: list[inspect.Parameter]) -> Callable[..., None]:
    """The function with the signature that typer reads, including the options that every command
    has."""
    signature += [_option("as_json", Json, False), _option("server", Url, None), _option("key_file", KeyFile, None)]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in signature}
    return run


def ask(entry: Entry, client: Client, arguments: dict[str, Any]) -> bytes:
    with _waiting(entry.summary):
        return client.run(entry.ask(client.retry_policy, arguments))


def follow(entry: Entry, client: Client, arguments: dict[str, Any]) -> None:
    """Prints each event as a line of JSON as it comes, until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        for event in getattr(client, entry.name)(**arguments):
            print(msgspec.json.encode(event).decode(), flush=True)


def show_one(body: bytes, as_json: bool) -> None:
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        print(json.dumps(body.decode()) if as_json else body.decode(), end="\n" if as_json else "")
        return
    if as_json:
        print(body.decode())
    else:
        from postroom.cli import tables

        tables.show(answer)


def show_list(entry: Entry, client: Client, arguments: dict[str, Any], as_json: bool, every: bool, wide: bool) -> None:
    if every:
        pages = _pages(entry, client, {"limit": PAGE} | arguments)
        if as_json:
            for body, _ in pages:
                for item in msgspec.json.decode(body, type=Items).items:
                    print(bytes(item).decode())
            return
        with _counting(entry.summary) as count:
            bodies = [body for body, _ in pages if count(len(msgspec.json.decode(body, type=Items).items))]
        next_ = None
    else:
        with _waiting(entry.summary):
            body, next_ = next(_pages(entry, client, arguments))
        if as_json:
            print(body.decode())
        bodies = [body]
    if not as_json:
        from postroom.cli import tables

        tables.show_items(entry.path, [item for body in bodies for item in msgspec.json.decode(body)["items"]], wide)
    if next_:
        query = parse_qs(urlsplit(next_).query)
        name = next(name for name in CURSORS if name in query)
        print(f"There are more: --{name.replace('_', '-')} {query[name][0]}, or --all.", file=sys.stderr)


def _pages(entry: Entry, client: Client, arguments: dict[str, Any]) -> Iterator[tuple[bytes, str | None]]:
    """Each page as it was answered, and the address of the next page. A page is requested only when
    it is needed."""
    page = client.run(entry.ask_page(client.retry_policy, arguments))
    yield page.items[0], page.next
    while page.next:
        page = client.run(entry.ask_page(client.retry_policy, arguments, page.next))
        yield page.items[0], page.next


def options(parameter: Parameter) -> Iterator[inspect.Parameter]:
    """The command-line options of a parameter. A secret is never given on the command line, but in
    a file."""
    name, words = parameter.name, parameter.words
    if parameter.kind == "switches":
        for choice in parameter.choices:
            switch = typer.Option(f"--{choice}/--no-{choice}", help=SWITCHED[name].format(choice), show_default=False)
            yield _option(f"{name}_{choice}", Annotated[bool | None, switch], None)
        return
    if parameter.kind == "numbers":
        yield from _numbers(parameter)
        return
    option = "domain" if (name, parameter.kind) == ("domains", "list") else parameter.sent_name
    dashed = OPTIONS.get(name, option).replace("_", "-")
    kind: Any = {"text": str, "number": int, "flag": bool, "list": list[str], "texts": list[str], "files": list[Path]}
    kind = kind[parameter.kind]
    if parameter.choices:
        kind = Literal[parameter.choices]
    if name in SWITCHES:
        switch = typer.Option(f"--{dashed}/--no-{dashed}", help=words, show_default=False)
        hint, default = (bool, inspect.Parameter.empty) if parameter.is_required else (bool | None, None)
        yield _option(name, Annotated[hint, switch], default)
    elif parameter.is_required:
        yield _option(name, Annotated[kind, typer.Argument(help=words, show_default=False)], inspect.Parameter.empty)
    elif parameter.is_hidden:
        words = f"{words} The file holds it, - for stdin."
        yield _option(name, Annotated[Path | None, typer.Option(f"--{dashed}-file", help=words)], None)
    elif parameter.kind == "flag":
        yield _option(name, Annotated[bool, typer.Option(f"--{dashed}", help=words)], False)
    else:
        words += REPEATED.get(parameter.kind, "")
        bounds: dict[str, Any] = {"min": 1, "max": PAGE} if name == "limit" else {}
        yield _option(name, Annotated[kind | None, typer.Option(f"--{dashed}", help=words, **bounds)], None)
    if parameter.is_nullable:
        none = typer.Option(f"--no-{dashed}", help="No limit." if parameter.kind == "number" else "Take it away.")
        yield _option(f"no_{name}", Annotated[bool, none], False)


def _numbers(parameter: Parameter) -> Iterator[inspect.Parameter]:
    """An option for each number, and one that removes the number."""
    prefix = "total-" if parameter.name.endswith("_total") else ""
    for choice in parameter.choices:
        dashed, words = prefix + choice.replace("_", "-"), f"{parameter.words.partition(';')[0]}: {choice}."
        number = typer.Option(f"--{dashed}", min=0, help=words.replace("_", " "))
        yield _option(f"{parameter.name}_{choice}", Annotated[int | None, number], None)
        none = typer.Option(f"--no-{dashed}", help="No limit.")
        yield _option(f"no_{parameter.name}_{choice}", Annotated[bool, none], False)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def arguments_of(parameters: Iterable[Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the operation, without those that were left out."""
    found: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind == "switches":
            values = {choice: given[f"{parameter.name}_{choice}"] for choice in parameter.choices}
            if any(value is not None for value in values.values()):
                found[parameter.name] = {choice: value for choice, value in values.items() if value is not None}
            continue
        if parameter.kind == "numbers":
            numbers = {choice: given[f"{parameter.name}_{choice}"] for choice in parameter.choices}
            set_ = {choice: number for choice, number in numbers.items() if number is not None}
            set_ |= {choice: None for choice in parameter.choices if given[f"no_{parameter.name}_{choice}"]}
            found |= {parameter.name: set_} if set_ else {}
            continue
        value = _read(parameter, given[parameter.name])
        if given.get(f"no_{parameter.name}"):
            if value is not None:
                raise typer.BadParameter(f"Give a value or --no-{parameter.name.replace('_', '-')}, not both.")
            found[parameter.name] = None
        elif isinstance(value, Path):
            found[parameter.name] = connection.read(value)
        elif value is not None and (value is not False or parameter.name in SWITCHES) and value != []:
            found[parameter.name] = value
    return found


def _read(parameter: Parameter, value: Any) -> Any:
    """The value of an option, with the files that it names."""
    if parameter.kind == "files":
        try:
            return [NewAttachment.of(path) for path in value or ()]
        except OSError as error:
            raise typer.BadParameter(f"A file cannot be read: {error.strerror}.") from None
    if parameter.kind == "texts":
        pairs = [line.partition(":") for line in value or ()]
        if not all(colon for _, colon, _ in pairs):
            raise typer.BadParameter(f"Write --{parameter.name.removesuffix('s')} 'Name: value'.")
        return {name.strip(): text.strip() for name, _, text in pairs} or None
    return value


@contextmanager
def _waiting(words: str) -> Iterator[None]:
    """Shows a spinner on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


@contextmanager
def _counting(words: str) -> Iterator[Callable[[int], bool]]:
    """Shows the number of items so far on a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(words, total=None)

        def count(number: int) -> bool:
            progress.advance(task, number)
            return True

        yield count
