"""What the DNS decides about a domain: a claim is proven, a domain is degraded, recovers, or is
lost.

A domain that the operator has decided on stays as it is (decision 0047): its `activated_by` is
`operator`.
"""

from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import check_schedule, dkim
from postroom.domains.commands import CLAIM_DAYS, COLUMNS, DAY_MS, HOLD_NAME, Domain, new_token, record
from postroom.mailboxes import session_revocations

OF_ID = f"SELECT {COLUMNS} FROM domains WHERE id = :id AND deleted_at IS NULL"
PROVEN = """
WHERE id = :id AND organization_id = :organization AND token = :token AND status = 'pending' AND deleted_at IS NULL
  AND activated_by IS NULL"""
HOLD_CLAIM = f"UPDATE domains SET updated_at = updated_at {PROVEN} RETURNING id"
AS_A_CLAIM = """
  status = 'pending', activated_by = NULL, token = :token, degraded_at = NULL, degraded_reason = NULL,
  elsewhere_at = NULL, updated_at = :now, expires_at = CASE
    WHEN EXISTS (SELECT 1 FROM accounts WHERE domain_id = domains.id AND deleted_at IS NULL) THEN NULL
    ELSE CAST(:expires_at AS BIGINT) END"""
CUT_OFF = f"""
UPDATE domains SET {AS_A_CLAIM}
WHERE name = :name AND status <> 'pending' AND status = 'active' AND activated_by = 'dns' AND id <> :id
RETURNING {COLUMNS}"""
LOSE = f"""
UPDATE domains SET {AS_A_CLAIM}
WHERE id = :id AND status = 'active' AND activated_by = 'dns' AND degraded_at <= :before AND elsewhere_at <= :before
RETURNING {COLUMNS}"""
GOES_ELSEWHERE = """
UPDATE domains SET elsewhere_at = :now
WHERE id = :id AND status = 'active' AND activated_by = 'dns' AND elsewhere_at IS NULL"""
COMES_BACK = "UPDATE domains SET elsewhere_at = NULL WHERE id = :id AND elsewhere_at IS NOT NULL"
ACTIVATE = f"""
UPDATE domains SET status = 'active', activated_by = 'dns', expires_at = NULL, updated_at = :now {PROVEN}
  AND NOT EXISTS (SELECT 1 FROM domains AS other WHERE other.name = domains.name AND other.status <> 'pending')
RETURNING {COLUMNS}"""
DEGRADE = """
UPDATE domains SET degraded_at = :now, degraded_reason = :reason, updated_at = :now
WHERE id = :id AND status = 'active' AND activated_by = 'dns' AND degraded_at IS NULL RETURNING id"""
RECOVER = """
UPDATE domains SET degraded_at = NULL, degraded_reason = NULL, updated_at = :now
WHERE id = :id AND status = 'active' AND activated_by = 'dns' AND degraded_at IS NOT NULL RETURNING id"""
EXPIRED = """
SELECT id FROM domains
WHERE expires_at <= :now AND status = 'pending' AND deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM accounts WHERE domain_id = domains.id AND deleted_at IS NULL)
  AND NOT EXISTS (SELECT 1 FROM leases WHERE kind = 'claim' AND item = domains.id AND free_at > :now)
ORDER BY expires_at LIMIT 100"""
EXPIRE = f"""
UPDATE domains SET deleted_at = :now, expires_at = NULL, token = NULL, updated_at = :now
WHERE id = :id AND expires_at <= :now AND status = 'pending' AND deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM accounts WHERE domain_id = domains.id AND deleted_at IS NULL)
RETURNING {COLUMNS}"""


def of_id(tx: Tx, id_: int) -> Domain | None:
    """A domain that is there, for work that nobody asks for. Not for a caller: it belongs to any
    organization."""
    row = tx.one(OF_ID, id=id_)
    return Domain(*row) if row else None


def is_for_dns(domain: Domain) -> bool:
    """Whether the DNS decides on it."""
    return domain.activated_by != "operator" and domain.token is not None


def prove(tx: Tx, actor: Actor, domain: Domain) -> bool:
    """Makes a claim active whose token and records were found, as `domain` was before it was
    looked for. An owner who is so by DNS is cut off for it. False: it stays pending, because it
    has changed meanwhile or the operator has given the name to another one."""
    tx.run(HOLD_NAME, name=domain.name)
    proof = {"id": domain.id, "organization": actor.organization_id, "token": domain.token}
    if tx.one(HOLD_CLAIM, **proof) is None:
        return False
    lost = tx.one(CUT_OFF, name=domain.name, id=domain.id, now=tx.now, **_claim_anew(tx))
    if tx.one(ACTIVATE, **proof, now=tx.now) is None:
        return False
    if lost is not None:
        _tell_of_loss(tx, Domain(*lost), {})
    record(tx, actor, "domain.activated", domain, {"from": "pending", "to": "active"})
    return True


def watch(tx: Tx, domain: Domain, is_elsewhere: bool | None) -> None:
    """Writes down since when the DNS of an active domain leads elsewhere; None, no answer of it,
    changes nothing."""
    if is_elsewhere:
        tx.run(GOES_ELSEWHERE, id=domain.id, now=tx.now)
    elif is_elsewhere is False:
        tx.run(COMES_BACK, id=domain.id)


def lose(tx: Tx, domain: Domain, lost_ms: int) -> bool:
    """Takes an active domain from an owner who has not had it in the DNS for `lost_ms`
    milliseconds: mail of others on this server must not end with him. His accounts and their
    mail stay, as when another claim was proven."""
    tx.run(HOLD_NAME, name=domain.name)
    lost = tx.one(LOSE, id=domain.id, before=tx.now - lost_ms, now=tx.now, **_claim_anew(tx))
    if lost is not None:
        _tell_of_loss(tx, Domain(*lost), {"reason": "mx elsewhere"})
    return lost is not None


def _claim_anew(tx: Tx) -> dict[str, str | int]:
    """What a claim begins with: a token that nobody has published (decision 0045), and an end."""
    return {"token": new_token(), "expires_at": tx.now + CLAIM_DAYS * DAY_MS}


def _tell_of_loss(tx: Tx, lost: Domain, why: dict[str, str]) -> None:
    """The old owner learns that it is lost, and nothing about the new one."""
    session_revocations.end_domain(tx, lost.id)
    check_schedule.schedule(tx, lost.id, tx.now + check_schedule.FIRST_MS)
    record(tx, Actor(lost.organization_id), "domain.lost", lost, {"from": "active", "to": "pending", **why})


def degrade(tx: Tx, actor: Actor, domain: Domain, reason: str) -> None:
    """Marks an active domain whose records are wrong. Its mail goes on."""
    if tx.one(DEGRADE, id=domain.id, reason=reason, now=tx.now):
        record(tx, actor, "domain.degraded", domain, {"reason": reason})


def recover(tx: Tx, actor: Actor, domain: Domain) -> None:
    """Takes the mark away; without one that is nothing."""
    if tx.one(RECOVER, id=domain.id, now=tx.now):
        record(tx, actor, "domain.recovered", domain, {})


def expired(tx: Tx) -> list[int]:
    """Claims whose time is over."""
    return [row[0] for row in tx.all(EXPIRED, now=tx.now)]


def expire(tx: Tx, id_: int) -> None:
    """Ends a claim whose time is over and that has no accounts; any other one stays."""
    row = tx.one(EXPIRE, id=id_, now=tx.now)
    if row is not None:
        domain = Domain(*row)
        check_schedule.drop(tx, domain.id)
        dkim.drop(tx, domain.id)
        record(tx, Actor(domain.organization_id), "domain.expired", domain, {})
