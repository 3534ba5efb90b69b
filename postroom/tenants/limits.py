"""Limits: how many domains and accounts an organization, or one of its users, may have.

The limits of the organization as a whole (user `''`) are the operator's alone, a key
sets those of single users. A limit below what is there takes nothing away, it refuses more.
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx
from postroom.errors import LimitReached
from postroom.tenants import organizations, usage

ORGANIZATION = ""
# Claims that wait for their proof, where `domains` is no cap: each costs a DKIM key and checks of
# its DNS.
PENDING, PENDING_OF_USER = 5000, 500

GET = """
SELECT domains, accounts, accounts_per_domain FROM limits
WHERE organization_id = :organization AND user_id = :user_id"""
SET = """
INSERT INTO limits (organization_id, user_id, domains, accounts, accounts_per_domain)
VALUES (:organization, :user_id, :domains, :accounts, :accounts_per_domain)
ON CONFLICT (organization_id, user_id) DO UPDATE
SET domains = excluded.domains, accounts = excluded.accounts, accounts_per_domain = excluded.accounts_per_domain"""
APPLY = """
SELECT user_id, domains, accounts, accounts_per_domain FROM limits
WHERE organization_id = :organization AND user_id IN ('', :user_id)"""
# An update that changes nothing: under a cap one transaction at a time counts what is there.
# Without one nobody waits (decision 0106).
LOCK = """
UPDATE limits SET domains = domains
WHERE organization_id = :organization AND user_id IN ('', :user_id)
  AND (domains IS NOT NULL OR accounts IS NOT NULL OR accounts_per_domain IS NOT NULL)
RETURNING user_id, domains, accounts, accounts_per_domain"""
COUNT_DOMAINS = """
SELECT COUNT(*) FROM domains
WHERE organization_id = :organization AND deleted_at IS NULL
  AND COALESCE(user_id, '') = COALESCE(:user_id, user_id, '')"""

COUNT_PENDING = """
SELECT COUNT(*), COUNT(CASE WHEN user_id = :user_id THEN 1 END) FROM domains
WHERE organization_id = :organization AND deleted_at IS NULL AND status = 'pending'"""


class Limits(msgspec.Struct, frozen=True):
    """The caps of a user or of an organization; None is no cap."""

    domains: int | None = None
    accounts: int | None = None
    accounts_per_domain: int | None = None


class SetLimits(msgspec.Struct, frozen=True):
    """What to change; UNSET is untouched, None lifts the cap."""

    domains: int | UnsetType | None = UNSET
    accounts: int | UnsetType | None = UNSET
    accounts_per_domain: int | UnsetType | None = UNSET


def get(tx: Tx, organization_id: int, user_id: str | None) -> Limits:
    """The limits of a user, or of the organization as a whole."""
    row = tx.one(GET, organization=organization_id, user_id=user_id or ORGANIZATION)
    return Limits(*row) if row else Limits()


def change(tx: Tx, actor: Actor, user_id: str | None, command: SetLimits) -> Limits:
    """Sets what is given. Nothing to change is nothing done."""
    old = get(tx, actor.organization_id, user_id)
    given = {name: cap for name, cap in msgspec.structs.asdict(command).items() if cap is not UNSET}
    new = msgspec.structs.replace(old, **given)
    if new != old:
        caps = msgspec.structs.asdict(new)
        tx.run(SET, organization=actor.organization_id, user_id=user_id or ORGANIZATION, **caps)
        events.record(tx, actor, "limits.changed", user_id=user_id, data=caps)
    return new


def check_account(tx: Tx, organization_id: int, user_id: str, domain_id: int) -> None:
    """Raises LimitReached where one account more would be too many; under a cap that stays true
    to the commit."""
    for who, limits in _applying(tx, LOCK, organization_id, user_id):
        if limits.accounts is not None and usage.totals(tx, Actor(organization_id), who).total >= limits.accounts:
            raise LimitReached("accounts", limits.accounts)
        if limits.accounts_per_domain is not None:
            there = usage.of_domain(tx, organization_id, who, domain_id)
            if there >= limits.accounts_per_domain:
                raise LimitReached("accounts_per_domain", limits.accounts_per_domain)


def check_domain(tx: Tx, organization_id: int, user_id: str | None, *, looks: bool = False) -> None:
    """Raises LimitReached where one domain more would be too many. `looks` holds nothing: it
    decides nothing."""
    for who, limits in _applying(tx, APPLY if looks else LOCK, organization_id, user_id or ORGANIZATION):
        if limits.domains is not None:
            row = tx.one(COUNT_DOMAINS, organization=organization_id, user_id=who)
            if row and row[0] >= limits.domains:
                raise LimitReached("domains", limits.domains)


def check_claim(tx: Tx, organization_id: int, user_id: str, *, looks: bool = False) -> None:
    """Raises LimitReached where one more claim would be too many. Where a cap of domains is set,
    it counts alone. An organization's claims are always capped, so they are made one at a time."""
    if not looks:
        organizations.lock(tx, organization_id)
    capped = {who for who, limits in _applying(tx, APPLY, organization_id, user_id) if limits.domains is not None}
    counted = tx.one(COUNT_PENDING, organization=organization_id, user_id=user_id) or (0, 0)
    for who, pending, most in zip((None, user_id), counted, (PENDING, PENDING_OF_USER), strict=True):
        if who not in capped and pending >= most:
            raise LimitReached("pending_domains", most)


def _applying(tx: Tx, sql: str, organization_id: int, user_id: str) -> list[tuple[str | None, Limits]]:
    """The limits that count here, with the user they are of. Mostly none: one look-up."""
    rows = tx.all(sql, organization=organization_id, user_id=user_id)
    return [(row[0] or None, Limits(*row[1:])) for row in rows]
