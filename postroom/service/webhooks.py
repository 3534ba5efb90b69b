"""Sends events to webhooks: finds new events, leases the lanes that are due, and sends.

Lanes whose last attempt failed have slots of their own, so that dead endpoints, however many, take
nothing from those that live (decision 0296). A lane uses one connection until an attempt succeeds,
then up to IN_FLIGHT, and it stops at a failure.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from functools import partial

from postroom.db import Database
from postroom.errors import Busy, MailUnavailable
from postroom.log import log
from postroom.service.message_bodies import NotAsked
from postroom.service.webhook_fan_out import FanOut
from postroom.webhooks import attempts, courses, lanes, secrets, signing
from postroom.webhooks.attempts import Due, Message
from postroom.webhooks.courses import Course
from postroom.webhooks.lanes import Lane
from postroom.webhooks.sender import IN_FLIGHT, SECONDS, Attempt, Pool, Sender

# Seconds between two looks for work, and while there is no active webhook.
PAUSE_SECONDS, IDLE_SECONDS = 0.25, 1.0
# Lanes at once: those whose last attempt succeeded, the others, and all. A healthy lane whose first
# attempt lasts longer than SLOW_SECONDS counts as one of the others, so that many endpoints that
# begin to hang at the same time hold the slots of those that live for no longer than that.
HEALTHY_LANES, FAILING_LANES, LANES = 1024, 256, 2048
SLOW_SECONDS = 0.5
# Seconds after which a lease starts no new attempt, so that it ends before the lease of the lane.
LANE_SECONDS = lanes.LEASE_MS / 1000 - SECONDS - 5.0
# Seconds after that in which a body that was being read is still sent.
READ_MARGIN_SECONDS = 3.0
# After so many accounts of a node that did not answer, a lease asks the node no more.
AWAY_AFTER = 3
# Largest number of attempts of a lane that are not written down yet. A webhook that is disabled
# gets no more than these, and those that are in flight.
UNRECORDED = 8
# Milliseconds until a lane is tried again whose secret cannot be opened here.
UNREADABLE_MS = 60_000


# Returns the body of a message; None if the message is gone. Raises MailUnavailable.
ReadMessage = Callable[[Message], Awaitable[bytes | None]]


async def _no_mail(_message: Message) -> bytes | None:
    raise MailUnavailable("This instance runs without mail.", 60)


class Webhooks:
    """The deliveries of a node, which has one worker. `key` opens the secrets; `node_id` is 0 in an
    installation of one machine. `read_message` makes the body of a message."""

    def __init__(
        self, database: Database, sender: Sender, key: str, node_id: int = 0, read_message: ReadMessage = _no_mail
    ) -> None:
        self._database = database
        self._sender = sender
        self._key = key
        self._read_message = read_message
        self._node_id = node_id
        self._fan_out = FanOut(database)
        self._running: dict[bool, set[int]] = {False: set(), True: set()}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        await self._database.write(partial(lanes.recover, node_id=self._node_id))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_on(self._fan_out))
                group.create_task(self._keep_on(self._start_due))
        finally:
            for task in self._tasks:
                task.cancel()

    async def _keep_on(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Busy as error:
                log.warning("work will be tried again", reason=error.detail)
            except Exception as error:
                log.error("work has failed and will be tried again", kind="webhooks", exc_info=error)
            await asyncio.sleep(IDLE_SECONDS if self._fan_out.is_idle else PAUSE_SECONDS)

    async def look(self) -> None:
        """Makes the deliveries of new events, and starts to send what is due."""
        await self._fan_out()
        await self._start_due()

    async def _start_due(self) -> None:
        for failing, slots in ((False, HEALTHY_LANES), (True, FAILING_LANES)):
            running, other = self._running[failing], self._running[not failing]
            free = min(slots - len(running), LANES - len(running) - len(other))
            if free > 0:
                due = await self._database.read(partial(lanes.due, failing=failing, limit=free))
                for webhook_id in set(due) - running - other:
                    self._start(webhook_id, running)

    async def finish(self) -> None:
        """Waits until everything that was started has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start(self, webhook_id: int, running: set[int]) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._release_slot(webhook_id)
            self._tasks.discard(task)

        running.add(webhook_id)
        task = asyncio.create_task(self._serve(webhook_id))
        self._tasks.add(task)
        task.add_done_callback(end)

    def move_to_slow(self, webhook_id: int) -> None:
        """Frees the slot of a lane whose endpoint does not answer at once."""
        self._release_slot(webhook_id)
        self._running[True].add(webhook_id)

    def _release_slot(self, webhook_id: int) -> None:
        for running in self._running.values():
            running.discard(webhook_id)

    async def _serve(self, webhook_id: int) -> None:
        """Serves a lane for one lease. After a failure of ours the lease runs out by itself."""
        try:
            if lane := await self._database.write(partial(lanes.take, webhook_id=webhook_id, node_id=self._node_id)):
                await (self._send(lane) if lane.url else self._clear(lane))
        except Busy as error:
            log.warning("work will be tried again", reason=error.detail)
        except Exception as error:
            log.error("work has failed and will be tried again", kind="webhook", item=webhook_id, exc_info=error)

    async def _send(self, lane: Lane) -> None:
        try:
            opened = [secrets.open_sealed(self._key, sealed) for sealed in lane.secrets]
        except ValueError as error:
            log.error("webhook_secret_unreadable", webhook=lane.webhook_id, reason=str(error))
            await self._database.write(partial(lanes.put_off, lane=lane, milliseconds=UNREADABLE_MS))
            return
        due = await self._database.read(partial(attempts.due, lane=lane))
        if not due:
            await self._database.write(partial(lanes.free, lane=lane, failing=lane.failures > 0))
            return
        course = Course(lane.failures, lane.failing_since)
        async with self._sender.connections() as pool:
            await _Run(self, lane, opened, pool, course, deque(due)).carry_out()
        await self._database.write(partial(courses.release, lane=lane, course=course))

    async def _clear(self, lane: Lane) -> None:
        """Ends what is pending for a disabled webhook, and removes all of a deleted one."""
        step = attempts.drop if lane.exists else attempts.erase
        while await self._database.write(partial(step, webhook_id=lane.webhook_id)) == attempts.STEP:
            pass
        end = partial(lanes.put_off, milliseconds=0) if lane.exists else lanes.forget
        await self._database.write(partial(end, lane=lane))

    async def attempt(self, lane: Lane, opened: list[str], pool: Pool, one: Due, body: bytes) -> Attempt:
        """Sends a delivery. A failure of any kind is in the result."""
        headers = signing.headers(opened, one.message_id, int(time.time()), body)
        return await self._sender.post(pool, lane.url or "", headers, body)

    async def read(self, one: Due) -> bytes | None:
        """Returns the body of a delivery; None if there is nothing to send any more. Raises
        MailUnavailable."""
        return await self._read_message(one.source) if isinstance(one.source, Message) else one.source

    async def record(self, lane: Lane, one: Due, attempt: Attempt | None, *, is_unread: bool = False) -> bool:
        """Writes down what became of an attempt; None: there was none, because there is nothing to
        send any more, or because the message could not be read now. Returns whether more may be
        sent in this lease."""
        if attempt is None:
            end = attempts.postpone if is_unread else attempts.skip
            await self._database.write(partial(end, lane=lane, one=one))
            return True
        return await self._database.write(partial(attempts.record, lane=lane, one=one, attempt=attempt))


class _Run:
    """What one lease sends: the first delivery that can be read alone, and, unless that was a
    probe, the others beside each other once it has arrived."""

    def __init__(
        self, webhooks: Webhooks, lane: Lane, opened: list[str], pool: Pool, course: Course, due: deque[Due]
    ) -> None:
        self._webhooks = webhooks
        self._lane = lane
        self._opened = opened
        self._pool = pool
        self._course = course
        self._due = due
        self._ends_at = time.monotonic() + LANE_SECONDS
        self._is_stopped = self._has_tried = False
        self._unread: defaultdict[int, set[int]] = defaultdict(set)
        self._crowded: set[int] = set()
        self._records: list[asyncio.Task[None]] = []

    async def carry_out(self) -> None:
        """Sends, and returns when everything is written down. Raises Busy."""
        slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._webhooks.move_to_slow, self._lane.webhook_id)
        try:
            while not self._has_tried and await self._next():
                pass
        finally:
            slow.cancel()
        if self._records:
            await asyncio.wait(self._records)
        if not self._lane.is_probing:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(IN_FLIGHT, len(self._due))):
                    group.create_task(self._work())
        for one in filter(self._is_away, self._due):
            self._write_down(one, None, is_unread=True)
        ended = await asyncio.gather(*self._records, return_exceptions=True)
        for failure in filter(None, ended):
            raise failure

    async def _work(self) -> None:
        while await self._next():
            pass

    async def _next(self) -> bool:
        """Sends one delivery. Returns whether there may be another one to send. What became of it
        is written down while the next one is sent."""
        while len(waiting := [record for record in self._records if not record.done()]) >= UNRECORDED:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._is_stopped or not self._due or time.monotonic() > self._ends_at:
            return False
        one = self._due.popleft()
        body, is_unread = await self._read(one)
        attempt = None
        if body is not None:
            if time.monotonic() > self._ends_at + READ_MARGIN_SECONDS:
                return False  # it stays due
            self._has_tried = True
            attempt = await self._webhooks.attempt(self._lane, self._opened, self._pool, one, body)
            self._count(attempt)
        self._write_down(one, attempt, is_unread=is_unread)
        return not self._is_stopped

    def _is_away(self, one: Due) -> bool:
        """Whether the account of the message, or its node, does not answer in this lease."""
        if not isinstance(one.source, Message):
            return False
        unread = self._unread[one.source.node_id]
        return one.source.account_id in unread or len(unread) >= AWAY_AFTER

    async def _read(self, one: Due) -> tuple[bytes | None, bool]:
        """Returns the body, and whether it could not be read now. A message that cannot be read
        delays no other one."""
        if self._is_away(one) or (isinstance(one.source, Message) and one.source.node_id in self._crowded):
            return None, True
        try:
            return await self._webhooks.read(one), False
        except MailUnavailable as error:
            if isinstance(one.source, Message):
                if isinstance(error, NotAsked):
                    self._crowded.add(one.source.node_id)
                else:
                    self._unread[one.source.node_id].add(one.source.account_id)
            return None, True
        except Exception as error:
            log.error("work has failed and will be tried again", kind="message", item=one.message_id, exc_info=error)
            return None, True

    def _count(self, attempt: Attempt) -> None:
        now = time.time_ns() // 1_000_000
        if attempt.error is None:
            self._course.succeed(now)
            return
        self._course.fail(now)
        self._course.is_gone |= attempt.is_gone
        self._is_stopped = True

    def _write_down(self, one: Due, attempt: Attempt | None, *, is_unread: bool) -> None:
        self._records.append(asyncio.create_task(self._record(one, attempt, is_unread)))

    async def _record(self, one: Due, attempt: Attempt | None, is_unread: bool) -> None:
        goes_on = False
        try:
            goes_on = await self._webhooks.record(self._lane, one, attempt, is_unread=is_unread)
        finally:  # also if the database is away: what is not written down is sent again
            self._is_stopped |= not goes_on
