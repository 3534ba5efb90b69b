"""`postroom keys`, without a running server: creating restricted keys, listing and revoking."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from postroom import __version__
from tests.harness.service import Service

HOOK = """
INSERT INTO webhooks (organization_id, key_id, url, events, status, secret, after_event_id, created_at, updated_at)
SELECT organization_id, id, 'https://platform.example/', '["*"]', 'active', 's', 0, 1, 1 FROM api_keys
WHERE id = :key_id"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.new() as new:
        new.run("keys", "create", "--organization", "cli").check_returncode()
        made = new.run("domains", "create", "shop.test", "--organization", "cli", "--active")
        assert made.returncode == 0, made.stderr
        yield new


def listed(service: Service) -> str:
    return service.run("keys", "list", "--organization", "cli").stdout


def stored(service: Service) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(service.data / "db" / "postroom.db")) as database:
        return [*database.execute("SELECT * FROM api_keys"), *database.execute("SELECT * FROM organizations")]


def test_it_works(service: Service) -> None:
    limits = ["--user", "u 1", "--name", "Shop", "--scope", "stats:read", "--scope", "accounts:read"]
    limits += ["--domain", "SHOP.test", "--network", "192.0.2.0/24", "--network", "::1", "--expires-in-days", "30"]
    made = service.run("keys", "create", "--organization", "cli", *limits)
    assert made.returncode == 0, made.stderr
    (key,) = made.stdout.split()
    shown = json.loads(service.run("keys", "list", "--organization", "cli", "--json").stdout)[-1]
    assert shown["prefix"] == key[:10]
    assert (shown["name"], shown["user_id"]) == ("Shop", "u 1")
    assert shown["scopes"] == ["accounts:read", "stats:read"]
    assert (shown["domains"], shown["networks"]) == (["shop.test"], ["192.0.2.0/24", "::1/128"])
    assert shown["expires_at"] - shown["created_at"] == 30 * 24 * 3600 * 1000
    assert (shown["parent_id"], shown["last_used_at"], shown["revoked_at"]) == (None, None, None)
    line = listed(service).splitlines()[-1]
    for part in (key[:10], "until 2", "never used", "u 1", "shop.test", "192.0.2.0/24", "Shop"):
        assert part in line
    assert key not in listed(service)


def test_revoke(service: Service) -> None:
    key = json.loads(service.run("keys", "create", "--organization", "cli", "--json").stdout)["api_key"]
    id_ = next(line.split()[0] for line in listed(service).splitlines() if key[:10] in line)
    assert service.run("keys", "revoke", id_, "--organization", "cli").stdout.startswith(f"key {id_} revoked")
    assert any(key[:10] in line and "revoked" in line for line in listed(service).splitlines())
    again = service.run("keys", "revoke", id_, "--organization", "cli")
    assert (again.returncode, again.stdout) == (1, "")


def test_revoke_disables_webhooks(service: Service) -> None:
    ids = []
    for _ in range(2):
        key = json.loads(service.run("keys", "create", "--organization", "cli", "--json").stdout)["api_key"]
        ids.append(next(line.split()[0] for line in listed(service).splitlines() if key[:10] in line))
    with closing(sqlite3.connect(service.data / "db" / "postroom.db", isolation_level=None)) as database:
        for id_ in ids:
            database.execute(HOOK, {"key_id": id_})
        kept = service.run("keys", "revoke", ids[0], "--organization", "cli", "--keep-webhooks")
        ended = service.run("keys", "revoke", ids[1], "--organization", "cli")
        assert [said.stdout.strip().rpartition("; ")[2] for said in (kept, ended)] == [
            *("webhooks disabled: 0", "webhooks disabled: 1"),
        ]
        found = database.execute("SELECT status, disabled_reason FROM webhooks ORDER BY id").fetchall()
        assert found == [("active", None), ("disabled", "key_revoked")]


def test_only_a_key_makes_an_organization(service: Service) -> None:
    """Other commands refuse an unknown organization, list the existing ones, and say how to create
    one."""
    for command in (
        ["domains", "create", "typo.test"],
        ["domains", "list"],
        ["keys", "list"],
        ["limits", "set", "--accounts", "3"],
        ["console-link"],
    ):
        refused = service.run(*command, "--organization", "clii")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("postroom: There is no organization clii. There are: cli")
        assert "`postroom keys create --organization NAME` makes one" in refused.stderr
    made = service.run("keys", "create", "--organization", "made")
    assert made.stdout.startswith("pr_")
    assert made.stderr.startswith("The organization made is new: it was made with this key.")
    assert "200 recipients an hour and 1,000 recipients a day" in made.stderr
    assert service.run("keys", "create", "--organization", "made").stderr == ""


def test_the_send_limits_of_a_new_organization(service: Service) -> None:
    """They can be removed, and another key does not bring them back."""
    service.run("keys", "create", "--organization", "sends").check_returncode()

    def limits(*words: str) -> dict[str, int]:
        shown = service.run("limits", *words, "--organization", "sends", "--json")
        found: dict[str, int | None] = json.loads(shown.stdout)["send_limits"]
        return {name: number for name, number in found.items() if number is not None}

    assert limits("show") == {"recipients_per_hour": 200, "recipients_per_day": 1000}
    assert limits("set", "--recipients-per-hour", "-1", "--recipients-per-message", "9") == {
        "recipients_per_day": 1000,
        "recipients_per_message": 9,
    }
    service.run("keys", "create", "--organization", "sends").check_returncode()
    assert "recipients_per_hour" not in limits("show")
    text = service.run("limits", "show", "--organization", "sends").stdout
    assert "total recipients per day  no limit" in text


def test_version_and_help(service: Service) -> None:
    assert service.run("--version").stdout == f"postroom {__version__}\n"
    assert service.run("keys", "-h").returncode == 0


@pytest.mark.parametrize(
    "limits",
    [
        ["--scope", "everything"],
        ["--domain", "nobody-has-this.test"],
        ["--domain", "x"],
        ["--network", "192.0.2.1/24"],
        ["--user", ""],
        ["--expires-in-days", "0"],
    ],
    ids=" ".join,
)
def test_it_refuses(service: Service, limits: list[str]) -> None:
    before = stored(service)
    refused = service.run("keys", "create", "--organization", "cli", *limits)
    assert refused.returncode in (1, 2)
    assert refused.stdout == ""
    assert "Traceback" not in refused.stderr
    assert stored(service) == before
