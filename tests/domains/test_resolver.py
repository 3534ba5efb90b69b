"""The resolver with a real DNS server."""

import asyncio
from collections.abc import Iterator

import pytest

from postroom.domains.resolver import Found, Resolver, Unanswered
from tests.harness.dns_server import DnsServer


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer.start() as new:
        yield new


def find(server: DnsServer, name: str, record_type: str) -> Found:
    return asyncio.run(Resolver(server.address).find(name, record_type))


def test_it_works(server: DnsServer) -> None:
    long = "v=DKIM1; p=" + "A" * 400
    server.publish("shop.example", "TXT", "v=spf1 -all", long, 'a "quoted" one')
    server.publish("shop.example", "MX", "10 mail.example.")
    assert set(find(server, "shop.example", "TXT").values) == {"v=spf1 -all", long, 'a "quoted" one'}
    assert find(server, "shop.example", "MX").values == ("10 mail.example.",)


def test_absence_is_an_answer(server: DnsServer) -> None:
    server.publish("there.example", "MX", "10 mail.example.")
    assert find(server, "there.example", "TXT") == Found()
    assert find(server, "nothing.at.all", "TXT") == Found()


def test_an_alias_is_reported(server: DnsServer) -> None:
    server.publish("target.example", "TXT", "hello")
    server.publish("alias.example", "CNAME", "target.example.")
    assert find(server, "alias.example", "TXT") == Found(("hello",), "target.example")


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_an_error_is_not_an_answer(server: DnsServer, code: str) -> None:
    server.rcodes["broken.example"] = code
    with pytest.raises(Unanswered):
        find(server, "broken.example", "TXT")
