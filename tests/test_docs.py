"""The documents are complete, and what they name exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer.main

from postroom import events, settings
from postroom.accounts.model import Status
from postroom.actor import ALL_SCOPES, OWNER_SCOPE
from postroom.api.endpoints import domain_views
from postroom.api.endpoints.account_views import FIELDS
from postroom.api.endpoints.keys import ShownKey
from postroom.api.problems import PROBLEMS
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from postroom.cli.api_commands import place
from postroom.cli.main import app
from postroom.client.catalog import Entry, catalog, operations
from postroom.domains.commands import Status as DomainStatus
from postroom.domains.dns_records import Purpose
from tests import tables
from tests.documents import NAMES, REFERENCE, ROOT, blocks, read

INDEX = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
API = "".join((ROOT / name).read_text(encoding="utf-8") for name in REFERENCE)

# Absolute paths that a document may name: the product's own, and those of every system.
PATHS = (
    "/me",
    "/etc/",
    "/opt/postroom/",
    "/var/lib/postroom",
    "/var/lib/roundcube",
    "/var/backups/postroom",
    "/usr/",
    "/v2/",
    "/v2`",
    "/.well-known/mta-sts.txt",
    "/.well-known/autoconfig/",
    "/mail/",
    "/mail`",
    "/autodiscover/",
    "/Autodiscover/Autodiscover.xml",
    "/healthz",
    "/readyz",
    "/metrics",
    "/console/session",
    "/setup",
    "/sign-in",
    "/openapi.json",
    "/llms.txt",
    "/docs",
    "/INBOX",
)


def prose(name: str) -> str:
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.M | re.S)


def section(title: str) -> str:
    """The text under a heading of the reference, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", API, re.M | re.S)
    assert found, f"no document of the API has a section {title}"
    return found[1]


def first_cells(text: str) -> list[str]:
    """The names in the first column of all tables in a text."""
    rows = re.findall(r"^\|([^|]*)\|", text, re.M)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def constants(names: set[str]) -> Iterator[tuple[str, str]]:
    """The name and the argument of each call of one of these functions whose argument is a
    constant."""
    for path in (ROOT / "postroom").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                position = 1 if node.func.id == "FieldError" else 0
                if isinstance(code := node.args[position], ast.Constant):
                    yield node.func.id, code.value


def recorded_events() -> set[str]:
    """The event types in the modules that call events.record()."""
    found = set()
    for path in (ROOT / "postroom").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path != ROOT / "postroom" / "events.py" and re.search(r"\brecord\(\s*tx\b", text):
            values = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
            found |= {v for v in values if isinstance(v, str) and re.fullmatch(r"([a-z]+|mail_token)\.[a-z_]+", v)}
    return found


def test_every_route_has_a_section() -> None:
    titles = re.findall(r"^### ([A-Z]+ /.*)$", API, re.M)
    assert sorted(titles) == sorted(f"{route.method} {route.path}" for route in ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_section_names_all_of_its_route(route: Route) -> None:
    text = section(f"{route.method} {route.path}")
    names = [field.name for kind in (route.query, route.body) if kind for field in msgspec.structs.fields(kind)]
    names += [] if route.scope == PUBLIC else [route.scope, *route.refuses]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("entry", catalog().values(), ids=lambda entry: entry.name)
def test_a_section_has_the_call_with_curl_and_in_python(entry: Entry) -> None:
    text = section(f"{entry.operation.method} {entry.path}")
    path = re.sub(r":\w+", "[^/?]+", entry.path)
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    assert [code for kind, code in fences if kind in ("sh", "shell") and re.search(rf'curl .*URL{path}["?]', code)]
    assert [code for kind, code in fences if kind == "python" and f"client.{entry.name}(" in code]


def test_the_readme_has_the_seven_endpoints() -> None:
    """The seven endpoints of the specification are in the README, and each has a route."""
    rows = re.findall(r"^\| (GET|POST|PUT) \| `([^`]+)` \|", read("README.md"), re.M)
    assert len(rows) == 7
    assert set(rows) <= {(route.method, route.path) for route in ROUTES if "email-accounts" in route.path}


@pytest.mark.parametrize(("name", "most"), [("README.md", 900), ("ARCHITECTURE.md", 900)])
def test_a_first_document_is_short(name: str, most: int) -> None:
    assert len(read(name).split()) <= most


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_is_short(path: Path) -> None:
    """A decision has the parts Status, Context, Decision and Consequences, at most 150 words, and
    its number in the title."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^(?:## |)(Status|Context|Decision|Consequences)", text, re.M) == [
        "Status",
        "Context",
        "Decision",
        "Consequences",
    ]
    assert len(text.split()) <= 150
    assert text.startswith(f"# {path.stem[:4]}: ")


def test_every_error_code_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", section("Errors"), re.M)
    assert rows == [(code, str(status)) for code, (status, _) in PROBLEMS.items()]


def test_every_code_of_a_field_is_documented() -> None:
    table = section("Errors").partition("Codes of single fields")[2]
    used = {code for _, code in constants({"FieldError", "BadAddress", "BadHash", "WeakPassword"})}
    assert set(first_cells(table)) == used


def test_every_error_code_has_its_section() -> None:
    rows = re.findall(r"^### `(\w+)` \((\d+)\)\n\n\w", read("docs/errors.md"), re.M)
    assert sorted(rows) == sorted((code, str(status)) for code, (status, _) in PROBLEMS.items())


def test_every_code_of_a_field_has_its_fix() -> None:
    table = read("docs/errors.md").partition("## Single fields")[2].partition("\n## ")[0]
    used = {code for _, code in constants({"FieldError", "BadAddress", "BadHash", "WeakPassword"})}
    assert set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.M)))) == used


def test_the_codes_that_clients_retry_are_documented() -> None:
    sentence = re.search(r"by themselves after (.*?)\.", read("docs/errors.md"), re.S)
    assert sentence
    again = {code for code, (status, _) in PROBLEMS.items() if status in (429, 503)} | {"idempotency_conflict"}
    assert set(re.findall(r"`(\w+)`", sentence[1])) == again


def test_every_status_has_its_row() -> None:
    text = read("docs/concepts.md")
    domain, account = (
        first_cells(text.partition(f"## {title}")[2].partition("\n## ")[0]) for title in ("Domain", "Account")
    )
    assert domain == list(get_args(DomainStatus))
    assert account == list(get_args(Status))


def test_every_event_is_documented() -> None:
    types = [name for name in first_cells(section("GET /v2/events")) if "." in name]
    assert sorted(types) == sorted(recorded_events()) == sorted(events.TYPES)


def test_every_field_of_an_account_is_documented() -> None:
    assert first_cells(section("The account")) == list(FIELDS)


def test_every_field_of_a_domain_is_documented() -> None:
    assert first_cells(section("The domain")) == list(domain_views.FIELDS)


def test_every_purpose_of_a_record_is_documented() -> None:
    assert [name for name in get_args(Purpose) if f"`{name}`" not in section("The records")] == []


def test_every_scope_in_use_is_one_that_a_key_may_have() -> None:
    assert {route.scope for route in ROUTES} <= {PUBLIC, OWNER_SCOPE, *ALL_SCOPES}


def test_every_scope_is_documented() -> None:
    assert [scope for scope in ALL_SCOPES if f"`{scope}`" not in section("Keys")] == []


def test_every_field_of_a_key_is_documented() -> None:
    described = API.partition("\n## Keys\n")[2].partition("\n### ")[0]
    assert [name for name in first_cells(described) if name != "key_id"] == list(ShownKey.__struct_fields__)


def test_every_method_of_the_client_is_in_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([A-Z]+) (\S+)` \|", read("docs/python.md"), re.M)
    assert sorted(rows) == sorted((name, m.method, m.path) for name, m in operations().items())


def test_every_command_of_the_api_is_in_the_table() -> None:
    wanted = {" ".join(filter(None, place(e))): (e.operation.method, e.path) for e in catalog().values()}
    rows = re.findall(r"^\| `postroom api ([a-z -]+)` \| `([A-Z]+) (\S+)` \|", read("docs/cli.md"), re.M)
    assert {name: (method, path) for name, method, path in rows} == wanted


def test_every_command_of_the_operator_is_in_the_tables() -> None:
    def names(group: Any, *words: str) -> Iterator[str]:
        for word, command in group.commands.items():
            inner = (*words, word)
            yield from names(command, *inner) if hasattr(command, "commands") else [" ".join(inner)]

    table = read("docs/operations.md").partition("## The command line")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `postroom ([a-z][a-z -]*?)(?: -{2}| \[| [A-Z]|`)", table, re.M)
    assert sorted(rows) == sorted(name for name in names(typer.main.get_command(app)) if not name.startswith("api "))


def test_the_index_for_agents_has_every_document() -> None:
    linked = set(re.findall(r"\]\(/docs/([\w-]+\.md)\)", INDEX))
    assert linked == {path.name for path in (ROOT / "docs").glob("*.md")}


def security_rows() -> list[list[str]]:
    """The cells of each row of docs/security-tests.md."""
    lines = [line for line in read("docs/security-tests.md").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row != ["attempt", "behavior", "test"] and set(row[0]) != {"-"}]


@pytest.mark.parametrize("row", security_rows(), ids=lambda row: row[0][:60])
def test_a_security_row_names_a_test_that_exists(row: list[str]) -> None:
    """The last cell names files of this repository, as `file` or `file::function`."""
    assert len(row) == 3
    named = re.findall(r"`((?:tests|scripts)/[\w/.-]+)(?:::(\w+))?(?: all)?`", row[2])
    assert named, row
    for file, function in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, f"{file} has no function {function}"


def test_security_rows_are_unique() -> None:
    attempts = [row[0] for row in security_rows()]
    assert len(attempts) > 100
    assert sorted(set(attempts)) == sorted(attempts)


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_as_they_follow_from_the_declaration(name: str) -> None:
    assert tables.fresh(read(name)) == read(name), "run scripts/docs-tables"


def test_every_table_is_in_a_document() -> None:
    """Each generated table is in a document and has a row. Without its mark, a stale table would
    stay."""
    found = [
        (name, rows.count("\n"))
        for path in tables.DOCS.glob("*.md")
        for _, name, rows in tables.MARK.findall(path.read_text("utf-8"))
    ]
    assert sorted(name for name, _ in found) == sorted(tables.TABLES)
    assert all(count > 2 for _, count in found)


@pytest.mark.parametrize("name", NAMES)
def test_settings_that_are_named_exist(name: str) -> None:
    known = {row[0] for row in tables.describe()} | set(settings.CLIENT_VARIABLES)
    assert set(re.findall(r"POSTROOM_[A-Z_0-9]+[A-Z0-9]", read(name))) <= known


def test_every_package_has_a_line() -> None:
    """ARCHITECTURE.md names every package and every module of the root, and nothing else."""
    tree = next(block.text for block in blocks("ARCHITECTURE.md") if block.text.startswith("postroom/"))
    named = set(re.findall(r"^  (\w+)(?:/|\.py) ", tree, re.M))
    folders = {path.name for path in (ROOT / "postroom").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert named == folders | {path.stem for path in (ROOT / "postroom").glob("*.py")} - {"__init__"}


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name: str) -> None:
    """Every `postroom …` in a document is a complete command with existing options."""
    for line in re.findall(r"(?:^|`|\()postroom ([a-z]+[^`)\n]*)", read(name), re.M):
        if line.rstrip(" …") == "api":  # the whole group
            continue
        command, options = typer.main.get_command(app), re.findall(r"--[a-z-]+", line)
        for word in line.split():
            commands = getattr(command, "commands", {})
            command = commands.get(word, command)
        known = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
        assert not getattr(command, "commands", {}), f"{line}: not a complete command"
        assert [option for option in options if option not in known] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_resolve(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(name)):
        if re.match(r"https?:", target):
            continue
        file, _, heading = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), target
        if heading:
            assert heading in [
                tables.anchor(text) for text in re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
            ], target


@pytest.mark.parametrize("name", NAMES)
def test_paths_lead_to_places_that_readers_have(name: str) -> None:
    paths = re.findall(r"(?<![\w.:/}<>~*\])-])/[A-Za-z][^\s'\",;)]*", read(name).replace("$POSTROOM_URL/", " /"))
    assert [path for path in paths if not path.startswith(PATHS)] == []
