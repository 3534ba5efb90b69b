"""check_host() with the test suite of RFC 7208 (tests/spf/), our resolver and a real DNS server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from postroom.domains.resolver import Resolver
from postroom.domains.spf_check import check_host
from tests.harness.dns_server import DnsServer

SUITE = Path(__file__).parents[1] / "spf" / "rfc7208-tests.yml"
SCENARIOS = list(yaml.safe_load_all(SUITE.read_text(encoding="utf-8")))
CASES = [(scenario["zonedata"], test) for scenario in SCENARIOS for test in scenario["tests"].values()]
NAMES = [f"{scenario['description']}: {name}" for scenario in SCENARIOS for name in scenario["tests"]]

KINDS = ("A", "AAAA", "MX", "PTR", "TXT", "CNAME")


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer.start() as new:
        yield new


def load(server: DnsServer, zone: dict[str, list[Any]]) -> None:
    """Publishes the zone of a scenario. Its SPF records become TXT records, unless the name has TXT
    records too. A TIMEOUT becomes a SERVFAIL."""
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


ZONE = {"shop.example": [{"TXT": "v=spf1 ip4:192.0.2.1 include:slow.example -all"}]}


def one(server: DnsServer, client: str, domain: str = "shop.example", seconds: float = 5.0) -> str:
    return asyncio.run(check_host(Resolver(server.address, 30), client, domain, f"me@{domain}", seconds=seconds))


def test_it_works(server: DnsServer) -> None:
    load(server, ZONE)
    assert one(server, "192.0.2.1") == "pass"
    assert one(server, "::ffff:192.0.2.1") == "pass"
    assert one(server, "192.0.2.2") == "permerror"
    assert one(server, "192.0.2.1", "SHOP.example.") == "pass"
    for malformed in (
        "nothing.example",
        "localhost",
        "a..example",
        ".example",
        "",
        "sh\u00f6p.example",
        "x" * 64 + ".example",
    ):
        assert one(server, "192.0.2.1", malformed) == "none"


@pytest.mark.parametrize("client", ["", "192.0.2", "mail.example", "192.0.2.0/24"])
def test_a_client_is_an_address(server: DnsServer, client: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        one(server, client)


def test_the_time_is_bounded(server: DnsServer) -> None:
    """A PTR without an answer matches nothing. The next term would match, but the time is over
    before."""
    load(server, {"shop.example": [{"TXT": "v=spf1 ptr ip4:192.0.2.3 -all"}]})
    server.silent.add("3.2.0.192.in-addr.arpa")
    check = check_host(Resolver(server.address, 1), "192.0.2.3", "shop.example", "me@shop.example", seconds=0.3)
    assert asyncio.run(check) == "temperror"
    patient = check_host(Resolver(server.address, 2.0), "192.0.2.3", "shop.example", "me@shop.example")
    assert asyncio.run(patient) == "pass"


def test_the_number_of_questions_is_bounded(server: DnsServer) -> None:
    """Records that lead to more and more names, ten from each name."""
    zone: dict[str, list[Any]] = {}
    for n in range(40):
        terms = " ".join(f"mx:{n}-{m}.example" for m in range(5)) + " ptr exists:%{p}.example"
        zone[f"{n}.example"] = [{"TXT": f"v=spf1 {terms} include:{n + 1}.example -all"}]
        for m in range(5):
            zone[f"{n}-{m}.example"] = [{"MX": [k, f"{n}-{m}-{k}.example"]} for k in range(10)]
            zone |= {f"{n}-{m}-{k}.example": [{"A": "192.0.2.1"}] for k in range(10)}
    zone["9.2.0.192.in-addr.arpa"] = [{"PTR": f"{n}.example"} for n in range(80)]
    load(server, zone)
    server.asked.clear()
    assert one(server, "192.0.2.9", "0.example") == "permerror"
    assert len(server.asked) <= 10 + 10 * 11 + 10


def test_names_from_macros_are_names(server: DnsServer) -> None:
    """Dots, spaces and backslashes of a sender are part of the name. They neither end the name nor
    escape anything."""
    load(server, {"shop.example": [{"TXT": "v=spf1 exists:%{l}.x.example -all"}]})
    for local_part, asked in [
        ("a.b", "a.b.x.example"),
        ("a\\.b", "a\\.b.x.example"),
        ("a\\032b", "a\\032b.x.example"),
        ('"a b"@', '"a\\032b"@.x.example'),
        ("$(x);", "$(x);.x.example"),
        ("", "postmaster.x.example"),
    ]:
        server.asked.clear()
        sender = f"{local_part}@shop.example"
        asyncio.run(check_host(Resolver(server.address), "192.0.2.1", "shop.example", sender))
        assert [name for name, kind, _ in server.asked if kind == "A"] == [asked]


@pytest.mark.parametrize("name", ["a..example", "..", "x" * 64])
def test_a_name_from_macros_that_is_none(server: DnsServer, name: str) -> None:
    """An invalid name matches nothing, and the DNS is not asked for it."""
    load(server, {"shop.example": [{"TXT": f"v=spf1 a:{name}.example mx:{name}.example exists:{name}.example -all"}]})
    assert one(server, "192.0.2.1") == "fail"
