"""What becomes of aliases when an account is deleted, restored or purged, or when they expire.

An alias whose last account is deleted rests: its address is in quarantine, and the alias comes back
with the account. A group without accounts keeps its address and refuses mail.
"""

from postroom.accounts import addresses, aliases
from postroom.accounts.aliases import FIELDS, from_row
from postroom.actor import Actor
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.tenants import usage

# The rows are locked, so that no other transaction changes the members meanwhile.
LOST = f"""
UPDATE aliases SET kind = kind
WHERE organization_id = :organization AND id IN (SELECT alias_id FROM alias_members WHERE account_id = :account_id)
  AND rested_at IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = aliases.id AND accounts.deleted_at IS NULL)
RETURNING {FIELDS}"""
REST = "UPDATE aliases SET rested_at = :now WHERE id = :id AND organization_id = :organization"
WAKE = f"""
UPDATE aliases SET rested_at = NULL
WHERE organization_id = :organization AND id IN (SELECT alias_id FROM alias_members WHERE account_id = :account_id)
  AND rested_at IS NOT NULL
RETURNING {FIELDS}"""
FORGET_MEMBER = "DELETE FROM alias_members WHERE account_id = :account_id"
# Resting aliases whose accounts are all purged or about to be.
LEFT = f"""
SELECT {FIELDS} FROM aliases
WHERE organization_id = :organization AND id IN (SELECT alias_id FROM alias_members WHERE account_id = :account_id)
  AND rested_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM alias_members WHERE alias_id = aliases.id AND account_id <> :account_id)"""
# Largest number of aliases that one round of the worker ends.
STEP = 200
EXPIRED = "SELECT id FROM aliases WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit"
OWNER = "SELECT organization_id FROM aliases WHERE id = :id AND expires_at <= :now"
EXPIRE = f"""
UPDATE aliases SET kind = kind WHERE id = :id AND organization_id = :organization AND expires_at <= :now
RETURNING rested_at, {FIELDS}"""


def rest(tx: Tx, organization_id: int, account_id: int) -> None:
    """After the deletion of an account: its aliases rest, and a group without accounts refuses
    mail."""
    for row in tx.all(LOST, organization=organization_id, account_id=account_id):
        alias = from_row(row)
        if alias.kind == "group":
            aliases.record(tx, Actor(organization_id), "alias.orphaned", alias)
            continue
        tx.run(REST, id=alias.id, organization=organization_id, now=tx.now)
        addresses.quarantine_alias(tx, alias.id)


def wake(tx: Tx, actor: Actor, account_id: int) -> None:
    """After the restore of an account: its resting aliases are back. An alias whose address was
    taken meanwhile, whose domain is gone or whose time has passed is deleted, with an event."""
    for row in tx.all(WAKE, organization=actor.organization_id, account_id=account_id):
        alias = from_row(row, aliases.members(tx, actor.organization_id, row[0]))
        usage.lock(tx, alias.organization_id, alias.domain_id)  # as domains.delete does
        if alias.expires_at is not None and alias.expires_at <= tx.now:
            reason = "expired"
        elif not domains.is_managed(tx, alias.organization_id, alias.domain_id):
            reason = "domain_gone"
        elif not addresses.take_for_alias(tx, alias.domain_id, alias.local_part, alias.id, alias.user_id):
            reason = "address_exists"
        else:
            continue
        aliases.remove(tx, alias)
        aliases.record(tx, actor, "alias.deleted", alias, reason=reason)


def forget(tx: Tx, organization_id: int, account_id: int) -> None:
    """After the purge of an account: it is in no alias any more, and the aliases that rested with
    it are gone."""
    left = [from_row(row) for row in tx.all(LEFT, organization=organization_id, account_id=account_id)]
    tx.run(FORGET_MEMBER, account_id=account_id)
    for alias in left:
        aliases.remove(tx, alias)


def expired(tx: Tx) -> list[int]:
    """Returns up to STEP aliases whose time has passed."""
    return [row[0] for row in tx.all(EXPIRED, now=tx.now, limit=STEP)]


def expire(tx: Tx, id_: int) -> None:
    """Ends an alias whose time has passed. Its address is free at once; the address of a resting
    alias stays in quarantine."""
    owner = tx.one(OWNER, id=id_, now=tx.now)
    if owner is None:  # it was deleted or given more time meanwhile
        return
    actor = Actor(owner[0])
    accounts = aliases.lock_members(tx, actor, None, aliases.members(tx, actor.organization_id, id_))
    row = tx.one(EXPIRE, id=id_, organization=actor.organization_id, now=tx.now)
    if row is None:
        return
    rested_at, *values = row
    alias = from_row(tuple(values), aliases.members(tx, actor.organization_id, id_))
    if alias.account_ids != tuple(account.id for account in accounts):  # another change was first
        expire(tx, id_)
        return
    aliases.remove(tx, alias)
    aliases.refresh_scripts(tx, accounts, alias.kind)
    if rested_at is None:
        aliases.record(tx, actor, "alias.expired", alias)
