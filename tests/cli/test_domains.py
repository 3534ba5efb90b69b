"""`postroom domains`, without a running server: the DNS records in three formats, and deleting a
domain."""

import json
from collections.abc import Iterator

import dns.zone
import pytest

from tests.harness.service import Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service.new(hostname="mx.example.net") as new:
        new.run("keys", "create", "--organization", "cli").check_returncode()
        made = new.run("domains", "create", "shop.test", "--organization", "cli", "--user", "u")
        assert made.returncode == 0, made.stderr
        yield new


def shown(service: Service, form: str) -> str:
    done = service.run("domains", "dns", "shop.test", "--organization", "cli", "--user", "u", "--format", form)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_works(service: Service) -> None:
    found = json.loads(shown(service, "json"))
    assert list(found) == ["domain", "dns", "route", "mx"]
    assert found["domain"] == {"domain": "shop.test", "status": "pending"}
    assert found["mx"] == {"host": "mx.example.net", "priority": 10}
    values = [record["expected_value"] for record in found["dns"]]
    assert f"1 {service.ports['imaps_port']} mx.example.net" in values
    table = shown(service, "table")
    assert [value for value in values if value not in table] == []
    assert table == service.run("domains", "dns", "shop.test", "--organization", "cli").stdout
    head = "@ 60 IN SOA ns. h. 1 1 1 1 1\n@ 60 IN NS ns.\n"
    zone = dns.zone.from_text(head + shown(service, "zone"), origin="shop.test.")
    assert len(list(zone.iterate_rdatas())) == len(values) + 2


def test_delete(service: Service) -> None:
    made = service.run("domains", "create", "gone.test", "--organization", "cli", "--user", "u", "--active")
    assert made.returncode == 0, made.stderr
    command = ("gone.test", "--organization", "cli", "--user", "u")
    assert service.run("domains", "suspend", *command).stdout == "gone.test suspended\n"
    assert service.run("domains", "activate", *command).stdout == "gone.test active\n"
    ended = service.run("domains", "delete", "gone.test", "--organization", "cli", "--user", "u")
    assert (ended.returncode, ended.stdout) == (0, "gone.test deleted\n")
    assert "gone.test" not in service.run("domains", "list", "--organization", "cli").stdout
    again = service.run("domains", "delete", "gone.test", "--organization", "cli")
    assert (again.returncode, again.stdout) == (1, "")


@pytest.mark.parametrize("command", ["dns", "delete"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["nobody-has-this.test", "--organization", "cli"],
        ["shop.test", "--organization", "nobody"],
        ["shop.test", "--organization", "cli", "--user", "other"],
        ["x", "--organization", "cli"],
    ],
    ids=" ".join,
)
def test_it_refuses(service: Service, command: str, arguments: list[str]) -> None:
    refused = service.run("domains", command, *arguments)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
