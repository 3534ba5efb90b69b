"""GET /.well-known/mta-sts.txt: the policy of RFC 8461, for the right Host only."""

import socket

import pytest

from postroom.domains import dns_records
from postroom.settings import Settings
from tests.harness.server import ApiServer, Tenant

PATH = "/.well-known/mta-sts.txt"
TESTING = "version: STSv1\r\nmode: testing\r\nmx: mail.postroom.test\r\nmax_age: 604800\r\n"


def test_it_works(tenant: Tenant) -> None:
    for host in (f"mta-sts.{tenant.domain}", f"MTA-STS.{tenant.domain.upper()}:443"):
        answer = tenant.api.request("GET", PATH, headers={"host": host})
        assert (answer.status, answer.text) == (200, TESTING)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    head = tenant.api.request("HEAD", PATH, headers={"host": f"mta-sts.{tenant.domain}"})
    assert (head.status, head.text, head.headers["content-length"]) == (200, "", str(len(TESTING)))


def test_the_mode_and_the_id_follow_the_certificate() -> None:
    self_signed = Settings().dns_host
    real = Settings(tls_cert="/etc/c.pem", tls_key="/etc/k.pem").dns_host
    assert "mode: testing\r\n" in dns_records.policy(self_signed)
    assert dns_records.policy(real) == TESTING.replace("testing", "enforce")
    other = Settings(hostname="mx.example.com").dns_host
    assert len({dns_records.policy_id(host) for host in (self_signed, real, other)}) == 3
    assert dns_records.policy_id(real) == dns_records.policy_id(
        Settings(tls_cert="/etc/d.pem", tls_key="/etc/k.pem").dns_host
    )


@pytest.mark.parametrize(
    "host",
    [
        "{domain}",
        "mta-sts.mta-sts.{domain}",
        "xmta-sts.{domain}",
        "mta-sts.",
        "mta-sts",
        "mta-sts.{domain}.",
        "mta-sts.{domain}:",
        "mta-sts.{domain}:99999999",
        "mta-sts..{domain}",
        "mta-sts.nobody-has-this.test",
        "mta-sts.{pending}",
        "mta-sts.{suspended}",
        "mta-sts.{deleted}",
        "[::1]",
        "127.0.0.1:3000",
    ],
)
def test_it_refuses(tenant: Tenant, host: str) -> None:
    names = {"domain": tenant.domain, "deleted": tenant.new_domain(user_id="u")}
    names |= {status: tenant.new_domain(status=status) for status in ("pending", "suspended")}  # type: ignore[arg-type]
    assert tenant.post("/v2/domains/delete", {"domain": names["deleted"], "user_id": "u"}).status == 200
    headers = {"host": host.format(**names), "x-forwarded-host": f"mta-sts.{tenant.domain}"}
    answer = tenant.api.request("GET", PATH, headers=headers)
    missing = tenant.api.request("GET", PATH)
    assert (answer.status, answer.code) == (404, "not_found")
    known = {"request_id": answer.headers["x-request-id"]}
    assert answer.json == missing.json | known


@pytest.mark.parametrize(
    "host",
    [
        "mta-sts.{domain}:443:443",
        "mta-sts.{domain}/x",
        "mta-sts.{domain}@evil.test",
        "x@mta-sts.{domain}",
        "mta-sts.{domain}, mta-sts.{domain}",
    ],
)
def test_an_invalid_host(tenant: Tenant, host: str) -> None:
    """RFC 9112 3.2: an invalid Host is refused before any lookup."""
    answer = tenant.api.request("GET", PATH, headers={"host": host.format(domain=tenant.domain)})
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_two_hosts(api: ApiServer, tenant: Tenant) -> None:
    def line(hosts: int) -> bytes:
        head = f"GET {PATH} HTTP/1.1\r\n" + f"Host: mta-sts.{tenant.domain}\r\n" * hosts + "\r\n"
        with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
            connection.sendall(head.encode())
            return connection.recv(4096).partition(b"\r\n")[0]

    assert b" 200 " in line(1)
    assert b" 40" in line(2)


def test_other_methods(api: ApiServer, tenant: Tenant) -> None:
    refused = api.request("POST", PATH, {}, headers={"host": f"mta-sts.{tenant.domain}"})
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")
