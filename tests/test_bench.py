"""The benchmarks: bulk rows equal the rows that the product writes, and the page shows every missed
target."""

from pathlib import Path

import pytest

from bench import scale
from bench.fill import USERS, fill
from bench.page import Section, details, headlines, page, plot
from bench.report import Row
from postroom.accounts import aliases
from postroom.accounts.commands import CreateAccount, create
from postroom.actor import Actor
from postroom.db import Row as Found
from postroom.db import Tx, migrate, open_database
from postroom.service import bootstrap
from postroom.tenants import organizations

ACCOUNTS, DOMAINS = USERS + 30, 3
# Everything that is equal in every run: no times, no hashes.
WRITTEN = (
    """SELECT id, domain_id, user_id, address, display_name, status, is_default, generation, deleted_at, purge_at
       FROM accounts ORDER BY id""",
    """SELECT domain_id, local_part, account_id, user_id, rests_until, alias_id
       FROM addresses ORDER BY account_id, alias_id""",
    """SELECT id, organization_id, domain_id, user_id, address, kind, may_send, name, expires_at, rested_at
       FROM aliases ORDER BY id""",
    "SELECT alias_id, account_id FROM alias_members ORDER BY alias_id",
    """SELECT account_id, type, domain_id, user_id, key_id, data FROM events
       WHERE type = 'account.created' ORDER BY account_id""",
    "SELECT user_id, domain_id, status, accounts FROM account_counts ORDER BY domain_id, user_id",
    "SELECT organization_id, user_id FROM account_users ORDER BY user_id",
)


def rows(url: str) -> list[list[Found]]:
    database = open_database(url)
    try:
        return [database.write_sync(lambda tx, sql=sql: tx.all(sql)) for sql in WRITTEN]  # type: ignore[misc]
    finally:
        database.close()


def by_the_product(url: str) -> None:
    def work(tx: Tx) -> None:
        for number in range(DOMAINS):
            bootstrap.create_domain(tx, "bench", f"d{number}.test", None, "active")
        actor = Actor(organizations.ensure(tx, "bench"))
        for n in range(ACCOUNTS):
            domain, user = f"d{n % DOMAINS}.test", f"user_{n % USERS}"
            made = create(tx, actor, CreateAccount(domain, f"a{n}", user, None, "x"))
            for letter in "xy":
                alias = aliases.CreateAlias(domain, f"{letter}a{n}", user, (made.id,), may_send=True)
                aliases.create(tx, actor, alias)

    database = open_database(url)
    try:
        database.write_sync(work)
    finally:
        database.close()


def test_bulk_rows_are_those_that_the_product_writes(tmp_path: Path) -> None:
    bulk, product = f"sqlite:///{tmp_path / 'bulk.db'}", f"sqlite:///{tmp_path / 'product.db'}"
    migrate(bulk)
    migrate(product)
    fill(bulk, ACCOUNTS, DOMAINS, aliases=True)
    by_the_product(product)
    assert rows(bulk) == rows(product)


def test_the_page_begins_with_what_was_missed() -> None:
    met = Row("get by id, SQLite, 1 × 9", 20_000, "/s", 0.05, "bare answer", 30_000, at_least=0.5)
    missed = Row("create, SQLite, 1 × 9", 3_000, "/s", 0.05, "a commit each <x>", 30_000, at_least=0.15)
    other = Row("update, SQLite", 1_000, "/s", 0.05)
    sections = [Section("Calls", "Beside.", [met, missed, other])]
    assert headlines(sections) == [missed, met]
    text = page(sections, "2026-01-01", 3, quick=False)
    assert "1 of 2 targets are met." in text
    assert "| get by id, SQLite, 1 × 9 | 20,000/s ± 5 % | bare answer: 30,000 | 0.67 | met, ≥ 0.5 |" in text
    assert other.question not in text
    assert "A quick run" in page(sections, "2026-01-01", 3, quick=True)
    assert "a commit each &lt;x&gt;" in plot(sections)


def test_the_details_have_all_rows() -> None:
    missed = Row("create", 3_000, "/s", 0.05, "bare answer", 30_000, at_least=0.15)
    other = Row("update", 1_000, "/s", 0.05)
    text = details([Section("Calls", "Beside.", [missed, other])], "2026-01-01", 3, quick=False)
    assert "* create: 0.10 × bare answer, target ≥ 0.15." in text
    assert "| update | 1,000/s ± 5 % |" in text


@pytest.mark.parametrize("has_functions", [False, True])
def test_the_look_ups_are_those_of_the_daemons(has_functions: bool) -> None:
    """Each has a value for every column that the look-up asks for."""
    found = dict(scale._look_ups(has_functions=has_functions))
    assert found.keys() > scale.LOOK_UPS.keys()
    assert all("{" not in sql for sql in found.values())
