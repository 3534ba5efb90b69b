"""The address of the API and the key, for `postroom api` and `postroom mcp`, and how a failed call
ends a command.

The key in the user's file is sent only to the URL in that file.
"""

import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from postroom.settings import BadSettings

if TYPE_CHECKING:
    from postroom.client import Client, PostroomError

PANEL = "Connection"
MISSING = "The API's client is not installed: pip install '.[cli]' in Postroom's checkout."
Url = Annotated[
    str | None, typer.Option("--url", help="The API, http(s)://…; else POSTROOM_URL.", rich_help_panel=PANEL)
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file", help="A file that holds the key, - for stdin; else POSTROOM_API_KEY.", rich_help_panel=PANEL
    ),
]


def find(url: str | None, key_file: Path | None) -> tuple[str, str]:
    """URL and key, each from the first source that has it: options, environment, the user's file.
    The key may be empty. Raises BadSettings."""
    saved = _saved()
    base = url or os.environ.get("POSTROOM_URL") or saved.get("url")
    if not base:
        raise BadSettings("Where is the API? Give --url, set POSTROOM_URL, or save it: postroom api login.")
    key = read(key_file) if key_file else os.environ.get("POSTROOM_API_KEY", "")
    if not key and base == saved.get("url"):
        key = saved.get("key", "")
    return base, key


def read(file: Path) -> str:
    """A secret from a file, or from stdin. A command that an agent starts has no shell to expand a
    ~. Raises BadSettings."""
    try:
        return (sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file} cannot be read: {getattr(error, 'strerror', 'it is not text')}.") from None


@contextmanager
def client(url: str | None, key_file: Path | None, *, asks: bool = True) -> "Iterator[Client]":
    """A client. If there is no key, the person at the terminal is asked for one. An error is
    printed as one line."""
    base, key = find(url, key_file)
    if not key and asks:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise BadSettings("There is no API key: set POSTROOM_API_KEY, or run postroom api login.")
        key = typer.prompt("API key", hide_input=True, err=True)
    with open_client(base, key) as opened:
        yield opened


@contextmanager
def open_client(base: str, key: str) -> "Iterator[Client]":
    try:
        from postroom.client import Client, PostroomError
    except ModuleNotFoundError as error:
        raise BadSettings(MISSING) from error
    try:
        opened = Client(base, key or None)
    except ValueError as error:
        raise BadSettings(str(error)) from None
    try:
        with opened:
            yield opened
    except PostroomError as error:
        fail(error)


def fail(error: "PostroomError") -> NoReturn:
    print(f"postroom: {line(error)}", file=sys.stderr)
    raise typer.Exit(1)


def line(error: "PostroomError") -> str:
    """One line with the error, the fields that it is about, and the request id to give to the
    operator."""
    fields = "".join(f" {problem.field}: {problem.message}" for problem in error.errors)
    request = f", request {error.request_id}" if error.request_id else ""
    return f"{error.detail}{fields} ({error.code}{request})"


def file() -> Path:
    """The path of the user's file."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "postroom" / "api.toml"


def save(base: str, key: str) -> Path:
    """Saves URL and key in a file that only the user can read, and returns its path."""
    path = file()
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as writing:
        writing.write(f"url = {json.dumps(base)}\nkey = {json.dumps(key)}\n")
    new.replace(path)
    return path


def _saved() -> dict[str, str]:
    try:
        with file().open("rb") as reading:
            found = os.fstat(reading.fileno())
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise BadSettings(f"{file()} holds a key that others can read: run chmod 600 on it, as its owner.")
            values = tomllib.load(reading)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise BadSettings(f"{file()} cannot be read. Make it again: postroom api login.") from None
    if not all(isinstance(value, str) for value in values.values()):
        raise BadSettings(f"{file()} must have url and key, both as text: run postroom api login.")
    return values
