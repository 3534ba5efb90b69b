"""Domains: the names that accounts live on. A domain belongs to a user, or to nobody (a platform domain).

A stranger would get wrong: several claims of one name may be pending, only one row of a name is more than that.
"""

import secrets
from typing import Literal, get_args

import msgspec

from postroom import dkim, events, limits
from postroom.actor import Actor
from postroom.address import refused_domain
from postroom.db import Tx
from postroom.dkim import NewKey
from postroom.errors import FieldError, Refused, invalid, not_found

Status = Literal["pending", "active", "suspended"]
STATUSES: tuple[str, ...] = get_args(Status)

CLAIM_DAYS = 7
DAY_MS = 24 * 3600 * 1000
COLUMNS = "id, organization_id, user_id, name, status, token, activated_by, expires_at, degraded_at, degraded_reason"

# A platform domain matches every user of its organization; a claim that is active comes before one that is not.
FIND = f"""
SELECT {COLUMNS} FROM domains
WHERE organization_id = :organization AND name = :name AND deleted_at IS NULL
  AND COALESCE(user_id, :user_id, '') = COALESCE(:user_id, user_id, '')
  AND (CAST(:bound AS BIGINT) IS NULL OR id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY CASE status WHEN 'active' THEN 0 WHEN 'suspended' THEN 1 ELSE 2 END, id LIMIT 1"""
INSERT = f"""
INSERT INTO domains
  (organization_id, user_id, name, status, token, activated_by, expires_at, created_at, updated_at)
VALUES (:organization, :user_id, :name, :status, :token, :activated_by, :expires_at, :now, :now)
ON CONFLICT DO NOTHING RETURNING {COLUMNS}"""
SET_STATUS = """
UPDATE domains SET status = :status, activated_by = 'operator', expires_at = NULL, updated_at = :now
WHERE id = :id AND organization_id = :organization AND deleted_at IS NULL AND status <> :status
  AND (:status = 'pending' OR NOT EXISTS (
    SELECT 1 FROM domains AS other
    WHERE other.name = domains.name AND other.id <> domains.id AND other.status <> 'pending'))
RETURNING id"""
HOST = "SELECT name FROM mail_host WHERE id = 1"
LIST = f"SELECT {COLUMNS} FROM domains WHERE organization_id = :organization AND deleted_at IS NULL ORDER BY id"


class Domain(msgspec.Struct, frozen=True):
    """A managed domain, or a claim of one. `name` is the A-label; `token` is what its ownership record must hold."""

    id: int
    organization_id: int
    user_id: str | None
    name: str
    status: Status
    token: str | None
    activated_by: Literal["operator", "dns"] | None
    expires_at: int | None
    degraded_at: int | None
    degraded_reason: str | None


def find(tx: Tx, actor: Actor, name: str, user_id: str | None) -> Domain | None:
    """The domain of this name as the user sees it (None: the organization as a whole)."""
    row = tx.one(FIND, organization=actor.organization_id, name=name, user_id=user_id, bound=actor.bound)
    return Domain(*row) if row else None


def get(tx: Tx, actor: Actor, name: str, user_id: str | None) -> Domain:
    """As `find`. Raises not_found for a foreign or unknown one."""
    domain = find(tx, actor, name, user_id)
    if domain is None:
        raise not_found()
    return domain


def claim(tx: Tx, actor: Actor, name: str, user_id: str, key: NewKey | None = None) -> Domain:
    """A user's claim: pending until the DNS proves it, and it ends by itself. Raises as `create` does."""
    _check_new(tx, actor, name, user_id)
    return add(tx, actor, name, user_id, "pending", tx.now + CLAIM_DAYS * DAY_MS, key)


def create(tx: Tx, actor: Actor, name: str, user_id: str | None, status: Status, key: NewKey | None = None) -> Domain:
    """Makes a domain on the operator's word. Raises `domain_exists` when the name is claimed so already or another
    one owns it, and `invalid_request` for a name that nobody may claim."""
    _check_new(tx, actor, name, user_id)
    return add(tx, actor, name, user_id, status, key=key)


def _check_new(tx: Tx, actor: Actor, name: str, user_id: str | None) -> None:
    host = tx.one(HOST)
    if refused_domain(name, host[0] if host else ""):
        raise invalid(FieldError("domain", "refused_domain", "This name is nobody's to claim."))
    limits.check_domain(tx, actor.organization_id, user_id)


def add(
    tx: Tx,
    actor: Actor,
    name: str,
    user_id: str | None,
    status: Status,
    expires_at: int | None = None,
    key: NewKey | None = None,
) -> Domain:
    """As `create`, for any name: the mail host's own domain is made with it. Without a key the worker makes one."""
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        user_id=user_id,
        name=name,
        status=status,
        token=secrets.token_hex(16),
        activated_by=None if status == "pending" else "operator",
        expires_at=expires_at,
        now=tx.now,
    )
    if row is None:
        raise Refused("domain_exists", "This domain exists already.")
    domain = Domain(*row)
    dkim.add(tx, domain.id, key)
    data = {"domain": name, "status": status}
    events.record(tx, actor, "domain.created", domain_id=domain.id, user_id=user_id, data=data)
    return domain


def set_status(tx: Tx, actor: Actor, domain: Domain, status: Status) -> None:
    """Moves a domain to a status; the same one twice is nothing. Raises `domain_exists` for a second owner."""
    if domain.status == status:
        return
    if tx.one(SET_STATUS, id=domain.id, organization=actor.organization_id, status=status, now=tx.now) is None:
        raise Refused("domain_exists", "Another organization owns this domain.")
    data = {"domain": domain.name, "from": domain.status, "to": status}
    type_ = {"active": "domain.activated", "suspended": "domain.suspended", "pending": "domain.deactivated"}[status]
    events.record(tx, actor, type_, domain_id=domain.id, user_id=domain.user_id, data=data)


def get_all(tx: Tx, organization_id: int) -> list[Domain]:
    """Every domain of an organization."""
    return [Domain(*row) for row in tx.all(LIST, organization=organization_id)]
