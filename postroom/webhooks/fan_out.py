"""Which webhooks get an event: the worker reads the events by id and makes a delivery for each
webhook that wants them, never in the transaction of the request (decision 0295)."""

import msgspec

from postroom.db import Row, Tx
from postroom.errors import not_found
from postroom.webhooks import lanes
from postroom.webhooks.patterns import matches

# Largest number of events that one read returns, and of deliveries that one transaction makes.
EVENTS = 500
STEP = 500
CURSOR = 1

TOP = "SELECT id FROM events WHERE id > 0 ORDER BY id DESC LIMIT 1"
FIRST = "SELECT MIN(after_event_id) FROM webhooks WHERE status = 'active'"
DONE = "SELECT event_id FROM webhook_cursors WHERE id = :id"
# An organization without an active webhook costs one look-up an event.
READ = """
SELECT id, organization_id, type, account_id, domain_id, user_id FROM events
WHERE id > :after AND id <= :until AND EXISTS (
  SELECT 1 FROM webhooks WHERE webhooks.organization_id = events.organization_id AND webhooks.status = 'active')
ORDER BY id LIMIT :limit"""
TARGETS = """
SELECT id, events, user_id, domain_id, account_id, after_event_id, COALESCE(probe_at, 0) FROM webhooks
WHERE organization_id = :organization AND COALESCE(status, '') = 'active' ORDER BY id"""
TARGET = """
SELECT id, events, user_id, domain_id, account_id, 0, 0 FROM webhooks
WHERE organization_id = :organization AND id = :id"""
INSERT = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, next_at, created_at)
SELECT organization_id, id, 'event', :event_id, :type, 'pending', :now, :now
FROM webhooks WHERE id = :webhook_id AND status = 'active'
ON CONFLICT (webhook_id, source_kind, source_id) DO NOTHING"""
ADVANCE = """
INSERT INTO webhook_cursors (id, event_id) VALUES (:id, :event_id)
ON CONFLICT (id) DO UPDATE SET event_id = excluded.event_id WHERE webhook_cursors.event_id < excluded.event_id"""


class Position(msgspec.Struct, frozen=True):
    """The state of the events. `first` is the lowest id that an active webhook may want, less one;
    None: there is no active webhook. `done` is the stored cursor."""

    top: int
    first: int | None
    done: int


class Wanted(msgspec.Struct, frozen=True):
    """An event of an organization that has an active webhook."""

    id: int
    organization_id: int
    type: str
    account_id: int | None
    domain_id: int | None
    user_id: str | None


class Target(msgspec.Struct, frozen=True):
    """An active webhook, and what it wants."""

    id: int
    events: list[str]
    user_id: str | None
    domain_id: int | None
    account_id: int | None
    after_event_id: int
    probe_at: int

    def wants(self, event: Wanted) -> bool:
        """Whether the event is new enough, of a wanted type, and within the webhook's bounds."""
        return (
            event.id > self.after_event_id
            and self.user_id in (None, event.user_id)
            and self.domain_id in (None, event.domain_id)
            and self.account_id in (None, event.account_id)
            and matches(self.events, event.type)
        )


def position(tx: Tx) -> Position:
    """Reads where the events stand, by three look-ups in indexes."""
    first = tx.one(FIRST)
    if first is None or first[0] is None:
        return Position(0, None, 0)
    top, done = tx.one(TOP), tx.one(DONE, id=CURSOR)
    return Position(top[0] if top else 0, first[0], done[0] if done else 0)


def read(tx: Tx, after: int, until: int) -> list[Wanted]:
    """Returns the next events of organizations with an active webhook, at most EVENTS."""
    return [Wanted(*row) for row in tx.all(READ, after=after, until=until, limit=EVENTS)]


def targets(tx: Tx, organization_id: int) -> list[Target]:
    """Returns the active webhooks of an organization."""
    return [_from_row(row) for row in tx.all(TARGETS, organization=organization_id)]


def target(tx: Tx, organization_id: int, webhook_id: int) -> Target:
    """Returns what a webhook wants of the events since ever. Raises not_found."""
    row = tx.one(TARGET, organization=organization_id, id=webhook_id)
    if row is None:
        raise not_found()
    return _from_row(row)


def write(tx: Tx, pairs: list[tuple[Wanted, Target]]) -> None:
    """Makes deliveries, and the lanes of their webhooks due. An event that the webhook has already
    is left alone."""
    for event, target in pairs:
        tx.run(INSERT, event_id=event.id, type=event.type, webhook_id=target.id, now=tx.now)
    due = {target.id: target.probe_at for _, target in pairs}
    for id_ in sorted(due):
        lanes.wake(tx, id_, max(tx.now, due[id_]))


def advance(tx: Tx, event_id: int) -> None:
    """Stores up to which event all deliveries were made."""
    tx.run(ADVANCE, id=CURSOR, event_id=event_id)


def _from_row(row: Row) -> Target:
    return Target(row[0], msgspec.json.decode(row[1], type=list[str]), *row[2:])
