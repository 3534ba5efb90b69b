"""A check of a domain from start to end: the questions, what the answers mean for the domain, and
when the next check is due.

The DNS is asked between two transactions. The second transaction judges the domain as it is by
then; a proof counts only if the domain still needs the records that were asked for. A DNS that does
not answer never changes a domain (decision 0043).
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
# Maximum number of simultaneous checks on request: of a process, and of one organization in it.
CHECKS = 16
CHECKS_OF_ONE = 4

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
# Number of failed checks in a row after which an active domain is degraded.
FAILURES = 3
# Default time for which the DNS of an active domain must lead elsewhere before the domain is lost
# (decision 0168). A setting overrides it.
LOST_MS = 30 * DAY_MS

Outcome = Literal["proven", "failing", "unanswered"]


class Plan(msgspec.Struct, frozen=True):
    """What a check looks for: the domain as it was at the start, and its records."""

    domain: Domain
    records: list[Record]
    until: int  # the end of the lease, in milliseconds since 1970
    host: MailHost


class Checked(msgspec.Struct, frozen=True):
    """A completed check: the domain as it is now, and a record check for each record."""

    domain: Domain
    records: list[Record]
    checks: list[RecordCheck]


class Verification:
    """Checks domains, on request and on schedule."""

    def __init__(self, database: Database, resolver: Resolver, host: MailHost, lost_ms: int = LOST_MS) -> None:
        self._lost_ms = lost_ms
        self._database = database
        self._resolver = resolver
        self._host = host
        self._running: Counter[int] = Counter()

    async def on_request(self, actor: Actor, name: str, user_id: str | None) -> Checked:
        """Checks now. Raises not_found, TooMany while the domain is being checked or has just been
        checked, Busy."""
        with self._slot(actor.organization_id):
            plan = await self._database.write(lambda tx: _begin(tx, actor, name, user_id, self._host))
            checks = await self._look(plan)
            domain = await self._database.write(lambda tx: complete(tx, actor, plan, checks, by_itself=False))
        if domain is None:
            raise not_found()
        return Checked(domain, plan.records, checks)

    async def by_itself(self, domain_id: int, until: int) -> None:
        """Checks a domain on schedule. `until` is the end of the lease on its check (ms since
        1970)."""
        plan = await self._database.read(lambda tx: _plan(tx, proofs.of_id(tx, domain_id), self._host, until))
        if plan is None or not proofs.is_for_dns(plan.domain):
            await self._database.write(lambda tx: check_schedule.drop(tx, domain_id))
            return
        checks = await self._look(plan)
        actor = Actor(plan.domain.organization_id)

        def work(tx: Tx) -> Domain | None:
            return complete(tx, actor, plan, checks, by_itself=True, lost_ms=self._lost_ms)

        await self._database.write(work)

    async def _look(self, plan: Plan) -> list[RecordCheck]:
        return await look(self._resolver, plan.records, plan.domain.name, self._host)

    @contextmanager
    def _slot(self, organization_id: int) -> Iterator[None]:
        """Takes one of the slots for checks on request. No organization can take all of them."""
        if self._running[organization_id] >= CHECKS_OF_ONE:
            raise TooMany("Too many domains of this organization are being checked.", 1)
        if self._running.total() >= CHECKS:
            raise Busy("Too many domains are being checked. Try again.")
        self._running[organization_id] += 1
        try:
            yield
        finally:
            self._running[organization_id] -= 1
            self._running += Counter()  # drops entries that are zero


async def look(resolver: Resolver, records: Sequence[Record], domain: str, host: MailHost) -> list[RecordCheck]:
    """Asks for everything that the record checks need, round by round, with bounds on time and
    number. Returns a record check for each record."""
    lookups = Lookups()
    checks = [judge(record, domain, host, lookups) for record in records]
    try:
        async with asyncio.timeout(SECONDS):
            while lookups.open and len(lookups) + len(lookups.open) <= QUESTIONS:
                await lookups.ask(resolver, AT_ONCE)
                checks = [judge(record, domain, host, lookups) for record in records]
    except TimeoutError:
        checks = [judge(record, domain, host, lookups) for record in records]
    return checks


def outcome(records: Sequence[Record], checks: Sequence[RecordCheck]) -> Outcome:
    """Returns the combined outcome of the required records. Without an ownership record or a DKIM
    key, nothing is proven."""
    required = [check.status for record, check in zip(records, checks, strict=True) if record.required]
    if {"missing", "differs"} & set(required):
        return "failing"
    if "unanswered" in required or not {"ownership", "dkim"} <= {record.purpose for record in records}:
        return "unanswered"
    return "proven"


def leads_elsewhere(records: Sequence[Record], checks: Sequence[RecordCheck], host: MailHost) -> bool | None:
    """Whether the DNS says that a domain belongs to someone else: the domain has MX records, none
    of them leads to us, and our ownership record is not there. None if the DNS did not answer one
    of the two questions.

    A typing error, such as the domain's name appended to ours, or a CNAME in the way, does not
    count as elsewhere.
    """
    by_purpose = {record.purpose: check for record, check in zip(records, checks, strict=True)}
    mx, proof = by_purpose.get("mx"), by_purpose.get("ownership")
    if mx is None or proof is None or "unanswered" in (mx.status, proof.status):
        return None
    targets = [value.split()[-1].rstrip(".").lower() for value in mx.found]
    ours = any(target == host.name or target.startswith(f"{host.name}.") for target in targets)
    is_whole = 0 < len(targets) < MOST_FOUND and not any(value.startswith("CNAME ") for value in mx.found)
    return mx.status == "differs" and proof.status in ("missing", "differs") and is_whole and not ours


def complete(
    tx: Tx, actor: Actor, plan: Plan, checks: Sequence[RecordCheck], *, by_itself: bool, lost_ms: int = LOST_MS
) -> Domain | None:
    """Stores the result of a check, once; stores nothing if the lease of the check is lost. Returns
    the domain as it is then; None if the domain is gone."""
    is_ours = check_schedule.acquire(tx, plan.domain.id, plan.until)
    domain = proofs.of_id(tx, plan.domain.id)
    if domain is None:
        check_schedule.drop(tx, plan.domain.id)
        return None
    if not is_ours:
        return domain
    _switch_keys(tx, domain, plan.records, checks)
    due_at, failures = check_schedule.standing(tx, domain.id)
    found = outcome(plan.records, checks)
    if not proofs.is_for_dns(domain):
        due_at, failures = None, 0
    elif domain.status == "active":
        reason = _reason(plan.records, checks)
        due_at, failures = _recheck(tx, actor, domain, found, reason, (due_at, failures), by_itself)
        if by_itself and _is_lost(tx, domain, plan, checks, lost_ms):
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


def _switch_keys(tx: Tx, domain: Domain, records: Sequence[Record], checks: Sequence[RecordCheck]) -> None:
    """Makes a new DKIM key sign as soon as the DNS shows it."""
    for record, check in zip(records, checks, strict=True):
        if record.purpose == "dkim" and not record.required and check.status == "ok":
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
    """Returns when an active domain is due again and its number of failures. A check on request can
    only improve the domain and never delays the next scheduled check."""
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


def _is_lost(tx: Tx, domain: Domain, plan: Plan, checks: Sequence[RecordCheck], lost_ms: int) -> bool:
    """Records whether the DNS of an active domain leads elsewhere. Returns whether the domain is
    lost now."""
    is_elsewhere = leads_elsewhere(plan.records, checks, plan.host)
    proofs.watch(tx, domain, is_elsewhere)
    return is_elsewhere is True and proofs.lose(tx, domain, lost_ms)


def _reason(records: Sequence[Record], checks: Sequence[RecordCheck]) -> str:
    """Lists the required records that are wrong, as `mx differs, spf missing`."""
    pairs = zip(records, checks, strict=True)
    wrong = [(record.purpose, check.status) for record, check in pairs if record.required]
    return ", ".join(f"{purpose} {status}" for purpose, status in wrong if status in ("missing", "differs"))


def _tomorrow(tx: Tx) -> int:
    """In one day, give or take an hour, so that checks that came together do not stay together."""
    return tx.now + DAY_MS + random.randint(-HOUR_MS, HOUR_MS)  # noqa: S311
