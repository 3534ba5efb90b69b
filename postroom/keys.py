"""API keys: `pr_` and 256 random bits, stored as SHA-256, shown once.

A stranger would get wrong: a key is looked up at every request, never cached, so that a revoked one is refused
at once by every process.
"""

import hashlib
import secrets
from collections.abc import Sequence

import msgspec

from postroom import events
from postroom.actor import ALL_SCOPES, Actor
from postroom.db import Tx
from postroom.errors import not_found

MARK = "pr_"

INSERT = """
INSERT INTO api_keys (organization_id, prefix, digest, user_id, scopes, created_at, expires_at)
VALUES (:organization, :prefix, :digest, :user_id, :scopes, :now, :expires_at) RETURNING id"""
FIND = """
SELECT id, organization_id, user_id, scopes FROM api_keys
WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"""
LIST = """
SELECT api_keys.id, prefix, user_id, scopes, api_keys.created_at, expires_at, revoked_at
FROM api_keys WHERE organization_id = :organization ORDER BY api_keys.id"""
REVOKE = """
UPDATE api_keys SET revoked_at = :now
WHERE organization_id = :organization AND id = :id AND revoked_at IS NULL RETURNING id"""


class ApiKey(msgspec.Struct, frozen=True):
    """What may be shown of a key."""

    id: int
    prefix: str
    user_id: str | None
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    revoked_at: int | None


def digest(key: str) -> str:
    """What is stored of a key. SHA-256 is enough: the key itself has 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def authenticate(tx: Tx, key: str) -> Actor | None:
    """Who holds this key, or None when it is unknown, revoked or expired."""
    row = tx.one(FIND, digest=digest(key), now=tx.now)
    if row is None:
        return None
    key_id, organization_id, user_id, scopes = row
    return Actor(organization_id, frozenset(scopes.split()), user_id, key_id)


def create(
    tx: Tx,
    actor: Actor,
    *,
    user_id: str | None = None,
    scopes: Sequence[str] = ALL_SCOPES,
    expires_at: int | None = None,
) -> str:
    """Makes a key of the actor's organization and returns it; it cannot be read again."""
    key = MARK + secrets.token_urlsafe(32)
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        prefix=key[:10],
        digest=digest(key),
        user_id=user_id,
        scopes=" ".join(scopes),
        now=tx.now,
        expires_at=expires_at,
    )
    data = {"key_id": row[0] if row else None, "prefix": key[:10], "scopes": list(scopes)}
    events.record(tx, actor, "key.created", user_id=user_id, data=data)
    return key


def get_all(tx: Tx, organization_id: int) -> list[ApiKey]:
    """Every key of an organization, the revoked ones too."""
    rows = tx.all(LIST, organization=organization_id)
    return [ApiKey(row[0], row[1], row[2], tuple(row[3].split()), *row[4:]) for row in rows]


def revoke(tx: Tx, actor: Actor, key_id: int) -> None:
    """Ends a key. Raises not_found for a foreign, unknown or already revoked one."""
    if tx.one(REVOKE, organization=actor.organization_id, id=key_id, now=tx.now) is None:
        raise not_found()
    events.record(tx, actor, "key.revoked", data={"key_id": key_id})
