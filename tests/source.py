"""The source of the product as the tests of its architecture read it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import postroom

ROOT = Path(postroom.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# A module is a noun's if it has SQL.
SQL = re.compile(r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b", re.MULTILINE)
VERB = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, also inside functions. `from postroom.auth import keys`
    counts as postroom.auth.keys."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if name in MODULES} or {node.module}
            if any(name not in MODULES for name in inner):
                found.add(node.module)
    return frozenset(found)


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.partition(".")[0] == "postroom"}


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def text_of(node: ast.JoinedStr) -> str:
    """The constant parts of an f-string."""
    return "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


def strings(path: Path) -> Iterator[str]:
    """Every string literal except docstrings. Of an f-string, its constant parts."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield text_of(node)


def holds_sql(path: Path) -> bool:
    return bool(VERB.search(path.read_text(encoding="utf-8"))) and any(SQL.search(text) for text in strings(path))


NOUNS = {
    name: path
    for name, path in MODULES.items()
    if not inside(name, "postroom.db", "postroom.schema", "postroom.mailplane")
    and (holds_sql(path) or name == "postroom.accounts.queries")
}
