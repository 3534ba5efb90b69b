"""The schedule of DNS checks: which checks are due or leased, and how often they have failed.

Moving `free_at` ahead leases a check (decision 0044). A worker that dies during the check loses
nothing, because the lease expires and the check is still due.
"""

from postroom.db import Tx

FIRST_MS = 30_000
LEASE_MS = 30_000
PAUSE_MS = 3_000

SCHEDULE = """
INSERT INTO domain_checks (domain_id, due_at, free_at, failures) VALUES (:domain_id, :due_at, 0, 0)
ON CONFLICT (domain_id) DO UPDATE SET due_at = excluded.due_at, failures = 0"""
BEGIN = """
INSERT INTO domain_checks (domain_id, free_at, failures) VALUES (:domain_id, :until, 0)
ON CONFLICT (domain_id) DO UPDATE SET free_at = excluded.free_at
WHERE domain_checks.free_at <= :now RETURNING domain_id"""
FREE_AT = "SELECT free_at FROM domain_checks WHERE domain_id = :domain_id"
# Organizations take turns, so that an organization with many domains does not delay the others.
DUE = """
SELECT domain_id FROM (
  SELECT domain_checks.domain_id, domain_checks.due_at,
    ROW_NUMBER() OVER (PARTITION BY domains.organization_id ORDER BY domain_checks.due_at, domain_id) AS turn
  FROM domain_checks JOIN domains ON domains.id = domain_checks.domain_id
  WHERE domain_checks.due_at <= :now AND domain_checks.free_at <= :now AND NOT EXISTS (
    SELECT 1 FROM leases WHERE kind = 'check' AND item = domain_checks.domain_id AND leases.free_at > :now)) AS waiting
ORDER BY turn, due_at, domain_id LIMIT :limit"""
OLDEST_DUE = "SELECT due_at FROM domain_checks WHERE due_at <= :now ORDER BY due_at LIMIT 1"
LEASE = """
UPDATE domain_checks SET free_at = :until
WHERE domain_id = :domain_id AND due_at <= :now AND free_at <= :now RETURNING domain_id"""
PLAN = "SELECT due_at, failures FROM domain_checks WHERE domain_id = :domain_id"
COMPLETE = """
UPDATE domain_checks SET due_at = :due_at, free_at = :until, failures = :failures WHERE domain_id = :domain_id"""
# An update that changes nothing. If it finds no row, the lease is lost and may belong to another
# worker.
LOCK = """
UPDATE domain_checks SET free_at = free_at WHERE domain_id = :domain_id AND free_at = :until RETURNING domain_id"""
DROP = "DELETE FROM domain_checks WHERE domain_id = :domain_id"


def schedule(tx: Tx, domain_id: int, due_at: int) -> None:
    """Schedules a check by the worker for this time (ms since 1970) and resets the number of
    failures."""
    tx.run(SCHEDULE, domain_id=domain_id, due_at=due_at)


def begin(tx: Tx, domain_id: int) -> tuple[int | None, int]:
    """Leases the check of a domain, due or not. Returns the end of the lease (ms since 1970) and 0;
    or None and the milliseconds to wait, if a check is under way or has just ended."""
    until = tx.now + LEASE_MS
    if tx.one(BEGIN, domain_id=domain_id, until=until, now=tx.now):
        return until, 0
    row = tx.one(FREE_AT, domain_id=domain_id)
    return None, max(int(row[0]) - tx.now, 1) if row else 1


def due(tx: Tx, limit: int) -> list[int]:
    """Returns up to `limit` domains whose check is due and not leased. Organizations take turns."""
    return [row[0] for row in tx.all(DUE, now=tx.now, limit=limit)]


def lease(tx: Tx, domain_ids: list[int]) -> list[tuple[int, int]]:
    """Leases those of the given checks that are still free. Returns each domain id with the end of
    its lease (ms since 1970)."""
    until = tx.now + LEASE_MS
    taken = [tx.one(LEASE, domain_id=id_, until=until, now=tx.now) for id_ in domain_ids]
    return [(row[0], until) for row in taken if row]


def acquire(tx: Tx, domain_id: int, until: int) -> bool:
    """Whether the lease that ends at `until` is still held. If so, locks the check for this
    transaction."""
    return tx.one(LOCK, domain_id=domain_id, until=until) is not None


def standing(tx: Tx, domain_id: int) -> tuple[int | None, int]:
    """Returns when the next check is due (ms since 1970, None: never) and how many checks have
    failed in a row."""
    row = tx.one(PLAN, domain_id=domain_id)
    return (row[0], row[1]) if row else (None, 0)


def complete(tx: Tx, domain_id: int, *, due_at: int | None, failures: int) -> None:
    """Ends a check and sets its next due time. Another check can begin after PAUSE_MS."""
    tx.run(COMPLETE, domain_id=domain_id, due_at=due_at, failures=failures, until=tx.now + PAUSE_MS)


def drop(tx: Tx, domain_id: int) -> None:
    """Removes the domain from the schedule."""
    tx.run(DROP, domain_id=domain_id)


def oldest_due(tx: Tx) -> int | None:
    """Returns when the oldest due check became due (ms since 1970); None if no check is due.
    Includes a check that a worker backed off from after a failure."""
    row = tx.one(OLDEST_DUE, now=tx.now)
    return int(row[0]) if row else None
