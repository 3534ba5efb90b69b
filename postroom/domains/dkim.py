"""DKIM keys: made with each domain and rotated on request (RFC 6376). A domain signs with one key;
during a rotation the next key waits until the DNS shows it.

`generate` takes up to 200 ms, so it never runs within a transaction. A domain that is made without
a key has a row in state `wanted`, which the worker fills (decision 0052). Only one view gives
access to the private key.
"""

import asyncio
import base64
import secrets
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains.dns_records import DkimRecord
from postroom.errors import Busy

State = Literal["signing", "next", "retiring"]

BITS = 2048
SECOND_MS = 1000
HOUR_MS = 3600 * SECOND_MS
RETIRING_MS = 7 * 24 * HOUR_MS
SHORTEST_MS, LONGEST_MS = 30 * SECOND_MS, 6 * HOUR_MS
SELECTOR_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
SELECTOR_RANDOM = 6

ADD = """
INSERT INTO dkim_keys (domain_id, selector, private_key, value, state, created_at, due_at)
VALUES (:domain_id, :selector, :private_key, :value, :status, :now, :due_at)
ON CONFLICT DO NOTHING RETURNING id"""
FILL = """
UPDATE dkim_keys SET selector = :selector, private_key = :private_key, value = :value, state = 'signing',
  created_at = :now, due_at = NULL
WHERE domain_id = :domain_id AND state = 'wanted' RETURNING id"""
KEYS = """
SELECT selector, value, state, due_at FROM dkim_keys
WHERE domain_id = :domain_id AND state <> 'wanted' ORDER BY id"""
RECORD = """
SELECT value FROM domains JOIN dkim_keys ON dkim_keys.domain_id = domains.id
WHERE domains.name = :domain AND dkim_keys.selector = :selector AND domains.status <> 'pending'
  AND dkim_keys.state <> 'wanted'"""
OWNER = "SELECT organization_id, user_id, name FROM domains WHERE id = :domain_id"
RETIRE = """
UPDATE dkim_keys SET state = 'retiring', private_key = NULL, due_at = :until
WHERE domain_id = :domain_id AND state = 'signing' AND EXISTS (
  SELECT 1 FROM dkim_keys AS successor
  WHERE successor.domain_id = :domain_id AND successor.state = 'next' AND successor.selector = :selector)
RETURNING selector"""
PROMOTE = "UPDATE dkim_keys SET state = 'signing', due_at = NULL WHERE domain_id = :domain_id AND state = 'next'"
# Organizations take turns, so that an organization with many keys does not delay the others.
DUE = """
SELECT id, domain_id, name, selector, value, state, created_at FROM (
  SELECT dkim_keys.id, dkim_keys.domain_id, domains.name, dkim_keys.selector, dkim_keys.value, dkim_keys.state,
    dkim_keys.created_at, dkim_keys.due_at,
    ROW_NUMBER() OVER (PARTITION BY domains.organization_id ORDER BY dkim_keys.due_at, dkim_keys.id) AS turn
  FROM dkim_keys JOIN domains ON domains.id = dkim_keys.domain_id
  WHERE dkim_keys.due_at <= :now AND NOT EXISTS (
    SELECT 1 FROM leases WHERE kind = 'key' AND item = dkim_keys.id AND free_at > :now)) AS waiting
ORDER BY turn, due_at, id LIMIT :limit"""
IS_DUE = "SELECT 1 FROM dkim_keys WHERE id = :id AND due_at <= :now"
RESCHEDULE = "UPDATE dkim_keys SET due_at = :until WHERE id = :id AND state = 'next'"
FORGET = "DELETE FROM dkim_keys WHERE id = :id AND state = 'retiring'"
DROP = "DELETE FROM dkim_keys WHERE domain_id = :domain_id"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair that is not in the database yet. `value` is the TXT value of the public half."""

    selector: str
    private_key: str = field(repr=False)
    value: str


class Key(msgspec.Struct, frozen=True):
    """The public fields of a key. `until` is when the DNS record of a retiring key may be removed
    (ms since 1970)."""

    selector: str
    value: str
    state: State
    until: int | None


class Due(msgspec.Struct, frozen=True):
    """A key that needs work by the worker."""

    id: int
    domain_id: int
    domain: str
    selector: str | None
    value: str | None
    state: Literal["wanted", "next", "retiring"]
    created_at: int


def generate() -> NewKey:
    """Returns a new key. Takes up to 200 ms. The selector is random and almost certainly unique."""
    key = rsa.generate_private_key(65537, BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    random = "".join(secrets.choice(SELECTOR_ALPHABET) for _ in range(SELECTOR_RANDOM))
    selector = f"pr{time.strftime('%Y%m', time.gmtime())}{random}"
    return NewKey(selector, pem.decode(), f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}")


class Generator:
    """One thread that generates keys, and a short queue that no organization can fill alone: a key
    costs as much as a thousand reads."""

    def __init__(self, waiting: int = 32, waiting_of_one: int = 24) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dkim")
        self._most, self._most_of_one = waiting, waiting_of_one
        self._taken: Counter[int] = Counter()

    async def generate(self, organization_id: int) -> NewKey:
        """As the function `generate`, off the event loop. Raises Busy when the queue is full, or
        the organization's share of it."""
        if self._taken[organization_id] >= self._most_of_one or self._taken.total() >= self._most:
            raise Busy("Too many keys are being made at once.")
        self._taken[organization_id] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, generate)
        finally:
            self._taken[organization_id] -= 1
            self._taken += Counter()  # drops entries that are zero

    def close(self) -> None:
        """Ends the thread and cancels the queued work."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def record(tx: Tx, domain: str, selector: str) -> str | None:
    """Returns the TXT value of one of our keys, by the domain's name and the selector; None if
    there is no such key."""
    row = tx.one(RECORD, domain=domain, selector=selector)
    return str(row[0]) if row else None


def add(tx: Tx, domain_id: int, key: NewKey | None) -> None:
    """Gives a new domain its key. Without a key, the worker makes one within seconds."""
    if key:
        _add(tx, domain_id, key, "signing", None)
    else:
        tx.run(
            ADD,
            domain_id=domain_id,
            selector=None,
            private_key=None,
            value=None,
            status="wanted",
            due_at=tx.now,
            now=tx.now,
        )


def fill(tx: Tx, domain_id: int, key: NewKey) -> bool:
    """Fills the domain's `wanted` row with the key. Returns False if there is no such row."""
    values = {"selector": key.selector, "private_key": key.private_key, "value": key.value}
    return tx.one(FILL, domain_id=domain_id, now=tx.now, **values) is not None


def rotate(tx: Tx, actor: Actor, domain_id: int, key: NewKey) -> None:
    """Starts a rotation. Changes nothing while a rotation is under way."""
    if fill(tx, domain_id, key) or not _add(tx, domain_id, key, "next", tx.now + SHORTEST_MS):
        return
    _, user_id, name = _owner(tx, domain_id)
    data = {"domain": name, "selector": key.selector}
    events.record(tx, actor, "domain.dkim_rotated", domain_id=domain_id, user_id=user_id, data=data)


def switch(tx: Tx, domain_id: int, selector: str) -> bool:
    """Makes the next key sign, once the DNS shows it, and erases the old private key (decision
    0053). Returns False if the selector is not the next key's."""
    retired = tx.one(RETIRE, domain_id=domain_id, selector=selector, until=tx.now + RETIRING_MS)
    if retired is None:
        return False
    tx.run(PROMOTE, domain_id=domain_id)
    organization_id, user_id, name = _owner(tx, domain_id)
    data = {"domain": name, "from": retired[0], "to": selector}
    events.record(tx, Actor(organization_id), "domain.dkim_switched", domain_id=domain_id, user_id=user_id, data=data)
    return True


def drop(tx: Tx, domain_id: int) -> None:
    """Deletes every key of a domain that has ended, because its records may stay in the DNS
    forever."""
    tx.run(DROP, domain_id=domain_id)


def get_all(tx: Tx, domain_id: int) -> list[Key]:
    """Returns every key of a domain, oldest first."""
    return [
        Key(selector, value, state, due_at if state == "retiring" else None)
        for selector, value, state, due_at in tx.all(KEYS, domain_id=domain_id)
    ]


def records(tx: Tx, domain_id: int) -> list[DkimRecord]:
    """Returns the records that the DNS should have: the signing key's and the next key's."""
    keys = [key for key in get_all(tx, domain_id) if key.state != "retiring"]
    return [DkimRecord(key.selector, key.value, key.state == "signing") for key in keys]


def is_shown(value: str, found: Iterable[str]) -> bool:
    """Whether one of these TXT values publishes the same key, regardless of white space."""
    return any(_public_half(text) == _public_half(value) for text in found)


def due(tx: Tx, limit: int) -> list[Due]:
    """Returns up to `limit` keys that are wanted, wait for the DNS, or have been retiring long
    enough."""
    return [Due(*row) for row in tx.all(DUE, now=tx.now, limit=limit)]


def is_due(tx: Tx, id_: int) -> bool:
    """Whether a key is still due."""
    return tx.one(IS_DUE, id=id_, now=tx.now) is not None


def reschedule(tx: Tx, key: Due) -> None:
    """Schedules the next DNS check of a next key after half of its age, at least SHORTEST_MS and at
    most LONGEST_MS."""
    pause = min(max((tx.now - key.created_at) // 2, SHORTEST_MS), LONGEST_MS)
    tx.run(RESCHEDULE, id=key.id, until=tx.now + pause)


def forget(tx: Tx, key: Due) -> None:
    """Deletes a retired key."""
    tx.run(FORGET, id=key.id)


def _add(tx: Tx, domain_id: int, key: NewKey, state: State, due_at: int | None) -> bool:
    values = {"selector": key.selector, "private_key": key.private_key, "value": key.value}
    return tx.one(ADD, domain_id=domain_id, status=state, due_at=due_at, now=tx.now, **values) is not None


def _owner(tx: Tx, domain_id: int) -> tuple[int, str | None, str]:
    row = tx.one(OWNER, domain_id=domain_id)
    assert row, "a key has a domain"
    return row[0], row[1], row[2]


def _public_half(text: str) -> tuple[str, str]:
    """Returns the key type and public key of a TXT value (RFC 6376 3.6.1)."""
    tags = {name.strip(): value for name, _, value in (tag.partition("=") for tag in text.split(";"))}
    return tags.get("k", "rsa").strip(), "".join(tags.get("p", "").split())
