"""check_host() against the test suite of RFC 7208 (tests/spf/), over our resolver and a real DNS server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from postroom.resolver import Resolver
from postroom.spf_check import check_host
from tests.dns_server import DnsServer

SUITE = Path(__file__).parent / "spf" / "rfc7208-tests.yml"
SCENARIOS = list(yaml.safe_load_all(SUITE.read_text(encoding="utf-8")))
CASES = [(scenario["zonedata"], test) for scenario in SCENARIOS for test in scenario["tests"].values()]
NAMES = [f"{scenario['description']}: {name}" for scenario in SCENARIOS for name in scenario["tests"]]

KINDS = ("A", "AAAA", "MX", "PTR", "TXT", "CNAME")


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer.start() as new:
        yield new


def load(server: DnsServer, zone: dict[str, list[Any]]) -> None:
    """The zone of a scenario. Its SPF stands for TXT, unless the name has TXT too; a TIMEOUT is a SERVFAIL here."""
    server.records.clear()
    server.failing.clear()
    for name, entries in zone.items():
        pairs = [pair for entry in entries if entry != "TIMEOUT" for pair in entry.items() if pair[1] != "NONE"]
        kinds = {kind for entry in entries if entry != "TIMEOUT" for kind in entry}
        found: dict[str, list[Any]] = {}
        for kind, value in pairs:
            if kind != "SPF" or "TXT" not in kinds:
                found.setdefault("TXT" if kind == "SPF" else kind, []).append(published(kind, value))
        for kind, values in found.items():
            server.publish(name, kind, *values)
        if "TIMEOUT" in entries:
            server.failing |= {(name.lower(), kind) for kind in KINDS if kind not in found}


def published(kind: str, value: Any) -> Any:
    if kind == "MX":
        return f"{value[0]} {value[1]}."
    if kind in ("CNAME", "PTR"):
        return f"{value}."
    return tuple(value) if isinstance(value, list) else value


def check(server: DnsServer, test: dict[str, Any]) -> str:
    sender = test["mailfrom"] or f"postmaster@{test['helo']}"
    domain = sender.rpartition("@")[2]
    return asyncio.run(check_host(Resolver(server.address), test["host"], domain, sender, test["helo"]))


@pytest.mark.parametrize(("zone", "test"), CASES, ids=NAMES)
def test_the_suite_of_the_standard(server: DnsServer, zone: dict[str, list[Any]], test: dict[str, Any]) -> None:
    load(server, zone)
    expected = test["result"] if isinstance(test["result"], list) else [test["result"]]
    assert check(server, test) in expected, test
