"""Renames: an account gets another address, on its domain or another, and keeps its id, password,
mail and sessions. The old address becomes a `former` alias, or rests (decision 0225).
"""

import msgspec

from postroom import events
from postroom.accounts import addresses, aliases, delivery_scripts
from postroom.accounts import commands as accounts
from postroom.accounts import locks as account_locks
from postroom.accounts.aliases import FIELDS, Alias
from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.address import Address, BadAddress
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.domains.commands import Domain
from postroom.errors import FieldError, Refused, invalid, not_found
from postroom.tenants import limits, usage

DAY_MS = 24 * 3600 * 1000

RENAME = f"""
UPDATE accounts SET domain_id = :domain_id, address = :address, updated_at = :now
WHERE id = :id AND organization_id = :organization RETURNING {COLUMNS}"""
# A former address of this very account.
FORMER = f"""
SELECT {FIELDS} FROM aliases
WHERE organization_id = :organization AND kind = 'former'
  AND id = (SELECT alias_id FROM addresses WHERE domain_id = :domain_id AND local_part = :local_part)
  AND EXISTS (SELECT 1 FROM alias_members WHERE alias_id = aliases.id AND account_id = :account_id)"""


class Rename(msgspec.Struct, frozen=True):
    """The new address; None keeps the present local part or domain. The old address stays for
    `former_days` days, or until it is deleted."""

    local_part: str | None
    domain: str | None
    keep_former: bool = True
    former_days: int | None = None
    allow_reserved: bool = False


def rename(tx: Tx, actor: Actor, id_: int, user_id: str | None, command: Rename) -> Account:
    """Gives the account another address, which works from the commit on. Renaming an account to a
    former address of its own swaps the two; to its present address changes nothing.

    Raises not_found (the user has no such account or domain), `domain_not_active`,
    `reserved_local_part`, `address_exists`, `limit_reached`.
    """
    seen = accounts.get(tx, actor, id_, user_id)
    target = domains.get(tx, actor, command.domain or seen.domain, seen.user_id)
    new = _address(command.local_part or seen.local_part, target.name)
    if str(new) == seen.address:
        return seen
    if target.status != "active":
        raise Refused("domain_not_active", domains.INACTIVE[target.status])
    old = _lock(tx, actor, seen, target)
    if old.address != seen.address:  # another rename was first, and no further one can be now
        return rename(tx, actor, id_, user_id, command)
    former = _former(tx, old, target, new)
    if former is None:
        domains.check_role(target, new.local_part, old.user_id, is_allowed=command.allow_reserved)
    else:
        aliases.remove(tx, former)
    former_id = _vacate(tx, old, command)
    account = _move(tx, actor, old, target, new)
    delivery_scripts.refresh(tx, account)
    _record(tx, actor, old, account, former_id)
    return account


def _address(local_part: str, domain: str) -> Address:
    try:
        return Address(local_part, domain)
    except BadAddress as error:
        raise invalid(FieldError("local_part", error.code, error.message)) from None


def _lock(tx: Tx, actor: Actor, seen: Account, target: Domain) -> Account:
    """Locks what a rename changes, in the order of the other changes: limits, the counters of both
    domains, the user, the account."""
    if target.id != seen.domain_id:
        limits.check_place(tx, seen.organization_id, seen.user_id, target.id)
    for domain_id in sorted({seen.domain_id, target.id}):
        usage.lock(tx, seen.organization_id, domain_id)
    account_locks.lock(tx, seen.organization_id, seen.user_id)
    return accounts.lock(tx, actor, seen.id, seen.user_id)


def _former(tx: Tx, account: Account, domain: Domain, address: Address) -> Alias | None:
    whose = {"organization": account.organization_id, "account_id": account.id}
    row = tx.one(FORMER, domain_id=domain.id, local_part=address.local_part, **whose)
    return aliases.from_row(row) if row else None


def _vacate(tx: Tx, account: Account, command: Rename) -> int | None:
    """Takes the present address from the account. Returns the id of the former alias that has the
    address now; None if the address rests."""
    if not command.keep_former:
        addresses.quarantine(tx, account.domain_id, account.local_part, account.id)
        return None
    days = command.former_days
    expires_at = None if days is None else tx.now + days * DAY_MS
    return aliases.keep_former(tx, account, expires_at).id


def _move(tx: Tx, actor: Actor, old: Account, target: Domain, new: Address) -> Account:
    row = tx.one(RENAME, id=old.id, organization=old.organization_id, domain_id=target.id, address=str(new), now=tx.now)
    if row is None:
        raise LookupError("a held row that is gone")
    account = from_row(row)
    addresses.take(tx, target.id, new.local_part, account.id, account.user_id)
    if account.domain_id != old.domain_id:
        accounts.count(tx, old, -1)
        accounts.count(tx, account, 1)
    # Checked after taking the domain's counter, because domains.delete takes the same counter.
    if not domains.is_managed(tx, actor.organization_id, target.id):
        raise not_found()
    return account


def _record(tx: Tx, actor: Actor, old: Account, new: Account, former_id: int | None) -> None:
    data = {"address": new.address, "from": old.address, "to": new.address, "former_id": former_id}
    events.record(
        tx, actor, "account.renamed", account_id=new.id, domain_id=new.domain_id, user_id=new.user_id, data=data
    )
