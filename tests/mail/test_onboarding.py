"""The whole way of a platform: a claim, its DNS records, an active domain, and an account whose
mail is signed. A second organization finds no trace of this."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.harness.dns_server import DnsServer
from tests.harness.service import Service
from tests.mail.conftest import NewDatabase
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_dkim import verifies

NAME, USER = "shop.example", "customer 7"


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


@pytest.fixture(scope="module")
def service(dns: DnsServer, database: NewDatabase) -> Iterator[Service]:
    with Service.new(resolver=dns.address, hostname="mx.host.example", **database()) as new:
        yield new.start()
        assert new.stop() == 0


def seen(platform: Platform, path: str) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection("127.0.0.1", platform.service.ports["port"], timeout=60)) as connection:
        connection.request("GET", path, headers={"x-api-key": platform.key})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_it_works(service: Service, platform: Platform, dns: DnsServer) -> None:
    claim = platform.call("POST", "/v2/domain", {"domain": NAME, "user_id": USER})["domain"]
    assert claim["domain"] == {"domain": NAME, "status": "pending"}
    body = {"domain": NAME, "local_part": "hello", "user_id": USER}
    assert platform.try_call("POST", "/v2/email-accounts/create", body)[0] == 409
    dns.publish_all(NAME, claim["dns"])
    checked = platform.call("POST", f"/v2/domains/{NAME}/verify", {"user_id": USER})
    assert checked["domain"]["status"] == "active"
    assert {record["status"] for record in checked["dns"]} == {"ok"}

    made = platform.call("POST", "/v2/email-accounts/create", body)
    box = Mailbox(platform, made["account"]["id"], made["account"]["address"], made["password"])
    box.send(box.address, "signed")
    assert verifies(dns, box.wait_for("signed"))

    stranger = Platform.new(service)
    foreign, missing = (seen(stranger, f"/v2/domains/{name}/info?user_id=x") for name in (NAME, "no.example"))
    for _, problem in (foreign, missing):
        del problem["request_id"]
    assert foreign == missing
    assert foreign[0] == 404
    for path in ("/v2/domains?user_id=x", "/v2/email-accounts", "/v2/events", "/v2/stats", "/v2/keys"):
        status, found = seen(stranger, path)
        assert status == 200
        assert "shop" not in json.dumps(found), path
        assert USER not in json.dumps(found), path
    assert (
        stranger.call("POST", "/v2/domain", {"domain": NAME, "user_id": "x"})["domain"]["domain"]["status"] == "pending"
    )
