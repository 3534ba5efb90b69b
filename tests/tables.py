"""The generated tables in docs/. `scripts/docs-tables` writes them, and tests/test_docs.py fails
when they are stale.

A table is every line that begins with `|` after the line `<!-- scripts/docs-tables: NAME -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from msgspec import Meta

from postroom.api.route import PUBLIC
from postroom.api.routes import ROUTES
from postroom.cli.api_commands import place
from postroom.client.catalog import Entry, catalog
from postroom.settings import Settings, variable

DOCS = Path(__file__).parent.parent / "docs"
MARK = re.compile(r"^(<!-- scripts/docs-tables: (\w+) -->\n\n)((?:\|.*\n)*)", re.M)


def routes() -> list[str]:
    """Every route, with a link to its section."""
    titles = {f"{route.method} {route.path}": route for route in ROUTES}
    found = ["| route | what | scope |", "|---|---|---|"]
    for path in sorted(DOCS.glob("*.md")):
        for title in re.findall(r"^### ([A-Z]+ /.*)$", path.read_text("utf-8"), re.M):
            route = titles[title]
            link = f"{'' if path.name == 'api.md' else path.name}#{anchor(title)}"
            scope = "no key" if route.scope == PUBLIC else f"`{route.scope}`"
            found.append(f"| [`{title}`]({link}) | {route.summary} | {scope} |")
    return found


def methods() -> list[str]:
    """Every method of the client."""
    rows = (f"| `{entry.name}` | {route_of(entry)} | {answer_of(entry)} |" for entry in catalog().values())
    return ["| method | route | returns |", "|---|---|---|", *rows]


def commands() -> list[str]:
    """Every command of `postroom api`, group by group."""
    placed = sorted(((*place(entry), entry) for entry in catalog().values()), key=lambda row: row[0] or "~")
    named = ((f"{group} {name}".strip(), entry) for group, name, entry in placed)
    rows = (f"| `postroom api {name}` | {route_of(entry)} | {entry.summary} |" for name, entry in named)
    return ["| command | route | what it does |", "|---|---|---|", *rows]


def all_settings() -> list[str]:
    """Every setting."""
    rows = (
        f"| `{name}` | {kind} | {f'`{default}`' if default else 'empty'} | {meaning} |"
        for name, kind, default, meaning in describe()
    )
    return ["| name | type | default | meaning |", "|---|---|---|---|", *rows]


def describe() -> list[tuple[str, str, str, str]]:
    """Returns each setting as (variable, type, default, description)."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))
    rows = []
    for name, hint in hints.items():
        text = next(m.description for m in reversed(hint.__metadata__) if isinstance(m, Meta) and m.description)
        kind = "path" if hint.__origin__ is Path else _kind(hint.__origin__)
        rows.append((variable(name), kind, str(defaults[name]), text))
    return rows


def _kind(hint: Any) -> str:
    choices = get_args(hint)
    return " or ".join(choices) if choices else str(hint.__name__)


TABLES: dict[str, Callable[[], list[str]]] = {
    "routes": routes,
    "methods": methods,
    "commands": commands,
    "settings": all_settings,
}


def fresh(text: str) -> str:
    """The document with all of its tables generated again."""
    return MARK.sub(lambda match: match[1] + "".join(f"{row}\n" for row in TABLES[match[2]]()), text)


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub derives it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def route_of(entry: Entry) -> str:
    return f"`{entry.operation.method} {entry.path}`"


def answer_of(entry: Entry) -> str:
    """What a method returns, in words, from the type that it decodes."""
    (kind,) = get_args(get_type_hints(entry.operation.describe)["return"])
    return _words(get_args(kind)[0], is_list=True) if entry.is_list else _words(kind)


def _words(kind: Any, is_list: bool = False) -> str:
    if get_origin(kind) is list:
        return _words(get_args(kind)[0], is_list=True)
    return "text" if kind is str else f"{'list of ' * is_list}`{kind.__name__}`"


def main() -> None:
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (new := fresh(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"docs/{path.name} is written anew.")


if __name__ == "__main__":
    main()
