"""Answers of writes with an Idempotency-Key, kept in the transaction of the change, for retries.

There is no row for a request that is still running. The row is claimed at the beginning
of the transaction that fills it, so a crash leaves both the change and its answer, or neither
(decision 0054).
"""

import hmac
import os
from base64 import b64decode, b64encode

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from postroom.actor import Actor
from postroom.db import Tx
from postroom.errors import Refused

KEPT_MS = 24 * 3600 * 1000
INFO = b"postroom idempotency 1"
NONCE = 12

FIND = """
SELECT request, answer FROM idempotent_answers
WHERE key_id = :key_id AND name = :name AND organization_id = :organization AND expires_at > :now"""
# The key decides: of two transactions the later one waits for the earlier and gets no row, unless
# that row is over.
CLAIM = """
INSERT INTO idempotent_answers (organization_id, key_id, name, request, answer, expires_at)
VALUES (:organization, :key_id, :name, :request, '', :expires_at)
ON CONFLICT (key_id, name) DO UPDATE SET request = excluded.request, answer = '', expires_at = excluded.expires_at
WHERE idempotent_answers.organization_id = :organization AND idempotent_answers.expires_at <= :now
RETURNING id"""
FILL = """
UPDATE idempotent_answers SET answer = :answer
WHERE key_id = :key_id AND name = :name AND organization_id = :organization"""
DUE = """
SELECT id FROM idempotent_answers WHERE expires_at <= :now AND NOT EXISTS (
  SELECT 1 FROM leases WHERE kind = 'answer' AND item = idempotent_answers.id AND free_at > :now)
ORDER BY expires_at LIMIT 200"""
DELETE = "DELETE FROM idempotent_answers WHERE id = :id AND expires_at <= :now"
# Answers that an organization may have; beyond, the oldest go before their time is over.
MOST = 100_000
# Answers that are removed in one transaction.
STEP = 200
SPENT = """
SELECT organizations.id, (
  SELECT id FROM idempotent_answers WHERE organization_id = organizations.id AND id > 0
  ORDER BY id DESC LIMIT 1 OFFSET :most)
FROM organizations WHERE organizations.id > 0"""
TRIM = """
DELETE FROM idempotent_answers WHERE id IN (
  SELECT id FROM idempotent_answers WHERE organization_id = :organization AND id <= :last ORDER BY id LIMIT :limit)
RETURNING id"""


class Attempt(msgspec.Struct, frozen=True):
    """One arrival of a request with an Idempotency-Key. Arrivals of the same request are equal."""

    organization_id: int
    key_id: int
    name: str
    request: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Attempt({self.key_id})"


class Answered(Exception):
    """Another transaction has already answered this Idempotency-Key; nothing was done."""


def attempt(actor: Actor, credential: str, idempotency_key: bytes, request: bytes) -> Attempt:
    """A request, identified by its Idempotency-Key and its credential: the API key, or the token
    of a session. Neither contains NUL, so their concatenation is unambiguous."""
    if actor.key_id is None:
        raise LookupError("an Idempotency-Key without an API key")
    derived = HKDF(SHA256(), 96, None, INFO).derive(credential.encode() + b"\0" + idempotency_key)
    name, secret, signing = derived[:32], derived[32:64], derived[64:]
    return Attempt(
        actor.organization_id, actor.key_id, name.hex(), hmac.digest(signing, request, "sha256").hex(), secret
    )


def find(tx: Tx, tried: Attempt) -> bytes | None:
    """The answer of an earlier attempt. Raises `idempotency_key_reused` when that was another
    request."""
    row = tx.one(FIND, organization=tried.organization_id, key_id=tried.key_id, name=tried.name, now=tx.now)
    if row is None:
        return None
    request, answer = row
    if request != tried.request:
        raise Refused("idempotency_key_reused", "This Idempotency-Key was used for another request: send a new one.")
    sealed = b64decode(answer)
    return AESGCM(tried.secret).decrypt(sealed[:NONCE], sealed[NONCE:], _bound_to(tried))


def claim(tx: Tx, tried: Attempt) -> None:
    """Takes the Idempotency-Key for this transaction. Raises Answered when another one has it."""
    taken = tx.one(
        CLAIM,
        organization=tried.organization_id,
        key_id=tried.key_id,
        name=tried.name,
        request=tried.request,
        expires_at=tx.now + KEPT_MS,
        now=tx.now,
    )
    if taken is None:
        raise Answered


def fill(tx: Tx, tried: Attempt, answer: bytes) -> None:
    """Keeps the answer under the claim of this transaction."""
    nonce = os.urandom(NONCE)
    sealed = nonce + AESGCM(tried.secret).encrypt(nonce, answer, _bound_to(tried))
    tx.run(
        FILL,
        organization=tried.organization_id,
        key_id=tried.key_id,
        name=tried.name,
        answer=b64encode(sealed).decode(),
    )


def due(tx: Tx) -> list[int]:
    """Answers whose time is over, some at a time."""
    return [row[0] for row in tx.all(DUE, now=tx.now)]


def prune(tx: Tx, ids: list[int]) -> None:
    """Forgets them, but for those that have been claimed anew meanwhile."""
    for id_ in ids:
        tx.run(DELETE, id=id_, now=tx.now)


def spent(tx: Tx, most: int = MOST) -> dict[int, int]:
    """For each organization that has more answers than it may: the id of the newest one that is
    to go."""
    return {organization: last for organization, last in tx.all(SPENT, most=most) if last is not None}


def trim(tx: Tx, organization: int, last: int) -> int:
    """Forgets the oldest answers of an organization up to this id, STEP of them at most. How
    many it were."""
    return len(tx.all(TRIM, organization=organization, last=last, limit=STEP))


def _bound_to(tried: Attempt) -> bytes:
    """An answer cannot be moved to another row."""
    return f"{tried.key_id} {tried.name} {tried.request}".encode()
