"""What would happen now to mail to an address. The daemons' views decide, as for real mail."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from postroom.accounts import aliases, hidden_accounts
from postroom.actor import Actor
from postroom.address import Address
from postroom.db import Row, Tx
from postroom.domains import commands as domains

Reason = Literal["unknown", "disabled", "quarantine", "over_quota", "domain_pending"]
HELD = """
SELECT account_id, alias_id, rests_until, user_id, (
  SELECT kind FROM aliases WHERE id = addresses.alias_id AND organization_id = :organization)
FROM addresses WHERE domain_id = :domain_id AND local_part = :local_part"""
TARGETS = "SELECT target FROM mail_aliases WHERE local_part = :local_part AND domain = :domain"
ROLE = "SELECT target FROM mail_roles WHERE local_part = :local_part AND domain = :domain"
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
    if refused := tx.one(REFUSED, local_part=address.local_part, domain=address.domain):
        return _refused(address, *_why(tx, actor, user_id, held, is_full=refused[0].startswith("552 ")))
    kind = "account" if held is None or held[0] else held[4]
    names = {"local_part": address.local_part, "domain": address.domain}
    rows = tx.all(TARGETS, **names) or tx.all(ROLE, **names)
    if not rows:
        kind, rows = "catch_all", tx.all(CAUGHT, domain=address.domain)
    ids = sorted(int(target.partition("@")[0]) for (target,) in rows)
    seen = _seen(tx, actor, user_id, ids)
    if kind == "catch_all" and ids and hidden_accounts.is_hidden(tx, ids[0]):
        return Resolution(str(address), "none", (), True, None)
    # Mail to postmaster@ may go to the operator, whose account nobody else sees.
    if not ids or (kind != "account" and not seen):
        return _refused(address, "unknown")
    return msgspec.convert(
        {"address": str(address), "kind": kind, "account_ids": seen, "accepted": True, "reason": None}, Resolution
    )


def _seen(tx: Tx, actor: Actor, user_id: str | None, ids: Iterable[int]) -> tuple[int, ...]:
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    return tuple(id_ for id_ in ids if tx.one(SEEN, id=id_, **whose))


def _why(
    tx: Tx, actor: Actor, user_id: str | None, held: Row | None, *, is_full: bool
) -> tuple[Reason, str, tuple[int, ...]]:
    if held is None:
        return "unknown", "none", ()
    account_id, alias_id, _, _, kind = held
    reason: Reason = "over_quota" if is_full else "disabled"
    if account_id is not None:
        return reason, "account", (account_id,)
    if alias_id is None:
        return "quarantine", "none", ()
    ids = aliases.members(tx, actor.organization_id, alias_id)
    seen = _seen(tx, actor, user_id, ids)
    if ids and not seen:  # an alias of which the key sees nothing
        return "unknown", "none", ()
    return (reason if ids else "unknown"), kind, seen


def _refused(address: Address, reason: Reason, kind: str = "none", account_ids: tuple[int, ...] = ()) -> Resolution:
    return msgspec.convert(
        {"address": str(address), "kind": kind, "account_ids": account_ids, "accepted": False, "reason": reason},
        Resolution,
    )
