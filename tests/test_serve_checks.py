"""`postroom serve` and the DNS: the worker makes a claim active by itself, and goes on where it was killed."""

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.dns_server import DnsServer
from tests.service import Service, wait_for

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
    """Lets the time pass until the next check."""
    run(service, "UPDATE domain_checks SET due_at = 0, free_at = 0")


def status(service: Service) -> str:
    listed = json.loads(service.run("domains", "list", "--organization", "demo", "--json").stdout)
    found: str = next(domain["status"] for domain in listed if domain["domain"] == NAME)
    return found


def publish(service: Service, dns: DnsServer) -> None:
    ((token,),) = run(service, f"SELECT token FROM domains WHERE name = '{NAME}'")
    dns.publish(NAME, "MX", "10 mx.host.example.")
    dns.publish(NAME, "TXT", "v=spf1 a:mx.host.example ~all")
    dns.publish(f"_postroom-challenge.{NAME}", "TXT", token)


def test_it_works(service: Service, dns: DnsServer) -> None:
    assert service.run("domains", "create", NAME, "--organization", "demo", "--user", "u").returncode == 0
    publish(service, dns)
    assert status(service) == "pending"
    make_due(service)
    wait_for("the claim is active", lambda: status(service) == "active")
    dns.withdraw(NAME, "MX")
    for failures in (1, 2, 3):
        make_due(service)
        wait_for("the next check", lambda n=failures: run(service, FAILURES) == [(n,)])  # type: ignore[misc]
    assert run(service, "SELECT status, degraded_reason FROM domains WHERE name = 'shop.example'") == [
        ("active", "mx missing")
    ]


def test_a_worker_that_is_killed_loses_no_check(service: Service, dns: DnsServer) -> None:
    assert service.run("domains", "create", NAME, "--organization", "demo", "--user", "u").returncode == 0
    publish(service, dns)
    dns.silent.add(NAME)
    make_due(service)
    wait_for("the check is under way", lambda: (NAME, "MX", "udp") in dns.asked)
    killed = service.pid("worker")
    os.kill(killed, signal.SIGKILL)
    wait_for("another worker", lambda: service.pid("worker") not in (0, killed))
    ((due_at, free_at),) = run(service, "SELECT due_at, free_at FROM domain_checks")
    assert due_at == 0
    assert free_at > 0, "leased by the one who died"
    dns.silent.clear()
    run(service, "UPDATE domain_checks SET free_at = 0")
    wait_for("the claim is active", lambda: status(service) == "active")
