"""Consents: names below a domain that its owner lets other organizations have.

A consent names nobody and activates nothing. A claimant must prove the name like any other
(decision 0035), and neither the owner nor the claimant learns of the other.
"""

from collections.abc import Iterator

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains.commands import Domain
from postroom.errors import FieldError, LimitReached, Refused, invalid

GIVE = """
INSERT INTO domain_consents (parent_id, name, created_at) VALUES (:parent, :name, :now)
ON CONFLICT (parent_id, name) DO NOTHING RETURNING name"""
# Names below one domain that it may give away.
MOST = 1000
COUNT = "SELECT COUNT(*) FROM domain_consents WHERE parent_id = :parent"
IS_GIVEN = "SELECT 1 FROM domain_consents WHERE parent_id = :parent AND name = :name"
FOREIGN_PARENT = """
SELECT id FROM domains WHERE name = :name AND status <> 'pending' AND organization_id <> :organization"""


def give(tx: Tx, actor: Actor, parent: Domain, name: str) -> None:
    """Lets a name below the domain be somebody else's. The same again is nothing. Raises
    `domain_not_active`, LimitReached."""
    if parent.name not in _above(name):
        raise invalid(FieldError("subdomain", "invalid", "This name is not below the domain."))
    if parent.status == "pending":
        raise Refused(
            "domain_not_active",
            "The domain is pending. A consent needs a proven one: POST /v2/domains/:domain/verify.",
        )
    if tx.one(GIVE, parent=parent.id, name=name, now=tx.now) is not None:
        if (tx.one(COUNT, parent=parent.id) or (0,))[0] > MOST:
            raise LimitReached("consents", MOST, "a domain gives no more names away")
        data = {"domain": parent.name, "subdomain": name}
        events.record(tx, actor, "domain.consented", domain_id=parent.id, user_id=parent.user_id, data=data)


def is_given(tx: Tx, parent_id: int, name: str) -> bool:
    """Whether the parent's owner has consented to this name, or to one above it."""
    return any(tx.one(IS_GIVEN, parent=parent_id, name=each) for each in (name, *_above(name)))


def blocked_by_parent(tx: Tx, domain: Domain) -> bool:
    """Whether another organization has a name above this one and has not consented."""
    for name in _above(domain.name):
        parent = tx.one(FOREIGN_PARENT, name=name, organization=domain.organization_id)
        if parent is not None and not is_given(tx, parent[0], domain.name):
            return True
    return False


def _above(name: str) -> Iterator[str]:
    """The names above this one, the nearest first, without top-level domains."""
    while (name := name.partition(".")[2]).count("."):
        yield name
