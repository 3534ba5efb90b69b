"""How DNS checks change a domain: a claim is proven; a domain degrades, recovers, or is lost.

A domain that the operator has decided on (`activated_by` is `operator`) stays as it is (decision
0047).
"""

from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import check_schedule, dkim
from postroom.domains.commands import CLAIM_DAYS, COLUMNS, DAY_MS, LOCK_NAME, Domain, new_token, record
from postroom.mailboxes import session_revocations

OF_ID = f"SELECT {COLUMNS} FROM domains WHERE id = :id AND deleted_at IS NULL"
PROVEN = """
WHERE id = :id AND organization_id = :organization AND token = :token AND status = 'pending' AND deleted_at IS NULL
  AND activated_by IS NULL"""
LOCK_CLAIM = f"UPDATE domains SET updated_at = updated_at {PROVEN} RETURNING id"
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
    """Returns a domain that is not deleted, of any organization, for background work. Not for
    requests, because nothing is checked against an actor."""
    row = tx.one(OF_ID, id=id_)
    return Domain(*row) if row else None


def is_for_dns(domain: Domain) -> bool:
    """Whether DNS checks decide on the domain."""
    return domain.activated_by != "operator" and domain.token is not None


def prove(tx: Tx, actor: Actor, domain: Domain) -> bool:
    """Activates a claim whose token and records were found; `domain` is the claim as it was before
    the check. A previous owner that was activated by DNS loses the domain. Returns False if the
    claim stays pending, because it has changed in the meantime or the operator gave the name to
    another owner."""
    tx.run(LOCK_NAME, name=domain.name)
    proof = {"id": domain.id, "organization": actor.organization_id, "token": domain.token}
    if tx.one(LOCK_CLAIM, **proof) is None:
        return False
    lost = tx.one(CUT_OFF, name=domain.name, id=domain.id, now=tx.now, **_claim_anew(tx))
    if tx.one(ACTIVATE, **proof, now=tx.now) is None:
        return False
    if lost is not None:
        _tell_of_loss(tx, Domain(*lost), {})
    record(tx, actor, "domain.activated", domain, {"from": "pending", "to": "active"})
    return True


def watch(tx: Tx, domain: Domain, is_elsewhere: bool | None) -> None:
    """Records since when the DNS of an active domain has led elsewhere. None, for a check without
    an answer, changes nothing."""
    if is_elsewhere:
        tx.run(GOES_ELSEWHERE, id=domain.id, now=tx.now)
    elif is_elsewhere is False:
        tx.run(COMES_BACK, id=domain.id)


def lose(tx: Tx, domain: Domain, lost_ms: int) -> bool:
    """Makes an active domain a pending claim again if its DNS has led elsewhere for `lost_ms`
    milliseconds, so that mail from this server's other users does not end up with its former owner.
    The owner's accounts and their mail stay, as after another claim is proven. Returns whether the
    domain was lost."""
    tx.run(LOCK_NAME, name=domain.name)
    lost = tx.one(LOSE, id=domain.id, before=tx.now - lost_ms, now=tx.now, **_claim_anew(tx))
    if lost is not None:
        _tell_of_loss(tx, Domain(*lost), {"reason": "mx elsewhere"})
    return lost is not None


def _claim_anew(tx: Tx) -> dict[str, str | int]:
    """The values that a claim begins with: a token that nobody has published (decision 0045), and
    an expiry time."""
    return {"token": new_token(), "expires_at": tx.now + CLAIM_DAYS * DAY_MS}


def _tell_of_loss(tx: Tx, lost: Domain, why: dict[str, str]) -> None:
    """Ends the sessions of the domain's accounts and tells the old owner of the loss, but nothing
    about the new owner."""
    session_revocations.end_domain(tx, lost.id)
    check_schedule.schedule(tx, lost.id, tx.now + check_schedule.FIRST_MS)
    record(tx, Actor(lost.organization_id), "domain.lost", lost, {"from": "active", "to": "pending", **why})


def degrade(tx: Tx, actor: Actor, domain: Domain, reason: str) -> None:
    """Marks an active domain as degraded because its records are wrong. Its mail continues."""
    if tx.one(DEGRADE, id=domain.id, reason=reason, now=tx.now):
        record(tx, actor, "domain.degraded", domain, {"reason": reason})


def recover(tx: Tx, actor: Actor, domain: Domain) -> None:
    """Removes the degraded mark, if there is one."""
    if tx.one(RECOVER, id=domain.id, now=tx.now):
        record(tx, actor, "domain.recovered", domain, {})


def expired(tx: Tx) -> list[int]:
    """Returns up to 100 claims that have expired and that no worker has leased."""
    return [row[0] for row in tx.all(EXPIRED, now=tx.now)]


def expire(tx: Tx, id_: int) -> None:
    """Ends a claim that has expired and has no accounts. Any other domain stays as it is."""
    row = tx.one(EXPIRE, id=id_, now=tx.now)
    if row is not None:
        domain = Domain(*row)
        check_schedule.drop(tx, domain.id)
        dkim.drop(tx, domain.id)
        record(tx, Actor(domain.organization_id), "domain.expired", domain, {})
