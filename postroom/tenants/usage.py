"""Counters of live accounts by domain and status. The transaction that changes an account updates
them, so that `GET /v2/stats` never counts rows.

The row of user `''` is the sum over all users of the domain (decision 0009). The rows also have the
sum of the quotas (decision 0240).
"""

import msgspec

from postroom.actor import Actor
from postroom.db import Tx

EVERY_USER = ""
STATUSES = ("active", "suspended", "disabled")

ADD = """
INSERT INTO account_counts (organization_id, user_id, domain_id, status, accounts, quota_bytes)
VALUES (:organization, '', :domain_id, :status, :by, :quota_bytes),
  (:organization, :user_id, :domain_id, :status, :by, :quota_bytes)
ON CONFLICT (organization_id, user_id, domain_id, status)
DO UPDATE SET accounts = account_counts.accounts + excluded.accounts,
  quota_bytes = account_counts.quota_bytes + excluded.quota_bytes"""
TOTALS = """
SELECT status, SUM(accounts) FROM account_counts
WHERE organization_id = :organization AND user_id = :user_id
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
GROUP BY status"""
PROMISED = """
SELECT COALESCE(SUM(quota_bytes), 0) FROM account_counts WHERE organization_id = :organization AND user_id = :user_id"""
# One organization at a time (CROSS JOIN keeps SQLite to this order), so that the primary key finds
# the sums over all users.
EVERYTHING = """
SELECT counted.status, SUM(counted.accounts) FROM organizations CROSS JOIN account_counts AS counted
WHERE organizations.id > 0 AND counted.organization_id = organizations.id AND counted.user_id = ''
GROUP BY counted.status"""
BY_DOMAIN = """
SELECT domains.name, counted.status, counted.accounts FROM account_counts AS counted
JOIN domains ON domains.id = counted.domain_id
WHERE counted.organization_id = :organization AND counted.user_id = :user_id
  AND counted.domain_id > :after AND counted.domain_id <= :last AND domains.deleted_at IS NULL
  AND (CAST(:bound AS BIGINT) IS NULL
    OR counted.domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY counted.domain_id"""
OF_DOMAIN = """
SELECT COALESCE(SUM(accounts), 0) FROM account_counts
WHERE organization_id = :organization AND user_id = :user_id AND domain_id = :domain_id"""
OF_DOMAIN_BY_STATUS = """
SELECT status, accounts FROM account_counts
WHERE organization_id = :organization AND user_id = :user_id AND domain_id = :domain_id"""
# An update that changes nothing: an account that is created on the domain at the same time waits
# for this row.
LOCK = """
INSERT INTO account_counts (organization_id, user_id, domain_id, status, accounts)
VALUES (:organization, '', :domain_id, 'active', 0)
ON CONFLICT (organization_id, user_id, domain_id, status) DO UPDATE SET accounts = account_counts.accounts"""
DOMAIN_PAGE = """
SELECT DISTINCT domain_id FROM account_counts
WHERE organization_id = :organization AND user_id = :user_id
  AND NOT EXISTS (SELECT 1 FROM domains WHERE id = account_counts.domain_id AND deleted_at IS NOT NULL)
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY domain_id LIMIT :limit OFFSET :offset"""


class Count(msgspec.Struct):
    """The number of live accounts by status."""

    total: int = 0
    active: int = 0
    suspended: int = 0
    disabled: int = 0

    def add(self, status: str, number: int) -> None:
        setattr(self, status, getattr(self, status) + number)
        self.total += number


def add(
    tx: Tx, organization_id: int, domain_id: int, user_id: str, status: str, by: int, quota_bytes: int | None
) -> None:
    """Counts one more account (1), one fewer (-1), or none (0), and adds `quota_bytes` to the sum
    of the quotas."""
    whose = {"organization": organization_id, "user_id": user_id, "domain_id": domain_id}
    tx.run(ADD, **whose, status=status, by=by, quota_bytes=quota_bytes or 0)


def totals(tx: Tx, actor: Actor, user_id: str | None) -> Count:
    """Returns the counts of all live accounts that the actor sees, or of one user's accounts."""
    count = Count()
    for status, number in tx.all(TOTALS, **_whose(actor, user_id)):
        count.add(status, int(number))
    return count


def promised(tx: Tx, organization_id: int, user_id: str | None) -> int:
    """Returns the sum of the quotas of all live accounts of an organization or a user, in bytes."""
    row = tx.one(PROMISED, organization=organization_id, user_id=user_id or EVERY_USER)
    return int(row[0]) if row else 0


def everything(tx: Tx) -> Count:
    """Returns the counts of all live accounts of every organization, for the operator."""
    count = Count()
    for status, number in tx.all(EVERYTHING):
        count.add(status, int(number))
    return count


def lock(tx: Tx, organization_id: int, domain_id: int) -> None:
    """Locks the domain's counter, so that the result of `of_domain` holds until the end of the
    transaction."""
    tx.run(LOCK, organization=organization_id, domain_id=domain_id)


def of_domain(tx: Tx, organization_id: int, user_id: str | None, domain_id: int) -> int:
    """Returns the number of live accounts on a domain, or of one user's accounts there."""
    row = tx.one(OF_DOMAIN, organization=organization_id, user_id=user_id or EVERY_USER, domain_id=domain_id)
    return int(row[0]) if row else 0


def of_list(tx: Tx, actor: Actor, user_id: str | None, domain_id: int | None, status: str | None) -> int:
    """Returns the number of live accounts that a list with these filters has. The actor must see
    the domain."""
    count = totals(tx, actor, user_id) if domain_id is None else Count()
    if domain_id is not None:
        whose = {"organization": actor.organization_id, "user_id": user_id or EVERY_USER}
        for name, number in tx.all(OF_DOMAIN_BY_STATUS, **whose, domain_id=domain_id):
            count.add(name, int(number))
    return int(getattr(count, status or "total"))


def by_domain(tx: Tx, actor: Actor, user_id: str | None, limit: int, offset: int) -> list[tuple[str, Count]]:
    """Returns a page of domains that have or had accounts, each with its counts, ordered by
    creation."""
    whose = _whose(actor, user_id)
    ids = [row[0] for row in tx.all(DOMAIN_PAGE, **whose, limit=limit, offset=offset)]
    if not ids:
        return []
    found: dict[str, Count] = {}
    for name, status, number in tx.all(BY_DOMAIN, **whose, after=ids[0] - 1, last=ids[-1]):
        found.setdefault(name, Count()).add(status, int(number))
    return list(found.items())


def _whose(actor: Actor, user_id: str | None) -> dict[str, int | str | None]:
    return {"organization": actor.organization_id, "user_id": user_id or EVERY_USER, "bound": actor.restricted_key_id}
