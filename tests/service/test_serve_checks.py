"""`postroom serve` and the DNS: the worker activates a claim by itself, and continues after it was
killed."""

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for

NAME = "shop.example"
FAILURES = "SELECT failures FROM domain_checks"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


@pytest.fixture
def service(dns: DnsServer) -> Iterator[Service]:
    with Service.new(mail="off", resolver=dns.address, hostname="mx.host.example") as new:
        yield new.start()


def run(service: Service, sql: str) -> list[Any]:
    with closing(sqlite3.connect(service.data / "db" / "postroom.db", timeout=30)) as database, database:
        return database.execute(sql).fetchall()


def make_due(service: Service) -> None:
    """Makes the next check due."""
    run(service, "UPDATE domain_checks SET due_at = 0, free_at = 0")


def status(service: Service) -> str:
    listed = json.loads(service.run("domains", "list", "--organization", "demo", "--json").stdout)
    found: str = next(domain["status"] for domain in listed if domain["domain"] == NAME)
    return found


def publish(service: Service, dns: DnsServer) -> None:
    """Publishes exactly the domain's records."""
    command = ("domains", "dns", NAME, "--organization", "demo", "--user", "u", "--format", "json")
    for record in json.loads(service.run(*command).stdout)["dns"]:
        host = NAME if record["host"] == "@" else f"{record['host']}.{NAME}"
        value = (
            f"{record['priority']} {record['expected_value']}." if "priority" in record else record["expected_value"]
        )
        dns.publish(host, record["record_type"], f"{value}." if record["record_type"] == "CNAME" else value)


def test_it_works(service: Service, dns: DnsServer) -> None:
    assert service.run("domains", "create", NAME, "--organization", "demo", "--user", "u").returncode == 0
    assert status(service) == "pending"
    publish(service, dns)
    make_due(service)
    wait_for("the active domain", lambda: status(service) == "active")
    dns.withdraw(NAME, "MX")
    for failures in (1, 2, 3):
        make_due(service)
        wait_for("the next check", lambda n=failures: run(service, FAILURES) == [(n,)])  # type: ignore[misc]
    assert run(service, "SELECT status, degraded_reason FROM domains WHERE name = 'shop.example'") == [
        ("active", "mx missing")
    ]


EXPIRED_CLAIM = """
INSERT INTO domains (organization_id, user_id, name, status, expires_at, created_at, updated_at)
SELECT organization_id, 'u', 'late.example', 'pending', 1, 1, 1 FROM api_keys"""
OLD_ANSWER = """
INSERT INTO idempotent_answers (organization_id, key_id, name, request, answer, expires_at)
SELECT organization_id, id, 'n', 'r', 'a', 1 FROM api_keys"""


def test_the_worker_ends_what_is_over(service: Service) -> None:
    """Claims and stored answers that have expired. Other tests show the details."""
    for sql in (EXPIRED_CLAIM, OLD_ANSWER):
        run(service, sql)
    wait_for("the claim to end", lambda: run(service, "SELECT deleted_at FROM domains WHERE expires_at = 1") == [])
    wait_for("the removal of the answer", lambda: run(service, "SELECT id FROM idempotent_answers") == [])


def test_a_worker_that_is_killed_loses_no_check(service: Service, dns: DnsServer) -> None:
    assert service.run("domains", "create", NAME, "--organization", "demo", "--user", "u").returncode == 0
    publish(service, dns)
    dns.silent.add(NAME)
    make_due(service)
    wait_for("the start of the check", lambda: (NAME, "MX", "udp") in dns.asked)
    killed = service.pid("worker")
    os.kill(killed, signal.SIGKILL)
    wait_for("another worker", lambda: service.pid("worker") not in (0, killed))
    ((due_at, free_at),) = run(service, "SELECT due_at, free_at FROM domain_checks")
    assert due_at == 0
    assert free_at > 0, "the dead worker's lease"
    dns.silent.clear()
    run(service, "UPDATE domain_checks SET free_at = 0")
    wait_for("the active domain", lambda: status(service) == "active")
