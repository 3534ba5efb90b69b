"""Domains, their database and a DNS server: what the tests of scheduled checks act on."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.domains import check_schedule, dkim, proofs
from postroom.domains import commands as domains
from postroom.domains.commands import Domain
from postroom.domains.resolver import Resolver
from postroom.domains.verification import Verification
from postroom.mail_host import MailHost
from postroom.tenants import organizations
from tests.harness.dns_server import DnsServer

HOST = MailHost("mx.host.example", 587, 465, 993)
KEY = dkim.generate()
_numbers = count(1)


def new_name() -> str:
    return f"n{next(_numbers)}.example"


@dataclass
class World:
    database: Database
    dns: DnsServer

    def run(self, sql: str, **params: Any) -> list[Any]:
        return self.database.write_sync(lambda tx: tx.all(sql, **params))

    def claim(self, organization: str, name: str) -> Domain:
        def work(tx: Any) -> Domain:
            return domains.claim(tx, Actor(organizations.ensure(tx, organization)), name, "u", KEY)

        return self.database.write_sync(work)

    def domain(self, id_: int) -> Domain:
        found = self.database.write_sync(lambda tx: proofs.of_id(tx, id_))
        assert found
        return found

    def publish(self, domain: Domain, **without: bool) -> None:
        for record in self.database.write_sync(lambda tx: domains.records(tx, domain, HOST)):
            name = domain.name if record.host == "@" else f"{record.host}.{domain.name}"
            if record.record_type in ("TXT", "MX"):
                value = f"10 {HOST.name}." if record.record_type == "MX" else record.expected_value
                self.dns.publish(name, record.record_type, *([] if record.purpose in without else [value]))

    def active(self, organization: str = "ours") -> Domain:
        """A domain that DNS has proven."""
        domain = self.claim(organization, new_name())
        self.publish(domain)
        self.check(domain)
        assert self.domain(domain.id).status == "active"
        return self.domain(domain.id)

    def lease(self, domain: Domain) -> int:
        """Ends the lease of a domain's check and takes a new lease."""

        def work(tx: Tx) -> int:
            tx.run("UPDATE domain_checks SET free_at = 0 WHERE domain_id = :id", id=domain.id)
            until, _ = check_schedule.begin(tx, domain.id)
            assert until
            return until

        return self.database.write_sync(work)

    def check(self, domain: Domain, seconds: float = 5.0) -> tuple[int | None, int]:
        """Runs a scheduled check to its end. Returns the milliseconds until the next check, and the
        failures."""
        asyncio.run(self.verification(seconds).by_itself(domain.id, self.lease(domain)))
        due_at, failures = self.database.write_sync(lambda tx: check_schedule.standing(tx, domain.id))
        ((now,),) = self.database.write_sync(lambda tx: [(tx.now,)])
        return (None if due_at is None else due_at - now), failures

    def verification(self, seconds: float = 5.0) -> Verification:
        return Verification(self.database, Resolver(self.dns.address, seconds), HOST)

    def account(self, domain: Domain) -> int:
        command = CreateAccount(domain.name, "a", "u", None, "x")
        return self.database.write_sync(lambda tx: accounts.create(tx, Actor(domain.organization_id), command).id)

    def told(self, domain: Domain) -> list[str]:
        return [row[0] for row in self.run("SELECT type FROM events WHERE domain_id = :id ORDER BY id", id=domain.id)]


def near(milliseconds: int | None, expected: int, by: int = 60_000) -> bool:
    return milliseconds is not None and abs(milliseconds - expected) <= by
