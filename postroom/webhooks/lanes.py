"""Lanes: what a webhook has to be sent, and who sends it. A lane is leased as a whole, so one
worker at a time sends to an endpoint (decision 0296).

An endpoint that has failed PROBE_AFTER times in a row gets one delivery, the oldest, once a minute
in the first hour and then every ten minutes. Everything else waits until an attempt succeeds.
"""

import msgspec

from postroom.db import Row, Tx
from postroom.errors import not_found

# Milliseconds. A lease lasts longer than a lane is used: see service/webhooks.py.
LEASE_MS = 30_000
PROBE_AFTER = 5

# While a lane is leased, its worker finds out at the end of the lease what else is due. The row is
# locked even then, so that the end of the lease sees the new deliveries.
WAKE = """
INSERT INTO webhook_lanes (webhook_id, due_at) VALUES (:id, :at)
ON CONFLICT (webhook_id) DO UPDATE SET due_at = excluded.due_at
WHERE webhook_lanes.leased_until <= :now AND COALESCE(webhook_lanes.due_at, excluded.due_at + 1) > excluded.due_at"""
DUE = """
SELECT webhook_id FROM webhook_lanes WHERE failing = :failing AND due_at <= :now ORDER BY due_at LIMIT :limit"""
OLDEST_DUE = "SELECT MIN(due_at) FROM webhook_lanes WHERE failing = 0 AND due_at <= :now"
FAILING = "SELECT COUNT(*) FROM webhook_lanes WHERE failing = 1 AND due_at IS NOT NULL"
TAKE = """
UPDATE webhook_lanes SET leased_until = :until, due_at = :until, node_id = :node_id
WHERE webhook_id = :id AND due_at <= :now AND leased_until <= :now RETURNING webhook_id"""
# The webhook of a route sends nothing while its domain belongs to nobody, or to somebody else.
GET = """
SELECT organization_id, url, CASE WHEN forward_mode IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM domains WHERE domains.id = webhooks.domain_id AND domains.status <> 'pending')
  THEN 'disabled' ELSE status END, secret, former_secret, COALESCE(former_until, 0), failures, failing_since
FROM webhooks WHERE id = :id"""
RELEASE = """
UPDATE webhook_lanes SET leased_until = 0, failing = :failing WHERE webhook_id = :id AND leased_until = :until
RETURNING webhook_id"""
RECOVER = "UPDATE webhook_lanes SET leased_until = 0, due_at = :now WHERE node_id = :node_id AND leased_until > :now"
SET_DUE = "UPDATE webhook_lanes SET due_at = :at WHERE webhook_id = :id"
NEXT = "SELECT MIN(next_at) FROM webhook_deliveries WHERE webhook_id = :id AND status = 'pending'"
FORGET = "DELETE FROM webhook_lanes WHERE webhook_id = :id"


class Lane(msgspec.Struct, frozen=True):
    """A leased lane, and its webhook; `url` is None if nothing is sent any more. The secrets are
    sealed; the first one is the present secret."""

    webhook_id: int
    until: int
    now: int
    organization_id: int = 0
    url: str | None = None
    secrets: tuple[str, ...] = ()
    failures: int = 0
    failing_since: int | None = None
    exists: bool = False

    @property
    def is_probing(self) -> bool:
        return self.failures >= PROBE_AFTER


def wake(tx: Tx, webhook_id: int, at: int | None = None) -> None:
    """Makes a lane due, now or at this time. Call it after each change of the webhook that a worker
    must act on; the transaction locks the row of the webhook first, if it locks that too."""
    tx.run(WAKE, id=webhook_id, at=tx.now if at is None else at, now=tx.now)


def due(tx: Tx, *, failing: bool, limit: int) -> list[int]:
    """Returns lanes that a worker may take now. Those that failed last are apart."""
    return [row[0] for row in tx.all(DUE, failing=int(failing), now=tx.now, limit=limit)]


def oldest_due(tx: Tx) -> int | None:
    """Returns since when the oldest lane has been due whose last attempt did not fail."""
    row = tx.one(OLDEST_DUE, now=tx.now)
    return row[0] if row else None


def failing(tx: Tx) -> int:
    """Returns the number of webhooks whose last attempt failed and that have deliveries pending."""
    row = tx.one(FAILING)
    return int(row[0]) if row else 0


def recover(tx: Tx, node_id: int) -> None:
    """Ends the leases of this node's last worker. Call it when a worker starts: the last one is
    dead, and what it was sending is sent again."""
    tx.run(RECOVER, node_id=node_id, now=tx.now)


def take(tx: Tx, webhook_id: int, node_id: int = 0) -> Lane | None:
    """Leases a lane for a node's worker. Returns None if another worker has it, or if it is no
    longer due."""
    until = tx.now + LEASE_MS
    if tx.one(TAKE, id=webhook_id, until=until, node_id=node_id, now=tx.now) is None:
        return None
    row = tx.one(GET, id=webhook_id)
    if row is None:
        return Lane(webhook_id, until, tx.now)
    lane = _from_row(webhook_id, until, tx.now, row)
    return lane if row[2] == "active" else msgspec.structs.replace(lane, url=None)


def look(tx: Tx, organization_id: int, webhook_id: int) -> Lane:
    """Returns the webhook of a lane that is not leased, whether active or not. Raises not_found."""
    row = tx.one(GET, id=webhook_id)
    if row is None or row[0] != organization_id:
        raise not_found()
    return _from_row(webhook_id, 0, tx.now, row)


def put_off(tx: Tx, lane: Lane, milliseconds: int) -> None:
    """Ends a lease of which nothing came, for a reason that is not the endpoint's."""
    free(tx, lane, failing=True, not_before=tx.now + milliseconds)


def forget(tx: Tx, lane: Lane) -> None:
    """Removes the lane of a deleted webhook whose deliveries are gone."""
    tx.run(FORGET, id=lane.webhook_id)


def free(tx: Tx, lane: Lane, *, failing: bool, not_before: int = 0, at_once: bool = False) -> None:
    """Ends a lease. If something is pending, the lane is due with it, but not before `not_before`;
    `at_once`: it is due exactly then, even if nothing is pending."""
    if tx.one(RELEASE, id=lane.webhook_id, until=lane.until, failing=int(failing)) is None:
        return  # the lease had run out, and another worker has the lane
    row = tx.one(NEXT, id=lane.webhook_id)
    next_at = row[0] if row else None
    if at_once:
        next_at = not_before
    elif next_at is not None:
        next_at = max(not_before, next_at)
    tx.run(SET_DUE, id=lane.webhook_id, at=next_at)


def _from_row(webhook_id: int, until: int, now: int, row: Row) -> Lane:
    organization, url, _status, secret, former, former_until, failures, since = row
    secrets = (secret, former) if former and former_until > now else (secret,)
    return Lane(webhook_id, until, now, organization, url, secrets, failures, since, True)
