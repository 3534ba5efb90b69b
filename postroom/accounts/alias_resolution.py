"""What would happen now to mail to an address. The daemons' views decide, as for real mail."""

from typing import Literal

import msgspec

from postroom.accounts import aliases
from postroom.actor import Actor
from postroom.address import Address
from postroom.db import Tx
from postroom.domains import commands as domains

Reason = Literal["unknown", "disabled", "resting", "domain_pending"]
HELD = """
SELECT account_id, alias_id, rests_until, user_id, (
  SELECT kind FROM aliases WHERE id = addresses.alias_id AND organization_id = :organization)
FROM addresses WHERE domain_id = :domain_id AND local_part = :local_part"""
TARGETS = "SELECT target FROM mail_aliases WHERE local_part = :local_part AND domain = :domain"
CAUGHT = "SELECT target FROM mail_catch_alls WHERE domain = :domain"
REFUSED = "SELECT action FROM mail_refusals WHERE local_part = :local_part AND domain = :domain"
SEEN = """
SELECT id FROM accounts
WHERE id = :id AND organization_id = :organization AND user_id = COALESCE(:user_id, user_id)
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""


class Resolution(msgspec.Struct, frozen=True):
    """Where mail to an address would go. `reason` says why mail is refused; None if it is
    accepted."""

    address: str
    kind: Literal["account", "alias", "group", "catch_all", "former", "none"]
    account_ids: tuple[int, ...]
    accepted: bool
    reason: Reason | None


def resolve(tx: Tx, actor: Actor, address: Address, user_id: str | None) -> Resolution:
    """Returns what would happen to mail to an address without its tag. An address that another
    user has on a platform domain looks like one that nobody has. Raises not_found for a foreign or
    unknown domain."""
    domain = domains.get(tx, actor, address.domain, user_id)
    if domain.status == "pending":
        return _refused(address, "domain_pending")
    held = tx.one(HELD, organization=actor.organization_id, domain_id=domain.id, local_part=address.local_part)
    if held is not None and user_id is not None and held[3] != user_id:
        return _refused(address, "unknown")
    if tx.one(REFUSED, local_part=address.local_part, domain=address.domain):
        return _refused(address, *_why(tx, actor, held))
    kind = "account" if held is None or held[0] else held[4]
    rows = tx.all(TARGETS, local_part=address.local_part, domain=address.domain)
    if not rows:
        kind, rows = "catch_all", tx.all(CAUGHT, domain=address.domain)
    ids = sorted(int(target.partition("@")[0]) for (target,) in rows if target)
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    seen = tuple(id_ for id_ in ids if tx.one(SEEN, id=id_, **whose))
    # Mail to postmaster@ may go to the operator, whose account nobody else sees.
    if not ids or (kind != "account" and not seen):
        return _refused(address, "unknown")
    return msgspec.convert(
        {"address": str(address), "kind": kind, "account_ids": seen, "accepted": True, "reason": None}, Resolution
    )


def _why(tx: Tx, actor: Actor, held: tuple[object, ...] | None) -> tuple[Reason, str, tuple[int, ...]]:
    if held is None:
        return "unknown", "none", ()
    account_id, alias_id, _, _, kind = held
    if isinstance(account_id, int):
        return "disabled", "account", (account_id,)
    if isinstance(alias_id, int):
        ids = aliases.members(tx, actor.organization_id, alias_id)
        return ("disabled" if ids else "unknown"), str(kind), ids
    return "resting", "none", ()


def _refused(address: Address, reason: Reason, kind: str = "none", account_ids: tuple[int, ...] = ()) -> Resolution:
    return msgspec.convert(
        {"address": str(address), "kind": kind, "account_ids": account_ids, "accepted": False, "reason": reason},
        Resolution,
    )
