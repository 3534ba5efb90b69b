"""How the attempts of a lease went, and what follows for the webhook: when a failing endpoint is
tried again, and when it is given up."""

import random

import msgspec

from postroom.actor import Actor
from postroom.db import Tx
from postroom.webhooks import lanes, webhooks
from postroom.webhooks.lanes import PROBE_AFTER, Lane

# Milliseconds.
PROBE_MS, HOUR_MS, LATER_PROBE_MS = 60_000, 3_600_000, 600_000
# After each of the first failures in a row. Without these pauses, many endpoints that fail at once
# would keep the database busy.
PAUSES_MS = (5_000, 10_000, 20_000, 30_000)
# A pause is up to this part longer.
JITTER = 0.1
# So many failures in a row, for so long, disable a webhook. Time without attempts, as of a server
# that was off, is no failure.
GIVE_UP_MS, GIVE_UP_AFTER = 3 * 24 * HOUR_MS, 100

MARK = """
UPDATE webhooks SET failures = :failures, failing_since = :failing_since, probe_at = :probe_at,
  last_success_at = COALESCE(:success_at, last_success_at)
WHERE id = :id AND organization_id = :organization AND url = :url AND status = 'active' RETURNING id"""


class Course(msgspec.Struct):
    """How the attempts of a lease went."""

    failures: int
    failing_since: int | None
    success_at: int | None = None
    is_gone: bool = False

    def succeed(self, now: int) -> None:
        self.failures, self.failing_since, self.success_at = 0, None, now

    def fail(self, now: int) -> None:
        self.failures += 1
        self.failing_since = self.failing_since or now


def release(tx: Tx, lane: Lane, course: Course) -> None:
    """Ends a lease: writes down how the endpoint does, disables the webhook if it is gone or has
    failed for too long, and says when the lane is due again. If the webhook has another URL now, or
    is disabled, the attempts say nothing about it."""
    probe_at = _probe_at(tx.now, course)
    same = tx.one(
        MARK,
        id=lane.webhook_id,
        organization=lane.organization_id,
        url=lane.url,
        failures=course.failures,
        failing_since=course.failing_since,
        probe_at=probe_at,
        success_at=course.success_at,
    )
    if same is None:
        lanes.free(tx, lane, failing=False, not_before=tx.now, at_once=True)
        return
    is_long = tx.now - (course.failing_since or tx.now) >= GIVE_UP_MS
    is_hopeless = is_long and course.failures >= max(GIVE_UP_AFTER, lane.failures + 1)
    if course.is_gone or is_hopeless:
        actor = Actor(lane.organization_id)
        webhooks.disable(tx, actor, lane.webhook_id, "gone" if course.is_gone else "failing")
        lanes.free(tx, lane, failing=True, not_before=tx.now, at_once=True)  # what is pending ends now
        return
    is_probe = course.failures >= PROBE_AFTER
    lanes.free(tx, lane, failing=course.failures > 0, not_before=probe_at or 0, at_once=is_probe)


def _probe_at(now: int, course: Course) -> int | None:
    """When a failing endpoint is tried again; None: as its deliveries are due."""
    if course.failures == 0:
        return None
    if course.failures < PROBE_AFTER:
        pause = PAUSES_MS[course.failures - 1]
    else:
        pause = PROBE_MS if now - (course.failing_since or now) < HOUR_MS else LATER_PROBE_MS
    return now + round(pause * (1 + random.random() * JITTER))  # noqa: S311
