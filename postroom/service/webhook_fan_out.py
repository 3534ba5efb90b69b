"""Makes the deliveries of new events.

An id is given before its transaction commits, so on PostgreSQL the event with a higher id can be
seen first. Events are therefore looked at as soon as they are seen, and the ids between them once
more when every transaction has ended that was writing events at that time (decision 0295).
"""

from functools import partial

from postroom.db import Database
from postroom.webhooks import fan_out
from postroom.webhooks.fan_out import Target, Wanted

# Ids that the stored cursor may be behind while no delivery is made, which saves a write an event.
BEHIND = 1000
# Largest number of seen events to remember while a transaction stays open. With more, events wait
# until it has ended.
MOST_SEEN = 50_000


class FanOut:
    """Each call makes the deliveries of the events since the last call."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.is_idle = False  # there was no active webhook at the last call
        self._settled = 0  # no event up to here can appear any more, and all have their deliveries
        self._stored = 0
        self._seen: set[int] = set()  # events above `settled` that have their deliveries
        self._top = 0  # the highest id that was looked at
        self._watch: tuple[int, frozenset[str]] | None = None  # a highest id, and who wrote events at that time
        self._is_dirty = False  # there may be deliveries of events above `stored`

    async def __call__(self) -> None:
        position = await self._database.read(fan_out.position)
        self.is_idle = position.first is None
        if position.first is None:
            return
        self._follow(position.done)
        if position.top <= self._settled:
            return
        # The order matters: the highest id, then the writers, then the events.
        writers = await self._database.unfinished_writers("events")
        self._watch = self._watch or (position.top, writers)
        until, before = self._watch
        if not before & writers:
            await self._spread(max(self._settled, position.first), until)
            await self._settle(until)
        after = max(self._settled, self._top)
        if position.top > after and len(self._seen) < MOST_SEEN:
            await self._spread(max(after, position.first), position.top)
            self._top = position.top

    def _follow(self, stored: int) -> None:
        """Goes on where the stored cursor is, if another worker has moved it."""
        self._stored = max(self._stored, stored)
        self._settled = max(self._settled, stored)
        if self._watch and self._watch[0] <= self._settled:
            self._watch = None

    async def _settle(self, until: int) -> None:
        """Notes that nothing is missing up to this id."""
        self._settled, self._watch = until, None
        self._seen = {id_ for id_ in self._seen if id_ > until}
        if self._is_dirty or until - self._stored >= BEHIND:
            await self._database.write(partial(fan_out.advance, event_id=until))
            self._stored, self._is_dirty = until, bool(self._seen)

    async def _spread(self, after: int, until: int) -> None:
        """Makes the deliveries of events that have none yet."""
        known: dict[int, list[Target]] = {}
        while after < until:
            events = await self._database.read(partial(fan_out.read, after=after, until=until))
            new = [event for event in events if event.id not in self._seen]
            for organization in {event.organization_id for event in new} - known.keys():
                known[organization] = await self._database.read(partial(fan_out.targets, organization_id=organization))
            await self._write([(event, hook) for event in new for hook in known[event.organization_id]])
            self._seen |= {event.id for event in new}
            after = events[-1].id if len(events) == fan_out.EVENTS else until

    async def _write(self, every: list[tuple[Wanted, Target]]) -> None:
        pairs = [(event, hook) for event, hook in every if hook.wants(event)]
        for start in range(0, len(pairs), fan_out.STEP):
            await self._database.write(partial(fan_out.write, pairs=pairs[start : start + fan_out.STEP]))
            self._is_dirty = True
