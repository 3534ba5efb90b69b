"""A check of a domain from its begin to its end: what is asked, what the answers mean for it, and
when it is due again.

The DNS is asked between two transactions. The second one judges the domain as it is by then, and
what was asked for must still be what it needs. Silence of the DNS never changes a domain
(decision 0043).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Literal

import msgspec

from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.domains import check_schedule, consents, dkim, proofs
from postroom.domains import commands as domains
from postroom.domains.commands import Domain
from postroom.domains.dns_lookups import Lookups
from postroom.domains.dns_records import Record
from postroom.domains.record_checks import MOST_FOUND, RecordCheck, judge
from postroom.domains.resolver import Resolver
from postroom.errors import Busy, TooMany, not_found
from postroom.mail_host import MailHost

SECONDS = 15.0
QUESTIONS = 160
AT_ONCE = 8
# Checks on request, of a process and of an organization in it.
CHECKS = 16
CHECKS_OF_ONE = 4

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
# Checks of an active domain that fail one after the other before it is called degraded.
FAILURES = 3
# For how long an active domain has to lead elsewhere before it is lost (decision 0168), unless the
# settings say otherwise.
LOST_MS = 30 * DAY_MS

Outcome = Literal["proven", "failing", "unanswered"]


class Plan(msgspec.Struct, frozen=True):
    """What a check looks for: the domain as it was then, and its records."""

    domain: Domain
    records: list[Record]
    until: int  # the end of the lease
    host: MailHost


class Checked(msgspec.Struct, frozen=True):
    """A check that is over: the domain as it is now, and a finding for each record."""

    domain: Domain
    records: list[Record]
    findings: list[RecordCheck]


class Verification:
    """Checks domains, on request and by itself."""

    def __init__(self, database: Database, resolver: Resolver, host: MailHost, lost_ms: int = LOST_MS) -> None:
        self._lost_ms = lost_ms
        self._database = database
        self._resolver = resolver
        self._host = host
        self._running: Counter[int] = Counter()

    async def on_request(self, actor: Actor, name: str, user_id: str | None) -> Checked:
        """Checks now. Raises not_found, TooMany while the domain is being checked or just was,
        Busy."""
        with self._place(actor.organization_id):
            plan = await self._database.write(lambda tx: _begin(tx, actor, name, user_id, self._host))
            findings = await self._look(plan)
            domain = await self._database.write(lambda tx: complete(tx, actor, plan, findings, by_itself=False))
        if domain is None:
            raise not_found()
        return Checked(domain, plan.records, findings)

    async def by_itself(self, domain_id: int, until: int) -> None:
        """Checks a domain whose check was leased until then."""
        plan = await self._database.read(lambda tx: _plan(tx, proofs.of_id(tx, domain_id), self._host, until))
        if plan is None or not proofs.is_for_dns(plan.domain):
            await self._database.write(lambda tx: check_schedule.drop(tx, domain_id))
            return
        findings = await self._look(plan)
        actor = Actor(plan.domain.organization_id)

        def work(tx: Tx) -> Domain | None:
            return complete(tx, actor, plan, findings, by_itself=True, lost_ms=self._lost_ms)

        await self._database.write(work)

    async def _look(self, plan: Plan) -> list[RecordCheck]:
        return await look(self._resolver, plan.records, plan.domain.name, self._host)

    @contextmanager
    def _place(self, organization_id: int) -> Iterator[None]:
        """One of the places for checks on request: nobody takes them all."""
        if self._running[organization_id] >= CHECKS_OF_ONE:
            raise TooMany("Too many domains of this organization are being checked.", 1)
        if self._running.total() >= CHECKS:
            raise Busy("Too many domains are being checked. Try again.")
        self._running[organization_id] += 1
        try:
            yield
        finally:
            self._running[organization_id] -= 1
            self._running += Counter()  # drops those that are at none


async def look(resolver: Resolver, records: Sequence[Record], domain: str, host: MailHost) -> list[RecordCheck]:
    """Asks for all that the findings need, round by round, within bounds of time and number."""
    lookups = Lookups()
    findings = [judge(record, domain, host, lookups) for record in records]
    try:
        async with asyncio.timeout(SECONDS):
            while lookups.open and len(lookups) + len(lookups.open) <= QUESTIONS:
                await lookups.ask(resolver, AT_ONCE)
                findings = [judge(record, domain, host, lookups) for record in records]
    except TimeoutError:
        findings = [judge(record, domain, host, lookups) for record in records]
    return findings


def outcome(records: Sequence[Record], findings: Sequence[RecordCheck]) -> Outcome:
    """What the required records say together. Without an ownership record, or a DKIM key,
    nothing is proven."""
    required = [finding.status for record, finding in zip(records, findings, strict=True) if record.required]
    if {"missing", "differs"} & set(required):
        return "failing"
    if "unanswered" in required or not {"ownership", "dkim"} <= {record.purpose for record in records}:
        return "unanswered"
    return "proven"


def leads_elsewhere(records: Sequence[Record], findings: Sequence[RecordCheck], host: MailHost) -> bool | None:
    """Whether the DNS says that a domain is somebody else's: it has MX records, none of them leads
    to us, and our proof is not there. None where the DNS did not answer one of both.

    A slip of the pen, such as the domain's name behind ours, or a CNAME in the way, is not
    elsewhere.
    """
    by_purpose = {record.purpose: finding for record, finding in zip(records, findings, strict=True)}
    mx, proof = by_purpose.get("mx"), by_purpose.get("ownership")
    if mx is None or proof is None or "unanswered" in (mx.status, proof.status):
        return None
    targets = [value.split()[-1].rstrip(".").lower() for value in mx.found]
    ours = any(target == host.name or target.startswith(f"{host.name}.") for target in targets)
    is_whole = 0 < len(targets) < MOST_FOUND and not any(value.startswith("CNAME ") for value in mx.found)
    return mx.status == "differs" and proof.status in ("missing", "differs") and is_whole and not ours


def complete(
    tx: Tx, actor: Actor, plan: Plan, findings: Sequence[RecordCheck], *, by_itself: bool, lost_ms: int = LOST_MS
) -> Domain | None:
    """Writes down what a check has found, once: nothing where its lease has run out and is
    somebody else's. The domain as it is then; None where it is gone."""
    is_ours = check_schedule.acquire(tx, plan.domain.id, plan.until)
    domain = proofs.of_id(tx, plan.domain.id)
    if domain is None:
        check_schedule.drop(tx, plan.domain.id)
        return None
    if not is_ours:
        return domain
    _switch_keys(tx, domain, plan.records, findings)
    due_at, failures = check_schedule.standing(tx, domain.id)
    found = outcome(plan.records, findings)
    if not proofs.is_for_dns(domain):
        due_at, failures = None, 0
    elif domain.status == "active":
        reason = _reason(plan.records, findings)
        due_at, failures = _recheck(tx, actor, domain, found, reason, (due_at, failures), by_itself)
        if by_itself and _is_lost(tx, domain, plan, findings, lost_ms):
            due_at, failures = tx.now + check_schedule.FIRST_MS, 0
    elif found == "proven" and not consents.blocked_by_parent(tx, domain) and proofs.prove(tx, actor, plan.domain):
        due_at, failures = _tomorrow(tx), 0
    elif by_itself or due_at is None:
        due_at, failures = tx.now + min(check_schedule.FIRST_MS * 2**failures, HOUR_MS), min(failures + 1, 20)
    check_schedule.complete(tx, domain.id, due_at=due_at, failures=failures)
    return proofs.of_id(tx, domain.id)


def _begin(tx: Tx, actor: Actor, name: str, user_id: str | None, host: MailHost) -> Plan:
    domain = domains.get(tx, actor, name, user_id)
    until, wait = check_schedule.begin(tx, domain.id)
    if until is None:
        raise TooMany("This domain is being checked, or just was: wait for Retry-After.", ceil(wait / 1000))
    return Plan(domain, domains.records(tx, domain, host), until, host)


def _plan(tx: Tx, domain: Domain | None, host: MailHost, until: int) -> Plan | None:
    return Plan(domain, domains.records(tx, domain, host), until, host) if domain else None


def _switch_keys(tx: Tx, domain: Domain, records: Sequence[Record], findings: Sequence[RecordCheck]) -> None:
    """A new DKIM key signs as soon as the DNS shows it."""
    for record, finding in zip(records, findings, strict=True):
        if record.purpose == "dkim" and not record.required and finding.status == "ok":
            dkim.switch(tx, domain.id, record.host.partition(".")[0])


def _recheck(
    tx: Tx,
    actor: Actor,
    domain: Domain,
    found: Outcome,
    reason: str,
    standing: tuple[int | None, int],
    by_itself: bool,
) -> tuple[int | None, int]:
    """An active domain: when it is due again, and its failures. On request it can only get
    better, not wait longer."""
    if found == "proven":
        proofs.recover(tx, actor, domain)
        return _tomorrow(tx), 0
    due_at, failures = standing
    if not by_itself and due_at is not None:
        return due_at, failures
    if found == "failing" and by_itself:
        failures += 1
        if failures >= FAILURES:
            proofs.degrade(tx, actor, domain, reason)
    return tx.now + HOUR_MS, failures


def _is_lost(tx: Tx, domain: Domain, plan: Plan, findings: Sequence[RecordCheck], lost_ms: int) -> bool:
    """Whether an active domain has led elsewhere for so long that it is lost now."""
    is_elsewhere = leads_elsewhere(plan.records, findings, plan.host)
    proofs.watch(tx, domain, is_elsewhere)
    return is_elsewhere is True and proofs.lose(tx, domain, lost_ms)


def _reason(records: Sequence[Record], findings: Sequence[RecordCheck]) -> str:
    """Which required records are not right, as `mx differs, spf missing`."""
    pairs = zip(records, findings, strict=True)
    wrong = [(record.purpose, finding.status) for record, finding in pairs if record.required]
    return ", ".join(f"{purpose} {status}" for purpose, status in wrong if status in ("missing", "differs"))


def _tomorrow(tx: Tx) -> int:
    """In a day, more or less, so that what came together does not stay together."""
    return tx.now + DAY_MS + random.randint(-HOUR_MS, HOUR_MS)  # noqa: S311
