"""When the DNS of a domain is checked: which checks are due, leased, or have failed how often.

Moving `free_at` ahead leases a check (decision 0044). A worker that dies during the check loses
nothing, because the lease expires and the check is still due.
"""

from postroom.db import Tx

FIRST_MS = 30_000
LEASE_MS = 30_000
REST_MS = 3_000

SCHEDULE = """
INSERT INTO domain_checks (domain_id, due_at, free_at, failures) VALUES (:domain_id, :due_at, 0, 0)
ON CONFLICT (domain_id) DO UPDATE SET due_at = excluded.due_at, failures = 0"""
BEGIN = """
INSERT INTO domain_checks (domain_id, free_at, failures) VALUES (:domain_id, :until, 0)
ON CONFLICT (domain_id) DO UPDATE SET free_at = excluded.free_at
WHERE domain_checks.free_at <= :now RETURNING domain_id"""
FREE_AT = "SELECT free_at FROM domain_checks WHERE domain_id = :domain_id"
# Organizations take turns, so that one with many domains does not keep the others waiting.
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
SETTLE = """
UPDATE domain_checks SET due_at = :due_at, free_at = :until, failures = :failures WHERE domain_id = :domain_id"""
# An update that changes nothing: who finds no row has lost the lease, and it is somebody else's
# now.
HOLD = """
UPDATE domain_checks SET free_at = free_at WHERE domain_id = :domain_id AND free_at = :until RETURNING domain_id"""
DROP = "DELETE FROM domain_checks WHERE domain_id = :domain_id"


def schedule(tx: Tx, domain_id: int, due_at: int) -> None:
    """A check by itself at this time, with nothing failed before."""
    tx.run(SCHEDULE, domain_id=domain_id, due_at=due_at)


def begin(tx: Tx, domain_id: int) -> tuple[int | None, int]:
    """Leases the check of a domain, due or not: until when. Or None, and the milliseconds to
    wait where one is under way or just over."""
    until = tx.now + LEASE_MS
    if tx.one(BEGIN, domain_id=domain_id, until=until, now=tx.now):
        return until, 0
    row = tx.one(FREE_AT, domain_id=domain_id)
    return None, max(int(row[0]) - tx.now, 1) if row else 1


def due(tx: Tx, limit: int) -> list[int]:
    """Domains whose check is due and that nobody is at, each organization's in turn."""
    return [row[0] for row in tx.all(DUE, now=tx.now, limit=limit)]


def lease(tx: Tx, domain_ids: list[int]) -> list[tuple[int, int]]:
    """Those of them that nobody else has taken meanwhile, and until when they are the caller's."""
    until = tx.now + LEASE_MS
    taken = [tx.one(LEASE, domain_id=id_, until=until, now=tx.now) for id_ in domain_ids]
    return [(row[0], until) for row in taken if row]


def acquire(tx: Tx, domain_id: int, until: int) -> bool:
    """Whether a lease is still the caller's; then the check is held for this transaction."""
    return tx.one(HOLD, domain_id=domain_id, until=until) is not None


def standing(tx: Tx, domain_id: int) -> tuple[int | None, int]:
    """When the next one is due, and how many have failed."""
    row = tx.one(PLAN, domain_id=domain_id)
    return (row[0], row[1]) if row else (None, 0)


def complete(tx: Tx, domain_id: int, *, due_at: int | None, failures: int) -> None:
    """A check is over; another one may begin after a short rest."""
    tx.run(SETTLE, domain_id=domain_id, due_at=due_at, failures=failures, until=tx.now + REST_MS)


def drop(tx: Tx, domain_id: int) -> None:
    """Nothing is left to be checked."""
    tx.run(DROP, domain_id=domain_id)


def oldest_due(tx: Tx) -> int | None:
    """Since when the oldest check has been due (ms since 1970), also one that was put off after
    a failure."""
    row = tx.one(OLDEST_DUE, now=tx.now)
    return int(row[0]) if row else None
