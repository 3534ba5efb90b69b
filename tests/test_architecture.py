"""The rules of the architecture, checked on the source: who imports whom, where SQL is, and how
long functions and files are."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.actor import ALL_SCOPES, OWNER_SCOPE
from postroom.api.route import PUBLIC
from postroom.api.routes import ROUTES
from tests.source import (
    FILES,
    MODULES,
    NOUNS,
    ROOT,
    SQL,
    holds_sql,
    imports,
    inside,
    name_of,
    ours,
    strings,
    text_of,
    tree,
)

DRIVERS = {"sqlite3", "psycopg", "asyncpg", "aiosqlite", "sqlalchemy"}
# From the bottom to the top: each package, or module of the root, imports only what stands before
# it (decision 0184).
LAYERS = (
    "parameters",
    "errors",
    "log",
    "schema",
    "db",
    "actor",
    "events",
    "mail_host",
    "address",
    "settings_file",
    "settings",
    "supervision",
    "instance",
    "mailplane",
    "leases",
    "cluster",
    "mailboxes",
    "messages",
    "tenants",
    "domains",
    "auth",
    "idempotency",
    "accounts",
    "webhooks",
    "milter",
    "api",
    "service",
    "backup",
    "doctor",
    "client",
    "mcp",
    "cli",
)
# Modules of a noun import none of these.
EDGES = {
    "postroom.api",
    "postroom.mailplane",
    "postroom.supervision",
    "postroom.service",
    "postroom.cli",
    "postroom.settings",
}
WRITES = re.compile(r"\b(?:INSERT INTO|UPDATE(?!\s+SET)|DELETE FROM)\s+(\w+)")


def test_it_works() -> None:
    """The helpers of tests/source.py find what the tests below judge."""
    nouns = ("accounts.commands", "domains.commands", "auth.keys", "events", "tenants.usage")
    assert {f"postroom.{noun}" for noun in nouns} <= NOUNS.keys()
    assert "postroom.service.worker" not in NOUNS
    assert "sqlite3" in imports(MODULES["postroom.db.sqlite"])
    assert "postroom.auth.keys" in imports(MODULES["postroom.api.authentication"])


@pytest.mark.parametrize("name", NOUNS)
def test_a_noun_does_not_know_the_edges(name: str) -> None:
    assert not [wanted for wanted in ours(NOUNS[name]) if inside(wanted, *EDGES)]


@pytest.mark.parametrize("name", [name for name in MODULES if inside(name, "postroom.api")])
def test_the_api_knows_neither_mail_plane_nor_sql(name: str) -> None:
    assert not [wanted for wanted in ours(MODULES[name]) if inside(wanted, "postroom.mailplane", "postroom.cli")]
    assert not holds_sql(MODULES[name])


@pytest.mark.parametrize("name", [name for name in MODULES if inside(name, "postroom.mailplane")])
def test_the_mail_plane_knows_neither_nouns_nor_database(name: str) -> None:
    forbidden = [*NOUNS, "postroom.db", "postroom.api"]
    assert not [wanted for wanted in ours(MODULES[name]) if inside(wanted, *forbidden)]


@pytest.mark.parametrize("name", [name for name in MODULES if inside(name, "postroom.client")])
def test_the_client_knows_nothing_of_the_server(name: str) -> None:
    """The client and the server share only the words of the parameters (decision 0192)."""
    assert not [
        wanted for wanted in ours(MODULES[name]) if not inside(wanted, "postroom.client", "postroom.parameters")
    ]
    assert not ours(MODULES["postroom.parameters"])
    assert {name.partition(".")[0] for name in imports(MODULES["postroom.parameters"])} <= {
        "datetime",
        "typing",
        "msgspec",
    }


@pytest.mark.parametrize("name", [name for name in MODULES if not inside(name, "postroom.db")])
def test_only_the_database_knows_a_driver(name: str) -> None:
    assert not {wanted.partition(".")[0] for wanted in imports(MODULES[name])} & DRIVERS


@pytest.mark.parametrize("name", [name for name in MODULES if inside(name, "postroom.db")])
def test_the_database_knows_no_noun(name: str) -> None:
    allowed = ("postroom.db", "postroom.schema", "postroom.errors", "postroom.log")
    assert not [wanted for wanted in ours(MODULES[name]) if not inside(wanted, *allowed)]


def test_no_import_cycles() -> None:
    """Imports inside functions count too, because they only hide a cycle."""
    graph = {name: {wanted for wanted in ours(path) if wanted in MODULES} - {name} for name, path in MODULES.items()}
    for package in {name for name, path in MODULES.items() if path.name == "__init__.py"}:
        graph[package] = {wanted for wanted in graph[package] if not inside(wanted, package)}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way[way.index(name) :], name])
        if name not in done:
            for wanted in sorted(graph[name]):
                visit(wanted, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_root_keeps_the_words_that_all_share() -> None:
    in_root = {path.stem for path in ROOT.glob("*.py")}
    assert len(in_root) <= 12
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert in_root - {"__init__"} | packages == set(LAYERS)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "postroom"])
def test_arrows_between_packages_go_one_way(name: str) -> None:
    below = {"postroom", *(f"postroom.{layer}" for layer in LAYERS[: LAYERS.index(name.split(".")[1]) + 1])}
    assert {".".join(wanted.split(".")[:2]) for wanted in ours(MODULES[name])} <= below


def test_two_packages_do_not_write_one_table() -> None:
    writers: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        for text in strings(path):
            if SQL.search(text):
                for table in WRITES.findall(text):
                    writers.setdefault(table, set()).add(".".join(name.split(".")[:2]))
    assert {"accounts", "addresses", "events", "domains"} <= writers.keys()
    assert {table: names for table, names in writers.items() if len(names) > 1} == {}


def test_every_table_is_written_by_somebody() -> None:
    schema = "".join(path.read_text() for path in (ROOT / "schema").glob("0*.sql"))
    text = " ".join(text for path in NOUNS.values() for text in strings(path))
    for table in set(re.findall(r"CREATE TABLE (\w+)", schema)) - set(re.findall(r"DROP TABLE (\w+)", schema)):
        assert re.search(rf"(INSERT INTO|UPDATE) {table}\b", text), table


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            assert node.end_lineno - node.lineno + 1 <= 40, node.name


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_files_beside_the_product_are_short(folder: str) -> None:
    files = (Path(__file__).parent.parent / folder).rglob("*.py")
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 10
    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_most_files_and_functions_are_shorter() -> None:
    """Nine of ten functions have at most 20 lines, nine of ten files at most 260."""
    functions = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    files = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in FILES)
    assert functions[len(functions) * 9 // 10] <= 20
    assert files[len(files) * 9 // 10] <= 260


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(tree(path))
    assert not re.search(r"(^|_)(utils?|common|base|core|manager|service|repository|factory)$", path.stem)


# The functions that may catch every exception, and what happens to it.
CATCHES_ALL = {
    ("postroom.api.app", "_serve"): "becomes a 500 and a line in the log",
    ("postroom.messages.imap_sessions", "_carry_out"): "goes to the caller, in another thread",
    ("postroom.service.worker", "_together"): "leads to a try row by row, and a line in the log",
    ("postroom.service.login_guard", "_count"): "leads to a try one by one, and a line in the log",
    ("postroom.service.sent_log", "_record"): "leads to a try one by one, and a line in the log",
    ("postroom.service.webhooks", "_keep_on"): "becomes a line in the log; the next look tries again",
    ("postroom.service.webhooks", "_read"): "becomes a line in the log; the message is tried again later",
    ("postroom.service.passing_messages", "run"): "becomes a line in the log; the next look tries again",
    ("postroom.service.passing_messages", "_try"): "becomes a line in the log; the message is tried again",
    ("postroom.service.hidden_mail", "run"): "becomes a line in the log; the next look tries again",
    ("postroom.service.arrivals", "run"): "becomes a line in the log; the next look tries again",
    ("postroom.service.arrivals", "_try_account"): "becomes a line in the log; the account is tried again",
    ("postroom.service.webhooks", "_serve"): "becomes a line in the log; the lease of the lane runs out",
    ("postroom.service.worker", "_alone"): "becomes a back-off of one row, and a line in the log",
    ("postroom.db.writer", "_checkpoint"): "becomes a line in the log; the next batch tries again",
    ("postroom.db.writer", "_commit"): "goes to every waiter",
    ("postroom.db.writer", "_run_job"): "goes to the waiter",
}


@pytest.mark.parametrize("name", MODULES)
def test_nothing_hides_errors(name: str) -> None:
    for function in ast.walk(tree(MODULES[name])):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.ExceptHandler) and _catches_all(node):
                raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                assert raises or (name, function.name) in CATCHES_ALL, f"{name}.{function.name}"


def _catches_all(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))


# The keys that ASGI defines, and `root_path`, which Starlette sets for a mounted application.
OF_ASGI = {"type", "http_version", "method", "path", "raw_path", "query_string", "headers", "client", "root_path"} | {
    "extensions"
}


def test_files_are_mapped_whole() -> None:
    """One function makes all maps: a map sees nothing of what is in the buffer of its file."""
    found = [name for name, path in MODULES.items() if "mmap.mmap(" in path.read_text(encoding="utf-8")]
    assert found == ["postroom.messages.mapped_file"]


@pytest.mark.parametrize("name", [name for name in MODULES if inside(name, "postroom.api")])
def test_nothing_is_hidden_in_the_scope(name: str) -> None:
    """What the application finds out about a request is in its Exchange, which has types (decision
    0191)."""
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).rpartition(".")[2] == "scope":
            assert ast.literal_eval(node.slice) in OF_ASGI
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("scope.get"):
            assert ast.literal_eval(node.args[0]) in OF_ASGI


def test_every_file_of_endpoints_is_in_the_table() -> None:
    """A route that is declared but not in the table would be neither served nor tested."""
    named = [path.stem for path in (ROOT / "api" / "endpoints").glob("*.py") if "\n@route(" in path.read_text("utf-8")]
    assert sorted(named) == sorted({route.handler.__module__.rpartition(".")[2] for route in ROUTES})
    declared = sum(path.read_text("utf-8").count("\n@route(") for path in (ROOT / "api" / "endpoints").glob("*.py"))
    assert len(ROUTES) == declared


def test_every_route_has_a_scope() -> None:
    assert {route.scope for route in ROUTES} <= {PUBLIC, OWNER_SCOPE, *ALL_SCOPES}
    for route in ROUTES:
        is_open = not route.path.startswith("/v2/") and route.path != "/metrics" and not route.needs_mail_token
        assert (route.scope == PUBLIC) == (is_open or route.name == "me.sign_in")
        assert (route.scope == OWNER_SCOPE) == (route.path.startswith("/v2/me") and route.name != "me.sign_in")
        assert route.handler.__module__.startswith("postroom.api.")
        assert route.handler.__doc__


# Functions that build a statement from constants of their own module, chosen by name.
SQL_BUILDERS = {
    ("postroom.accounts.alias_pages", "page_sql"),
    ("postroom.accounts.alias_pages", "of_accounts_sql"),
    ("postroom.accounts.queries", "page_sql"),
    ("postroom.accounts.queries", "deleted_sql"),
    ("postroom.events", "page_sql"),
    *(("postroom.schema.look_ups", name) for name in ("rows", "query", "_function")),  # names of views and columns
    ("postroom.db.transfer", "_select"),  # table names come from the database itself
    ("postroom.db.snapshots", "_count"),  # table names come from the database itself
}


@pytest.mark.parametrize("name", MODULES)
def test_sql_is_put_together_from_constants_only(name: str) -> None:
    """An f-string with SQL contains only module constants."""
    module = tree(MODULES[name])
    constants = {
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    constants |= {
        alias.name
        for node in module.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("postroom.")
        for alias in node.names
        if alias.name.isupper()
    }
    for function, node in _f_strings(module):
        if not SQL.search(text_of(node)) or (name, function) in SQL_BUILDERS:
            continue
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                assert isinstance(part.value, ast.Name), f"{name}: {ast.unparse(node)}"
                assert part.value.id in constants, f"{name}: {part.value.id} is not a constant of the module"


def _f_strings(module: ast.Module) -> Iterator[tuple[str, ast.JoinedStr]]:
    """Each f-string, with the name of its top-level function or class."""
    for top in module.body:
        name = top.name if isinstance(top, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ""
        for node in ast.walk(top):
            if isinstance(node, ast.JoinedStr):
                yield name, node


@pytest.mark.parametrize("name", NOUNS)
def test_statements_are_constants(name: str) -> None:
    """The first argument of tx.one, tx.all and tx.run is a module constant or the result of a
    page_sql."""
    for node in ast.walk(tree(NOUNS[name])):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if is_call and node.func.attr in ("one", "all", "run") and ast.unparse(node.func.value) == "tx":  # type: ignore[attr-defined]
            first = node.args[0]  # type: ignore[attr-defined]
            assert isinstance(first, ast.Name), f"{name}: {ast.unparse(node)}"
            assert first.id.isupper() or first.id == "sql", f"{name}: {ast.unparse(node)}"


def test_daemons_read_views_only() -> None:
    schema = "".join(path.read_text() for path in (ROOT / "schema").glob("0*.sql"))
    tables = set(re.findall(r"CREATE TABLE (\w+)", schema))
    folder = ROOT / "mailplane"
    for path in [*folder.rglob("*.j2"), *folder.rglob("*.py")]:
        for source in re.findall(r"\b(?:FROM|JOIN) (\w+)", path.read_text(encoding="utf-8")):
            assert source not in tables, f"{path.name} reads {source}"


CITED = re.compile(r"\bdecision (\d{4})\b")


def test_decisions_are_cited_where_the_code_would_surprise() -> None:
    """Every cited number is a decision, and at least three of four decisions are cited. The others
    concern a whole package, or code that does not exist."""
    here = Path(__file__).parent.parent
    known = {path.name[:4] for path in (here / "docs" / "decisions").glob("[0-9]*.md")}
    folders = ("postroom", "tests", "scripts", "bench", "deploy")
    files = [path for folder in folders for path in (here / folder).rglob("*") if path.is_file()]
    cited: set[str] = set()
    for path in [here / "pyproject.toml", *files]:
        if path.suffix != ".pyc":
            numbers = set(CITED.findall(path.read_bytes().decode(errors="replace")))
            assert numbers <= known, f"{path}: {sorted(numbers - known)}"
            cited |= numbers
    assert len(cited) >= len(known) * 3 // 4, sorted(known - cited)


def test_plain_test_runs_every_file() -> None:
    """`./test` does not run a folder that `testpaths` does not name."""
    here = Path(__file__).parent.parent
    options = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    named = [path for pattern in options["testpaths"] for path in here.glob(pattern)]
    run = {file for path in named for file in ([path] if path.is_file() else path.rglob("test_*.py"))}
    assert run == set((here / "tests").rglob("test_*.py"))
