"""The tables of `postroom api` on a terminal of 80 columns: readable, without values folded over
several lines."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.program import environment, run
from tests.harness.server import Tenant
from tests.harness.service import COMMAND
from tests.harness.terminal import said_at_terminal

WIDTH = 80


def at_terminal(tenant: Tenant, home: Path, *arguments: str, columns: int = WIDTH) -> list[str]:
    """The lines that a command prints on a terminal, without colors."""
    surroundings = environment(tenant, home) | {"COLUMNS": str(columns), "TERM": "xterm"}
    said = said_at_terminal([COMMAND, "api", *arguments], surroundings)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()]


@pytest.fixture
def full(tenant: Tenant) -> Tenant:
    """A tenant with long values in every field."""
    user = "a-customer-with-a-long-name-of-its-own-0123456789"
    domain = tenant.new_domain(f"{'long' * 8}.{'label' * 6}.{tenant.domain}", user)
    for number in range(3):
        made = tenant.create(f"somebody.with.a.long.name{number}", domain=domain, user_id=user)
        tenant.put(f"/v2/email-accounts/{made.json['account']['id']}", {"display_name": "Ünïcödé " * 9})
    key = {"name": "Provisioning " * 5, "networks": ["2001:db8::/32", "192.0.2.0/24"], "domains": [domain]}
    assert tenant.post("/v2/keys", key).status == 201
    return tenant


LISTS: list[tuple[list[str], Sequence[str]]] = [
    (["accounts", "list"], ("id", "address", "user id")),
    (["domains", "list", "--every-user"], ("id", "domain", "status")),
    (["keys", "list"], ("id", "prefix", "name")),
    (["events"], ("id", "created at", "type", "user id")),
]


@pytest.mark.parametrize(("command", "titles"), LISTS, ids=lambda value: " ".join(value))
def test_a_list_has_a_line_a_row(full: Tenant, tmp_path: Path, command: list[str], titles: Sequence[str]) -> None:
    lines = at_terminal(full, tmp_path, *command)
    assert max(map(len, lines)) <= WIDTH
    assert [title for title in titles if title not in lines[0]] == []
    ids = [line.split()[0] for line in lines[2:]]
    assert all(id_.isdigit() for id_ in ids), lines
    assert len(ids) == len(set(ids)) >= 2
    assert "…" in "\n".join(lines)


def test_a_setup_link_is_not_folded(tenant: Tenant, tmp_path: Path) -> None:
    """A folded link would be copied with a line break in it."""
    id_ = str(tenant.account()["id"])
    *_, line = at_terminal(tenant, tmp_path, "accounts", "create-setup-link", id_, columns=60)
    assert re.fullmatch(r"http://[^/]+/setup#[\w-]{43}", line)


def test_wide_cuts_nothing(full: Tenant, tmp_path: Path) -> None:
    (account, *_) = full.get("/v2/email-accounts", fields="*").json["items"]
    printed = "\n".join(at_terminal(full, tmp_path, "accounts", "list", "--wide"))
    for name in ("address", "user_id", "display_name", "created_at"):
        assert account[name].strip() in printed
    assert "…" not in printed
    assert account["address"] in run(full, tmp_path, "accounts", "list").stdout, "a pipe must get whole values"


def test_a_domains_records_are_whole_and_can_be_copied(full: Tenant, tmp_path: Path) -> None:
    name = f"records.{full.domain}"
    made = full.post("/v2/domain", {"domain": name, "user_id": "u1"}).json["domain"]["dns"]
    lines = at_terminal(full, tmp_path, "domains", "get", name, "--user", "u1")
    values = [record["expected_value"] for record in made]
    assert [value for value in values if value not in "\n".join(lines)] == []
    assert [line for line in lines if len(line) > WIDTH and line not in values] == []
    assert any(line.startswith("host ") and "_domainkey" in line for line in lines)


def test_what_fits_is_a_table(tenant: Tenant, tmp_path: Path) -> None:
    tenant.account("fits")
    lines = at_terminal(tenant, tmp_path, "accounts", "list", columns=200)
    assert lines[0].split()[:2] == ["id", "address"]
    assert "created at" in lines[0]
