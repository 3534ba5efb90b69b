"""docs/troubleshooting.md quotes what Postroom really prints.

A text in “…” is Postroom's own; a text in backticks may be another program's.
"""

import ast
import functools
import re
from pathlib import Path

import pytest

from postroom.api.problems import PROBLEMS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = sorted(set(re.findall("“([^”]+)”", TEXT.replace("in “…” are", ""))))
ANYTHING = "…"


@functools.cache
def said() -> str:
    """Every text in the source, one per line, with … in place of its values."""
    found = []
    for path in (ROOT / "postroom").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else ANYTHING for part in node.values]
                found.append("".join(map(str, parts)))
    for path in [*(ROOT / "postroom").rglob("*.j2"), *(ROOT / "postroom").rglob("*.sql")]:
        found.append(path.read_text(encoding="utf-8"))
    return "\n".join(found)


@pytest.mark.parametrize("text", QUOTED)
def test_every_quote_is_in_the_source(text: str) -> None:
    pattern = r"[^\n]*".join(re.escape(part) for part in text.strip(ANYTHING).split(ANYTHING))
    assert re.search(pattern, said()), text


def test_enough_is_quoted() -> None:
    assert len(QUOTED) > 20


def test_each_code_has_its_status() -> None:
    rows = re.findall(r"\b(\d{3}) `([a-z_]+)`", TEXT)
    assert [row for row in rows if PROBLEMS.get(row[1], (0, ""))[0] != int(row[0])] == []
    assert {"401", "403", "404", "409", "429", "503"} <= {status for status, _ in rows}
