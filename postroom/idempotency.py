"""Stored answers to writes that carry an Idempotency-Key, for retries.

An answer is stored in the transaction of its change. A request that is still running has no
row: its transaction claims the row at the beginning and fills it at the end. A crash therefore
leaves both the change and its answer, or neither (decision 0054).
"""

import hmac
import mmap
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
# The unique key (key_id, name) decides between two transactions: the later one waits for the
# earlier one and then gets no row, unless the existing row has expired.
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
# Largest number of answers kept for an organization; beyond it the oldest are removed early.
MOST = 100_000
# Largest number of answers that one transaction removes.
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
    """One arrival of a request with an Idempotency-Key. Two arrivals of the same request compare
    equal."""

    organization_id: int
    key_id: int
    name: str
    request: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Attempt({self.key_id})"


class Answered(Exception):
    """Another transaction has already answered this Idempotency-Key; nothing was done."""


def attempt(
    actor: Actor, credential: str, idempotency_key: bytes, request: bytes, body: bytes | mmap.mmap = b""
) -> Attempt:
    """Returns the attempt that the Idempotency-Key and the credential identify; the credential is
    the API key or a secret that stands for it. Neither of the two contains NUL, so their
    concatenation is unambiguous. `request` is what precedes the body. Raises LookupError for an
    actor without an API key."""
    if actor.key_id is None:
        raise LookupError("an Idempotency-Key without an API key")
    derived = HKDF(SHA256(), 96, None, INFO).derive(credential.encode() + b"\0" + idempotency_key)
    name, secret, signing = derived[:32], derived[32:64], derived[64:]
    signed = hmac.new(signing, request, "sha256")
    signed.update(body)
    return Attempt(actor.organization_id, actor.key_id, name.hex(), signed.hexdigest(), secret)


def find(tx: Tx, tried: Attempt) -> bytes | None:
    """Returns the answer to an earlier attempt, or None. Raises `idempotency_key_reused` if the
    earlier attempt was a different request."""
    row = tx.one(FIND, organization=tried.organization_id, key_id=tried.key_id, name=tried.name, now=tx.now)
    if row is None:
        return None
    request, answer = row
    if request != tried.request:
        raise reused()
    sealed = b64decode(answer)
    return AESGCM(tried.secret).decrypt(sealed[:NONCE], sealed[NONCE:], _bound_to(tried))


def reused() -> Refused:
    return Refused("idempotency_key_reused", "This Idempotency-Key was used for another request: send a new one.")


def claim(tx: Tx, tried: Attempt) -> None:
    """Takes the Idempotency-Key for this transaction. Raises Answered if another transaction has
    taken it."""
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
    """Stores the encrypted answer in the row that this transaction has claimed."""
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
    """Returns the ids of expired answers, at most 200."""
    return [row[0] for row in tx.all(DUE, now=tx.now)]


def prune(tx: Tx, ids: list[int]) -> None:
    """Deletes these answers, except those that have been claimed again meanwhile."""
    for id_ in ids:
        tx.run(DELETE, id=id_, now=tx.now)


def spent(tx: Tx, most: int = MOST) -> dict[int, int]:
    """Returns, for each organization with more than `most` answers, the id of the newest answer to
    remove."""
    return {organization: last for organization, last in tx.all(SPENT, most=most) if last is not None}


def trim(tx: Tx, organization: int, last: int) -> int:
    """Deletes the oldest answers of an organization up to the id `last`, at most STEP of them.
    Returns the number of deleted answers."""
    return len(tx.all(TRIM, organization=organization, last=last, limit=STEP))


def _bound_to(tried: Attempt) -> bytes:
    """Returns data that binds an encrypted answer to its row, so that it cannot be decrypted in
    another one."""
    return f"{tried.key_id} {tried.name} {tried.request}".encode()
