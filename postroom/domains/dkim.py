"""DKIM keys: made with each domain, rotated when asked (RFC 6376). A domain signs with one key;
while it rotates a next one waits until the DNS shows it.

`generate` takes up to 200 ms, so it never runs within a transaction. A domain that is made
without a key has a `wanted` one, which the worker fills in (decision 0052). The private key leaves
this table by one view only.
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
# Organizations take turns, so that one with many keys does not keep the others waiting.
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
POSTPONE = "UPDATE dkim_keys SET due_at = :until WHERE id = :id AND state = 'next'"
FORGET = "DELETE FROM dkim_keys WHERE id = :id AND state = 'retiring'"
DROP = "DELETE FROM dkim_keys WHERE domain_id = :domain_id"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key pair that is in no database yet. `value` is the TXT of the public half."""

    selector: str
    private_key: str = field(repr=False)
    value: str


class Key(msgspec.Struct, frozen=True):
    """A key as others may see it. `until` is when the record of a retiring one may go."""

    selector: str
    value: str
    state: State
    until: int | None


class Due(msgspec.Struct, frozen=True):
    """A key that the worker has to look at."""

    id: int
    domain_id: int
    domain: str
    selector: str | None
    value: str | None
    state: Literal["wanted", "next", "retiring"]
    created_at: int


def generate() -> NewKey:
    """A new key. Slow; the selector is unique in all likelihood."""
    key = rsa.generate_private_key(65537, BITS)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    random = "".join(secrets.choice(SELECTOR_ALPHABET) for _ in range(SELECTOR_RANDOM))
    selector = f"pr{time.strftime('%Y%m', time.gmtime())}{random}"
    return NewKey(selector, pem.decode(), f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}")


class Generator:
    """One thread that generates, and a short queue, of which nobody takes all: a key costs as
    much as a thousand reads."""

    def __init__(self, waiting: int = 32, waiting_of_one: int = 24) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="dkim")
        self._most, self._most_of_one = waiting, waiting_of_one
        self._taken: Counter[int] = Counter()

    async def generate(self, organization_id: int) -> NewKey:
        """As the function of this name, off the event loop. Raises Busy when too many wait
        already."""
        if self._taken[organization_id] >= self._most_of_one or self._taken.total() >= self._most:
            raise Busy("Too many keys are being made at once.")
        self._taken[organization_id] += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, generate)
        finally:
            self._taken[organization_id] -= 1
            self._taken += Counter()  # drops those that are at none

    def close(self) -> None:
        """Ends the thread; what still waits is cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def record(tx: Tx, domain: str, selector: str) -> str | None:
    """The TXT of a key of ours, by the domain's name and the selector that a signature names.
    None: there is none."""
    row = tx.one(RECORD, domain=domain, selector=selector)
    return str(row[0]) if row else None


def add(tx: Tx, domain_id: int, key: NewKey | None) -> None:
    """Gives a new domain its key; without one the worker makes it within seconds."""
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
    """Puts a key where one is wanted; False where none is."""
    values = {"selector": key.selector, "private_key": key.private_key, "value": key.value}
    return tx.one(FILL, domain_id=domain_id, now=tx.now, **values) is not None


def rotate(tx: Tx, actor: Actor, domain_id: int, key: NewKey) -> None:
    """Starts a rotation. While one is under way this changes nothing."""
    if fill(tx, domain_id, key) or not _add(tx, domain_id, key, "next", tx.now + SHORTEST_MS):
        return
    _, user_id, name = _owner(tx, domain_id)
    data = {"domain": name, "selector": key.selector}
    events.record(tx, actor, "domain.dkim_rotated", domain_id=domain_id, user_id=user_id, data=data)


def switch(tx: Tx, domain_id: int, selector: str) -> bool:
    """Lets the next key sign, once the DNS shows it; the old private key is erased (decision 0053).
    False where it is not the next."""
    retired = tx.one(RETIRE, domain_id=domain_id, selector=selector, until=tx.now + RETIRING_MS)
    if retired is None:
        return False
    tx.run(PROMOTE, domain_id=domain_id)
    organization_id, user_id, name = _owner(tx, domain_id)
    data = {"domain": name, "from": retired[0], "to": selector}
    events.record(tx, Actor(organization_id), "domain.dkim_switched", domain_id=domain_id, user_id=user_id, data=data)
    return True


def drop(tx: Tx, domain_id: int) -> None:
    """Erases every key of a domain that has ended: its records may stay in the DNS for ever."""
    tx.run(DROP, domain_id=domain_id)


def get_all(tx: Tx, domain_id: int) -> list[Key]:
    """Every key of a domain, oldest first."""
    return [
        Key(selector, value, state, due_at if state == "retiring" else None)
        for selector, value, state, due_at in tx.all(KEYS, domain_id=domain_id)
    ]


def records(tx: Tx, domain_id: int) -> list[DkimRecord]:
    """What the DNS should have: the key that signs, and the next one."""
    keys = [key for key in get_all(tx, domain_id) if key.state != "retiring"]
    return [DkimRecord(key.selector, key.value, key.state == "signing") for key in keys]


def is_shown(value: str, found: Iterable[str]) -> bool:
    """Whether one of these TXT values publishes the same key, however it is spaced."""
    return any(_public_half(text) == _public_half(value) for text in found)


def due(tx: Tx, limit: int) -> list[Due]:
    """Keys that are wanted, wait for the DNS or have retired for long enough."""
    return [Due(*row) for row in tx.all(DUE, now=tx.now, limit=limit)]


def is_due(tx: Tx, id_: int) -> bool:
    """Whether a key is (still) to be looked after."""
    return tx.one(IS_DUE, id=id_, now=tx.now) is not None


def postpone(tx: Tx, key: Due) -> None:
    """Asks for a next key again: after half of the time that it has waited."""
    pause = min(max((tx.now - key.created_at) // 2, SHORTEST_MS), LONGEST_MS)
    tx.run(POSTPONE, id=key.id, until=tx.now + pause)


def forget(tx: Tx, key: Due) -> None:
    """Drops a key that has retired."""
    tx.run(FORGET, id=key.id)


def _add(tx: Tx, domain_id: int, key: NewKey, state: State, due_at: int | None) -> bool:
    values = {"selector": key.selector, "private_key": key.private_key, "value": key.value}
    return tx.one(ADD, domain_id=domain_id, status=state, due_at=due_at, now=tx.now, **values) is not None


def _owner(tx: Tx, domain_id: int) -> tuple[int, str | None, str]:
    row = tx.one(OWNER, domain_id=domain_id)
    assert row, "a key has a domain"
    return row[0], row[1], row[2]


def _public_half(text: str) -> tuple[str, str]:
    """Key type and public key of a TXT (RFC 6376 3.6.1)."""
    tags = {name.strip(): value for name, _, value in (tag.partition("=") for tag in text.split(";"))}
    return tags.get("k", "rsa").strip(), "".join(tags.get("p", "").split())
