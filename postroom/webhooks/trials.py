"""A delivery on request: `webhook.test` is sent at once, and the caller gets what became of it.

It is sent by the process of the request, beside the deliveries: within the same bounds, once in
PAUSE_MS a webhook, and AT_ONCE in a process. It changes nothing of the webhook (decision 0298).
"""

import asyncio
import time

from postroom import leases
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.errors import Refused, TooMany
from postroom.webhooks import bodies, lanes, secrets, signing, webhooks
from postroom.webhooks.lanes import Lane
from postroom.webhooks.sender import Attempt, Sender

# Longer than an attempt lasts.
PAUSE_MS = 12_000
AT_ONCE = 16
UNREADABLE = "This host has another key than the one that sealed the secret: the operator must copy db/digest.key."


class Trials:
    """The deliveries on request of a process. `key` opens the secrets."""

    def __init__(self, database: Database, sender: Sender, key: str) -> None:
        self._database = database
        self._sender = sender
        self._key = key
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def on_request(self, actor: Actor, webhook_id: int, user_id: str | None) -> Attempt:
        """Sends to a webhook that the actor sees, also to a disabled one. Raises not_found,
        too_many_requests, `not_available` (a host with another key)."""
        if self._slots.locked():
            raise TooMany("Too many webhooks are being tested. Try again.", 1)
        async with self._slots:
            lane = await self._database.write(lambda tx: _begin(tx, actor, webhook_id, user_id))
            try:
                opened = [secrets.open_sealed(self._key, sealed) for sealed in lane.secrets]
            except ValueError:
                raise Refused(
                    "not_available", "This host has another key than the one that sealed the secret."
                ) from None
            body = bodies.of_test(webhook_id, lane.now)
            headers = signing.headers(opened, f"test_{webhook_id}_{lane.now}", int(time.time()), body)
            async with self._sender.connections() as pool:
                return await self._sender.post(pool, lane.url or "", headers, body)


def _begin(tx: Tx, actor: Actor, webhook_id: int, user_id: str | None) -> Lane:
    webhooks.get(tx, actor, webhook_id, user_id)
    if not leases.acquire(tx, "webhook", [webhook_id], lambda _tx, _id: True, PAUSE_MS):
        seconds = PAUSE_MS // 1000
        raise TooMany(f"A webhook can be tested once in {seconds} seconds. Try again.", seconds)
    return lanes.look(tx, actor.organization_id, webhook_id)
