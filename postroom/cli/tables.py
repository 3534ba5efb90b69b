"""The API's answers as tables.

A stranger would get wrong: a value may come from anybody's DNS, so no control character of one reaches the terminal.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# The columns of the lists; others have every field that is no list.
COLUMNS = {
    "email-accounts": ("id", "address", "user_id", "status", "is_default", "display_name", "created_at"),
    "domains": ("id", "domain", "user_id", "status", "degraded_reason", "expires_at"),
    "keys": ("id", "prefix", "name", "user_id", "scopes", "domains", "networks", "expires_at", "last_used_at"),
    "events": ("id", "created_at", "type", "user_id", "account_id", "domain_id", "key_id", "data"),
}
STYLES = {
    **{"active": "green", "right": "green", "ok": "green", "suspended": "yellow", "pending": "yellow"},
    **{"disabled": "red", "missing": "red", "wrong": "red"},
}
SECRET = ("password", "api_key")


def console() -> Console:
    """As wide as the terminal; where nobody looks, as wide as its longest value."""
    return Console(width=None if sys.stdout.isatty() else 1000, markup=False, highlight=False)


def show_items(path: str, items: Sequence[dict[str, Any]]) -> None:
    """A list."""
    columns = COLUMNS.get(path.rpartition("/")[2])
    if columns and any(item.get("deleted_at") for item in items):
        columns = (*columns, "purge_at")
    _print_table(items, columns)


def show(answer: Any) -> None:
    """One thing: its fields line by line, then what it has many of."""
    if not isinstance(answer, dict):
        console().print(cell(answer))
        return
    grid = Table.grid(padding=(0, 2))
    for name, value in _fields(answer):
        grid.add_row(
            Text(name.replace("_", " "), "dim"), cell("–" if value is None else value, "bold" * (name in SECRET))
        )
    console().print(grid)
    for name, rows in _lists(answer):
        console().print(Text(f"\n{name.replace('_', ' ')}", "bold"))
        _print_table(rows, None)


def cell(value: Any, style: str = "") -> Text:
    """A value as text without control characters."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, list):
        value = "\n".join(cell(one).plain for one in value)
    elif isinstance(value, dict):
        value = json.dumps(value, ensure_ascii=False)
    text = "" if value is None else str(value)
    safe = "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
    return Text(safe, style or STYLES.get(safe, ""))


def _print_table(rows: Sequence[dict[str, Any]], columns: Iterable[str] | None) -> None:
    flat = [dict(_fields(row)) for row in rows]
    names = list(columns or dict.fromkeys(name for row in flat for name in row))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for whole, row in zip(rows, flat, strict=True):
        table.add_row(*(cell(row.get(name, whole.get(name))) for name in names))
    console().print(table)


def _fields(answer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a thing and of the things in it. `domain.domain` is the domain's name, and is called so."""
    for name, value in answer.items():
        if isinstance(value, dict) and name != "data":
            yield from _fields(value, "" if name in ("account", "deleted", "domain", "key", "limits") else f"{name} ")
        elif not _is_table(value):
            yield f"{prefix}{name}", value


def _lists(answer: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name, value in answer.items():
        if _is_table(value):
            yield name, value
        elif isinstance(value, dict):
            yield from _lists(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)
