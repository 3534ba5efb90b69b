"""Prints the API's answers as tables.

A value may come from a stranger's DNS, so its control characters never reach the terminal.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

# Columns of the lists, the most important first for a narrow terminal. Other lists show every field
# that is not a list.
COLUMNS = {
    "email-accounts": ("id", "address", "user_id", "status", "is_default", "display_name", "created_at"),
    "domains": ("id", "domain", "user_id", "status", "degraded_reason", "expires_at"),
    "keys": ("id", "prefix", "name", "user_id", "scopes", "domains", "networks", "expires_at", "last_used_at"),
    "events": ("id", "created_at", "type", "user_id", "data", "account_id", "domain_id", "key_id"),
}
STYLES = {
    **{"active": "green", "right": "green", "ok": "green", "suspended": "yellow", "pending": "yellow"},
    **{"disabled": "red", "missing": "red", "wrong": "red"},
}
SECRET = ("password", "api_key")
LINK = "setup_url"  # a line of its own, because a terminal would not copy a folded link as one
COPIED = ("expected_value", "value", "host", "username")
LONGEST = ("expected_value", "value", "found", "fix")  # last columns, so that a long value pushes no other column away
# Widths in characters: an unlimited screen; the gap between two columns; the most that a column
# gets before the other columns have theirs; the least that it needs.
WHOLE, GAP, WIDEST, NARROWEST = 10_000, 3, 20, 12


def console(wide: bool = False) -> Console:
    """A console as wide as the terminal, or as wide as its longest value if the output is not a
    terminal."""
    return Console(width=None if sys.stdout.isatty() and not wide else WHOLE, markup=False, highlight=False)


def show_items(path: str, items: Sequence[dict[str, Any]], wide: bool = False) -> None:
    """Prints a list. If it is wider than the terminal, only the first columns are shown, cut,
    unless `wide` is set."""
    columns = COLUMNS.get(path.rpartition("/")[2])
    if columns and any(item.get("deleted_at") for item in items):
        columns = (*columns, "purge_at")
    rows, names = _flat(items, columns)
    screen = console(wide)
    table = _table(rows, names)
    if _fits(screen, table):
        screen.print(table)
        return
    _print_cut(screen, rows, names)
    print("Not everything fits: --wide or --json shows all.", file=sys.stderr)


def show_rows(items: Sequence[dict[str, Any]]) -> None:
    """Prints the rows of one field of an answer, uncut: as a table, or one row after the other if
    the table is too wide."""
    rows, names = _flat(items, None)
    screen = console()
    table = _table(rows, sorted(names, key=lambda name: name in LONGEST))
    if _fits(screen, table):
        screen.print(table)
        return
    for number, row in enumerate(rows):
        if number:
            screen.print()
        _print_fields(screen, row)


def _print_fields(screen: Console, row: dict[str, Any]) -> None:
    """Prints a row field by field. A value to copy that does not fit is printed uncut on a line of
    its own."""
    longest = max(map(len, row))
    for name, value in row.items():
        text, label = cell(value), Text(name.replace("_", " "), "dim")
        if not text.plain:
            continue
        if name in COPIED and longest + GAP + cell_len(text.plain) > screen.width:
            screen.print(label)
            screen.print(text, soft_wrap=True)
        else:
            grid = Table.grid(padding=(0, GAP))
            grid.add_column(width=longest)
            grid.add_column(overflow="fold")
            grid.add_row(label, text)
            screen.print(grid)


def show(answer: Any) -> None:
    """Prints one thing: its fields line by line, then a table for each field that has rows."""
    if not isinstance(answer, dict):
        console().print(cell(answer))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in _fields(answer):
        if name != LINK:
            shown = cell("–" if value is None else value, "bold" * (name in SECRET))
            grid.add_row(Text(name.replace("_", " "), "dim"), shown)
    console().print(grid)
    if LINK in answer:
        console().print(cell(answer[LINK], "bold"), soft_wrap=True)
    for name, rows in _lists(answer):
        console().print(Text(f"\n{name.replace('_', ' ')}", "bold"))
        show_rows(rows)


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


def _flat(items: Sequence[dict[str, Any]], columns: Iterable[str] | None) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows with their nested fields flattened, and the names of the columns."""
    flat = [dict(_fields(item)) for item in items]
    names = list(columns or dict.fromkeys(name for row in flat for name in row))
    return [
        {name: row.get(name, item.get(name)) for name in names} for item, row in zip(items, flat, strict=True)
    ], names


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(cell(row[name]) for name in names))
    return table


def _fits(screen: Console, table: Table) -> bool:
    return Measurement.get(screen, screen.options.update(max_width=WHOLE), table).maximum <= screen.width


def _print_cut(screen: Console, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Prints as many of the first columns as fit, without the empty ones."""
    shown = {name: [_short(name, row[name]) for row in rows] for name in names}
    natural = {name: max(map(cell_len, (name, *(text.plain for text in shown[name])))) for name in names}
    room, widths = screen.width, dict[str, int]()
    for name in names:
        width = min(natural[name], WIDEST, room)
        if any(text.plain for text in shown[name]) and width >= min(natural[name], NARROWEST):
            widths[name] = width
            room -= width + GAP
    room += GAP
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, width in widths.items():
        more = max(0, min(natural[name] - width, room))
        room -= more
        table.add_column(name.replace("_", " "), width=width + more, no_wrap=True, overflow="ellipsis")
    for texts in zip(*(shown[name] for name in widths), strict=True):
        table.add_row(*texts)
    screen.print(table)


def _short(name: str, value: Any) -> Text:
    """A value on one line: a time in short form, and only the values of an event's data."""
    if name.endswith("_at") and isinstance(value, str):
        value = value[:16].replace("T", " ")
    if isinstance(value, dict):
        value = list(value.values())
    return cell(", ".join(map(str, value)) if isinstance(value, list) else value)


def _fields(answer: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a thing, including those of nested things. `domain.domain` becomes `domain`,
    the domain's name."""
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
