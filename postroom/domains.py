"""Domains: the names that accounts live on. A domain belongs to a user, or to nobody (a platform domain).

A stranger would get wrong: several claims of one name may be pending, only one row of a name is more than that.
"""

from typing import Literal, get_args

import msgspec

from postroom import events, limits
from postroom.actor import Actor
from postroom.address import refused_domain
from postroom.db import Tx
from postroom.errors import FieldError, Refused, invalid, not_found

Status = Literal["pending", "active", "suspended"]
STATUSES: tuple[str, ...] = get_args(Status)

# A platform domain matches every user of its organization; a claim that is active comes before one that is not.
FIND = """
SELECT id, organization_id, user_id, name, status FROM domains
WHERE organization_id = :organization AND name = :name
  AND COALESCE(user_id, :user_id, '') = COALESCE(:user_id, user_id, '')
  AND (CAST(:bound AS BIGINT) IS NULL OR id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY CASE status WHEN 'active' THEN 0 WHEN 'suspended' THEN 1 ELSE 2 END, id LIMIT 1"""
INSERT = """
INSERT INTO domains (organization_id, user_id, name, status, created_at, updated_at)
VALUES (:organization, :user_id, :name, :status, :now, :now)
ON CONFLICT DO NOTHING RETURNING id, organization_id, user_id, name, status"""
SET_STATUS = """
UPDATE domains SET status = :status, updated_at = :now
WHERE id = :id AND organization_id = :organization AND status <> :status
  AND (:status = 'pending' OR NOT EXISTS (
    SELECT 1 FROM domains AS other
    WHERE other.name = domains.name AND other.id <> domains.id AND other.status <> 'pending'))
RETURNING id"""
HOST = "SELECT name FROM mail_host WHERE id = 1"
LIST = (
    "SELECT id, organization_id, user_id, name, status FROM domains WHERE organization_id = :organization ORDER BY id"
)


class Domain(msgspec.Struct, frozen=True):
    """A managed domain, or a claim of one. `name` is the A-label."""

    id: int
    organization_id: int
    user_id: str | None
    name: str
    status: Status


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


def create(tx: Tx, actor: Actor, name: str, user_id: str | None, status: Status) -> Domain:
    """Makes a domain. Raises `domain_exists` when the name is claimed so already or another one owns it, and
    `invalid_request` for a name that nobody may claim."""
    host = tx.one(HOST)
    if refused_domain(name, host[0] if host else ""):
        raise invalid(FieldError("domain", "refused_domain", "This name is nobody's to claim."))
    limits.check_domain(tx, actor.organization_id, user_id)
    return add(tx, actor, name, user_id, status)


def add(tx: Tx, actor: Actor, name: str, user_id: str | None, status: Status) -> Domain:
    """As `create`, for any name: the mail host's own domain is made with it."""
    row = tx.one(INSERT, organization=actor.organization_id, user_id=user_id, name=name, status=status, now=tx.now)
    if row is None:
        raise Refused("domain_exists", "This domain exists already.")
    domain = Domain(*row)
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
