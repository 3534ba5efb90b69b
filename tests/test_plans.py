"""Every statement of the nouns and every query of the mail daemons uses an index, on both engines.

The tests collect the statements from the modules, so a new statement cannot be forgotten.
"""

import functools
import importlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from postroom import events
from postroom.accounts import alias_pages
from postroom.accounts import queries as account_queries
from postroom.db import Database, Tx, migrate, open_database
from postroom.db.migrations import SCHEMA, VIEWS
from postroom.schema import look_ups
from tests.harness.daemon_queries import daemon_queries
from tests.harness.filled import filled_database
from tests.harness.postgres import PostgresServer
from tests.source import NOUNS

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
RESTORED = "of a restored backup"
# Statements that read a whole table on purpose: (module, constant) → why.
WHOLE = {
    ("domains.commands", "UNPROVABLE"): "rows left by an upgrade; read once at a start",
    ("domains.spellings", "UNSPELLED"): "rows left by an upgrade; read once at a start",
    ("cluster.digest_keys", "REPLACE"): "whether there is an app password or a webhook; asked once at a start",
    ("accounts.queries", "WEAK"): "the accounts whose password was not generated; read by `postroom doctor`",
    **dict.fromkeys([(f"accounts.{n}", "END_ALL") for n in ("setup_links", "owner_sessions", "mail_tokens")], RESTORED),
    ("accounts.mail_tokens", "END_ALL_ACCOUNTS"): RESTORED,
    **dict.fromkeys([("webhooks.deliveries", name) for name in ("END_ALL", "SKIP_ALL")], RESTORED),
    ("webhooks.received_messages", "SKIP_ALL"): RESTORED,
    ("webhooks.passing_messages", "KEEP_ALL"): RESTORED,
    ("webhooks.lanes", "RECOVER"): "one row a webhook; at a start of the worker",
    ("tenants.organizations", "NAMES"): "at most twenty names, for an operator who misspelled one",
}

# A parameter has the name of the column that it is compared with. These columns are TEXT; the
# others are numbers.
TEXTS = {
    name
    for path in SCHEMA.glob("0*.sql")
    for name in re.findall(r"^\s*(?:ALTER TABLE \w+ ADD COLUMN )?(\w+)\s+TEXT\b", path.read_text(), re.M)
}
# TEXT parameters whose name is not the name of their column.
OTHER_TEXTS = {"domain", "from_phase", "q", "q_end", "new_secret"}


def params(sql: str) -> dict[str, Any]:
    """A value for each parameter of a statement."""
    return {name: "x" if name in TEXTS | OTHER_TEXTS else 1 for name in re.findall(r":([a-z_]+)", sql)}


def nouns() -> Iterator[ModuleType]:
    """Every module that has SQL of its own."""
    yield from map(importlib.import_module, NOUNS)


@functools.cache
def statements() -> dict[str, str]:
    """Every SQL constant of the nouns, and the SQL of every combination of filters of a list."""
    found = {}
    for module in nouns():
        noun = module.__name__.removeprefix("postroom.")
        for name, value in vars(module).items():
            is_sql = isinstance(value, str) and name.isupper() and value.lstrip().startswith(VERBS)
            if is_sql and (noun, name) not in WHOLE:
                found[f"{noun}.{name}"] = value
    for filters in _subsets(account_queries.SEARCH_FILTERS):
        if any(filters >= pair for pair in ({"active", "inactive"}, {"generated", "other_scheme"})):
            continue  # an account has one status, and one scheme
        if "generated" in filters and len(filters) > 1:  # most accounts, as without the filter
            continue
        whole = "other_scheme" not in filters or len(filters) == 1
        for offset, newest in itertools.product((False, True), repeat=2) if whole else [(False, False)]:
            name = f"account_pages({', '.join(sorted(filters))}, {offset}, {newest})"
            found[name] = account_queries.page_sql(filters, offset, newest)
        for offset in (False, True) if whole else ():
            found[f"deleted({', '.join(sorted(filters))}, {offset})"] = account_queries.deleted_sql(filters, offset)
    for filters in _subsets(alias_pages.FILTERS):
        found[f"alias_pages({', '.join(sorted(filters))})"] = alias_pages.page_sql(filters)
    page = account_queries.page_sql(frozenset(), False, False, "id")
    for name, is_bound in itertools.product(("page", "account"), (False, True)):
        of = page if name == "page" else alias_pages.ONE
        found[f"alias_pages of {name}, {is_bound}"] = alias_pages.of_accounts_sql(of, is_bound)
    for filters in _subsets(events.FILTERS):
        for newest in (False, True):
            found[f"events({', '.join(sorted(filters))}, {newest})"] = events.page_sql(filters, newest)
    return found


def _subsets(names: Any) -> Iterator[frozenset[str]]:
    for size in range(len(names) + 1):
        for chosen in itertools.combinations(names, size):
            yield frozenset(chosen)


GUARDS = ("mail_banned_networks", "mail_known_networks")
# The columns that the daemons look up in each view.
VIEW_KEYS: dict[str, dict[str, Any]] = {
    "mail_domains": {"name": "x.test"},
    "mail_logins": {"local_part": "a", "domain": "x.test"},
    "mail_aliases": {"local_part": "a", "domain": "x.test"},
    "mail_operator": {"account_id": 7},
    "mail_roles": {"local_part": "a", "domain": "x.test"},
    "mail_reserved": {"local_part": "a", "domain": "x.test"},
    "mail_catch_alls": {"domain": "x.test"},
    "mail_dead_ends": {"local_part": "a", "domain": "x.test"},
    "mail_verdicts": {"local_part": "a", "domain": "x.test"},
    "mail_refusals": {"local_part": "a", "domain": "x.test"},
    "mail_senders": {"local_part": "a", "domain": "x.test"},
    "mail_recipients": {"id": 7},
    "mail_scripts": {"username": "7@acct.internal"},
    "mail_signing_keys": {"domain": "x.test"},
    "mail_sessions": {"id": 7, "domain": "1.acct.internal"},
    "mail_homes": {"id": 7},
    "mail_spellings": {"spelling": "x"},
    "mail_banned_networks": {"network": "x"},
    "mail_known_networks": {"account_id": 7, "network": "x"},
    "mail_app_passwords": {"account_id": 7, "app_digest": "x"},
    "mail_passwords": {"local_part": "a", "domain": "x.test"},
}
VIEW_QUERIES = {
    view: f"SELECT * FROM {view} WHERE " + " AND ".join(f"{column} = :{column}" for column in keys)
    for view, keys in VIEW_KEYS.items()
}


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> str:
    return filled_database(postgres)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database to plan in. The database of SQLite is empty, because SQLite plans by the schema
    alone."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path_factory.mktemp('plans') / 'postroom.db'}"
        migrate(found)
        return found
    return str(request.getfixturevalue("filled"))


def scans(url: str, sql: str, params: dict[str, Any]) -> list[str]:
    """The steps of the plan that read a whole table or a whole index."""
    if url.startswith("sqlite"):
        return [step for step in sqlite_plan(url, sql, params) if _is_scan(step, sql)]
    return _opened(url).write_sync(lambda tx: _postgres_scans(tx, sql, params))


def sqlite_plan(url: str, sql: str, params: dict[str, Any]) -> list[str]:
    """The steps of SQLite's plan."""
    asked = f"EXPLAIN QUERY PLAN {sql}"
    return [row[3] for row in _opened(url).write_sync(lambda tx: tx.all(asked, **params))]


def _opened(url: str) -> Database:
    """The database, which stays open for the other tests."""
    if url not in _open:
        _open[url] = open_database(url)
    return _open[url]


_open: dict[str, Database] = {}


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _open:
        _open.popitem()[1].close()


def _is_scan(step: str, sql: str) -> bool:
    """Whether a step of a SQLite plan reads a whole table or index (`SCAN accounts USING INDEX …`).
    Scans of constant rows, of views and of subqueries do not count."""
    match = re.match(r"SCAN ([\w.]+)", step)
    if match is None or "CONSTANT ROW" in step or match[1] in ("role", "waiting", "page", "found", *VIEW_KEYS):
        return False
    # SQLite looks for foreign keys to a new row only if the transaction already violates a foreign
    # key.
    return not (sql.lstrip().startswith("INSERT") and match[1] not in sql)


def _postgres_scans(tx: Tx, sql: str, params: dict[str, Any]) -> list[str]:
    tx.run("SET LOCAL enable_seqscan = off")
    ((plan,),) = tx.all(f"EXPLAIN (FORMAT JSON) {sql}", **params)
    return _reading_all(_nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def _reading_all(plan: Iterable[Any]) -> list[str]:
    return [
        f"{node['Node Type']} on {node['Relation Name']}"
        for node in plan
        if "Relation Name" in node and node["Node Type"] != "ModifyTable" and not _by_index(node)
    ]


def _by_index(node: Any) -> bool:
    if node["Node Type"] == "Bitmap Heap Scan":
        return all("Index Cond" in child for child in _nodes(node) if child["Node Type"] == "Bitmap Index Scan")
    return "Index Cond" in node


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.parametrize("name", statements())
def test_every_statement_uses_an_index(url: str, name: str) -> None:
    sql = statements()[name]
    assert scans(url, sql, params(sql)) == []


def expected_index(name: str) -> str:
    """The index that reads the fewest rows for the filters of a page."""
    filters = set(re.findall(r"\w+", name.partition("(")[2]))
    if name.startswith("events"):
        by = {"account_id": "account", "user_id": "user", "domain_id": "domain", "key_id": "key", "type": "type"}
        chosen = next((index for name, index in by.items() if name in filters), "organization")
        return f"events_{chosen} ("
    if name.startswith("deleted"):
        return "accounts_deleted (organization_id=? AND id>?)"
    if "q" in filters and "inactive" in filters:
        return "accounts_inactive_address (organization_id=? AND status=? AND address>? AND address<?)"
    if "q" in filters:
        return "accounts_address (organization_id=? AND address>? AND address<?)"
    if "bound" in filters:
        filters.add("domain_id")
    if "other_scheme" in filters:
        chosen = next((f for f in ("domain", "user") if f"{f}_id" in filters), "organization")
        return f"accounts_scheme_{chosen} ("
    chosen = "_".join(f for f in ("domain", "user") if f"{f}_id" in filters) or "organization"
    return f"accounts_{'inactive_' * ('inactive' in filters)}{chosen} ("


# The index that finds the aliases of a page, by the filter that narrows most.
ALIAS_INDEXES = {
    "account_id": "aliases USING INTEGER PRIMARY KEY (rowid=?)",
    "q": "INDEX aliases_address (organization_id=? AND address>? AND address<?)",
    "domain_id": "INDEX aliases_domain (domain_id=? AND id>?)",
    "user_id": "INDEX aliases_user (organization_id=? AND user_id=? AND id>?)",
    "": "INDEX aliases_organization (organization_id=? AND id>?)",
}


@pytest.mark.parametrize("filters", list(_subsets(alias_pages.FILTERS)), ids=lambda filters: ",".join(sorted(filters)))
def test_sqlite_takes_the_best_index_of_a_page_of_aliases(tmp_path: Path, filters: frozenset[str]) -> None:
    found = f"sqlite:///{tmp_path / 'postroom.db'}"
    migrate(found)
    sql = alias_pages.page_sql(filters)
    plan = sqlite_plan(found, sql, params(sql))
    best = next((name for name in ("account_id", "q", "domain_id", "user_id") if name in filters), "")
    steps = [step for step in plan if step.startswith("SEARCH aliases ")]
    assert steps, plan
    assert steps[0].endswith(ALIAS_INDEXES[best]), plan
    if best != "q":  # only a search sorts before the page is cut
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan[: plan.index("SCAN page") if "SCAN page" in plan else None], (
            plan
        )


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", [name for name in statements() if "(" in name and "alias_pages" not in name])
def test_sqlite_takes_the_best_index_of_a_page(url: str, name: str) -> None:
    """SQLite plans by the schema alone, so the plan is the same for any data. Only a search, and a
    key that is bound to several domains, may need a sort."""
    sql = statements()[name]
    plan = sqlite_plan(url, sql, params(sql))
    # The outer SELECT around the one that selects the page.
    if "OFFSET" in sql and not name.startswith("deleted"):
        assert plan.pop(0) == "SEARCH accounts USING INTEGER PRIMARY KEY (rowid=?)"
        assert plan.pop(0).startswith("LIST SUBQUERY")
    assert f"INDEX {expected_index(name)}" in plan[0]
    sorts = "_address (" in plan[0] or (name.startswith("account") and "bound" in name and "domain_id" not in name)
    bound = ["LIST SUBQUERY", "SEARCH api_key_domains USING COVERING INDEX"] if "bound" in name else []
    assert [step for step in plan[1:] if not step.startswith(tuple(bound))] == ["USE TEMP B-TREE FOR ORDER BY"] * sorts


@pytest.mark.parametrize("name", daemon_queries("sqlite"))
def test_every_look_up_of_a_daemon_uses_an_index(url: str, name: str) -> None:
    assert scans(url, daemon_queries(url.partition(":")[0])[name], {}) == []


@pytest.mark.parametrize("view", VIEW_QUERIES)
def test_every_view_uses_an_index(url: str, view: str) -> None:
    assert scans(url, VIEW_QUERIES[view], VIEW_KEYS[view]) == []


# A dict of Dovecot and opendkim can only name a table.
PLANNED_ANEW = {"dovecot data_id", "dovecot script", "opendkim mail_signing_keys"}


@pytest.mark.parametrize("name", [name for name in daemon_queries("postgresql") if name not in PLANNED_ANEW])
def test_a_look_up_asks_functions_so_that_postgresql_does_not_plan_it_anew(filled: str, name: str) -> None:
    """Planning a look-up in a view takes longer than the look-up (decision 0227)."""
    with psycopg.connect(filled) as connection:
        asked = daemon_queries("postgresql")[name]
        ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) {asked}".encode()).fetchall()
    assert "_by(" in asked
    assert not [node for node in _nodes(plan[0]["Plan"]) if "Relation Name" in node]


@pytest.mark.parametrize("view", look_ups.KEYS)
def test_a_function_has_one_plan_for_all_values_with_an_index(filled: str, view: str) -> None:
    with psycopg.connect(filled) as connection:
        function = look_ups.name(view)
        sql = "SELECT provolatile, proconfig, prosecdef FROM pg_proc WHERE proname = %s"
        assert connection.execute(sql, [function]).fetchall() == [("s", ["plan_cache_mode=force_generic_plan"], False)]
        connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        keys = look_ups.KEYS[view]
        connection.execute(f"PREPARE asked ({', '.join(keys.values())}) AS {look_ups.query(view)}".encode())
        values = ", ".join("7" if kind == look_ups.NUMBER else "'x'" for kind in keys.values())
        ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({values})".encode()).fetchall()
        nodes = list(_nodes(plan[0]["Plan"]))
    assert "$1" in json.dumps(plan), "the plan is for one value"
    assert _reading_all(nodes) == []


def test_nothing_is_forgotten() -> None:
    names = statements()
    modules = {f"postroom.{name.rpartition('.')[0]}" for name in names if "(" not in name}
    assert NOUNS.keys() - modules == {"postroom.accounts.queries"}  # it has pages only, no constants
    assert len([name for name in names if name.startswith("alias_pages(")]) == 2**6
    assert len([name for name in names if name.startswith("accounts.commands.")]) >= 10
    assert len([name for name in names if name.startswith("account_pages(")]) == 4 * 2**4 * 3 + 4 + 4 + 47
    assert len([name for name in names if name.startswith("deleted(")]) == 2 * 2**4 * 3 + 2 + 2
    assert len([name for name in names if name.startswith("events(")]) == 2 * 2**6
    assert VIEW_KEYS.keys() == set(re.findall(r"CREATE VIEW (\w+)", (SCHEMA / VIEWS).read_text(encoding="utf-8")))
    for engine in ("sqlite", "postgresql"):
        asked = " ".join(daemon_queries(engine).values())
        # PostgreSQL's function reads the views of the login.
        of_login = {"mail_logins", "mail_app_passwords", *GUARDS}
        other = {"mail_homes", "mail_passwords"} if engine == "sqlite" else of_login
        inside = {"mail_operator"}  # only other views ask it
        views = set(re.findall(r"(?:FROM|JOIN|,) (mail_\w+?)(?:_by\(| |$)", asked, re.M))
        assert views == VIEW_KEYS.keys() - other - inside


def test_a_scan_is_noticed(url: str) -> None:
    for sql in (
        "SELECT id FROM accounts WHERE display_name = :x",
        "SELECT id FROM accounts WHERE +organization_id = 1",
        "UPDATE accounts SET display_name = :x WHERE user_id = :x",
        "SELECT * FROM mail_logins WHERE address = :x",
    ):
        assert scans(url, sql, {"x": "x"} if ":x" in sql else {}), sql
