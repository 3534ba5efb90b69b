"""Aliases: further addresses of accounts. An alias has one account, a group has several, and the
catch-all of a domain gets mail to its unknown addresses (decision 0223).

An alias is in force from the commit on, because the mail daemons read the same rows through views.
The table `addresses` decides who has an address, for accounts and aliases alike.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.accounts import addresses, delivery_scripts, model
from postroom.accounts.model import COLUMNS, Account
from postroom.actor import Actor
from postroom.db import Row, Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError, Refused, invalid, not_found
from postroom.tenants import limits, usage

Kind = Literal["alias", "group", "catch_all", "former"]
CATCH_ALL = "*"
# Largest number of accounts of one alias.
MOST_MEMBERS = 100

FIELDS = "id, organization_id, domain_id, user_id, address, kind, may_send, name, expires_at, created_at, updated_at"
# A key sees an alias of its user, on one of its domains, whose accounts are on its domains too.
VISIBLE = """
  AND user_id = COALESCE(:user_id, user_id)
  AND (CAST(:bound AS BIGINT) IS NULL OR (
    domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)
    AND NOT EXISTS (
      SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
      WHERE alias_members.alias_id = aliases.id
        AND accounts.domain_id NOT IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))))"""
OWNED = f"WHERE id = :id AND organization_id = :organization AND rested_at IS NULL{VISIBLE}"
GET = f"SELECT {FIELDS} FROM aliases {OWNED}"
# An update that changes nothing locks the row for this transaction on both engines.
LOCK = f"UPDATE aliases SET kind = kind {OWNED} RETURNING {FIELDS}"
INSERT = f"""
INSERT INTO aliases (organization_id, domain_id, user_id, address, kind, may_send, name, expires_at,
  created_at, updated_at)
VALUES (:organization, :domain_id, :user_id, :address, :kind, :may_send, :name, :expires_at, :now, :now)
RETURNING {FIELDS}"""
UPDATE = """
UPDATE aliases SET kind = :kind, may_send = :may_send, name = :name, expires_at = :expires_at, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
DELETE = "DELETE FROM aliases WHERE id = :id AND organization_id = :organization"
MEMBERS = """
SELECT alias_members.account_id FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
WHERE alias_members.alias_id = :alias_id AND accounts.organization_id = :organization AND accounts.deleted_at IS NULL
ORDER BY alias_members.account_id"""
ADD_MEMBER = "INSERT INTO alias_members (alias_id, account_id) VALUES (:alias_id, :account_id)"
DROP_MEMBERS = "DELETE FROM alias_members WHERE alias_id = :alias_id"
LOCK_ACCOUNT = f"""
UPDATE accounts SET generation = generation
WHERE id = :id AND organization_id = :organization AND user_id = COALESCE(:user_id, user_id) AND deleted_at IS NULL
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
RETURNING {COLUMNS}"""
COUNT_OF_ACCOUNT = """
SELECT COUNT(*) FROM alias_members JOIN aliases ON aliases.id = alias_members.alias_id
WHERE alias_members.account_id = :account_id
  AND aliases.organization_id = :organization AND aliases.rested_at IS NULL"""


class Alias(msgspec.Struct, frozen=True):
    """One alias. Times are in milliseconds since 1970 UTC. `account_ids` has the living accounts,
    in ascending order; a group without any refuses mail."""

    id: int
    organization_id: int
    domain_id: int
    user_id: str
    address: str
    kind: Kind
    may_send: bool
    name: str | None
    expires_at: int | None
    created_at: int
    updated_at: int
    account_ids: tuple[int, ...] = ()

    @property
    def local_part(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


class CreateAlias(msgspec.Struct, frozen=True):
    """A parsed request: domain and local part are canonical, `*` is the catch-all, and the ids are
    distinct."""

    domain: str
    local_part: str
    user_id: str
    account_ids: tuple[int, ...]
    may_send: bool
    expires_at: int | None = None
    name: str | None = None
    allow_reserved: bool = False


class UpdateAlias(msgspec.Struct, frozen=True):
    """The fields to change; UNSET leaves a field as it is."""

    account_ids: tuple[int, ...] | UnsetType = UNSET
    may_send: bool | UnsetType = UNSET
    expires_at: int | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET


def from_row(row: Row, account_ids: Sequence[int] = ()) -> Alias:
    """Returns an alias from a row of FIELDS."""
    alias = Alias(*row)
    return msgspec.structs.replace(alias, may_send=alias.may_send == 1, account_ids=tuple(account_ids))


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Alias:
    """Returns one alias. Raises not_found if the alias is foreign, unknown or in quarantine."""
    return _read(tx, actor, GET, id_, user_id)


def create(tx: Tx, actor: Actor, command: CreateAlias) -> Alias:
    """Makes an alias that works from the commit on.

    Raises not_found (the user has no such domain or account), `domain_not_active`,
    `reserved_local_part`, `address_exists`, `forbidden` for a catch-all on a platform domain,
    `limit_reached`, `invalid_request` for an expiry in the past.
    """
    domain = _domain_for(tx, actor, command)
    _check_expiry(tx, command.expires_at)
    usage.lock(tx, actor.organization_id, domain.id)
    accounts = lock_members(tx, actor, command.user_id, command.account_ids)
    _check_members(tx, accounts, command.account_ids)
    alias = _insert(
        tx,
        organization=actor.organization_id,
        domain_id=domain.id,
        user_id=command.user_id,
        address=f"{command.local_part}@{domain.name}",
        kind=_kind(command.local_part, command.account_ids),
        may_send=int(command.may_send),
        name=command.name,
        expires_at=command.expires_at,
        account_ids=tuple(sorted(command.account_ids)),
    )
    if not addresses.take_for_alias(tx, domain.id, alias.local_part, alias.id, alias.user_id):
        raise addresses.taken()
    # Checked after taking the domain's counter, because domains.delete takes the same counter.
    if not domains.is_managed(tx, actor.organization_id, domain.id):
        raise not_found()
    refresh_scripts(tx, accounts, alias.kind)
    record(tx, actor, "alias.created", alias)
    return alias


def keep_former(tx: Tx, account: Account, expires_at: int | None) -> Alias:
    """Gives the present address of an account, which must be locked, to a `former` alias of the
    account. Raises `limit_reached`."""
    _check_limit(tx, account)
    alias = _insert(
        tx,
        organization=account.organization_id,
        domain_id=account.domain_id,
        user_id=account.user_id,
        address=account.address,
        kind="former",
        may_send=1,
        name=None,
        expires_at=expires_at,
        account_ids=(account.id,),
    )
    addresses.hand_over(tx, account.domain_id, account.local_part, account.id, alias.id)
    return alias


def update(tx: Tx, actor: Actor, id_: int, user_id: str | None, command: UpdateAlias) -> Alias:
    """Changes the given fields. Values that are already set change nothing. Raises not_found,
    `limit_reached`, `invalid_request` for an expiry in the past."""
    account_ids = () if command.account_ids is UNSET else command.account_ids
    old, accounts = _lock(tx, actor, id_, user_id, account_ids)
    _check_members(tx, accounts, account_ids, known=old.account_ids)
    new = _changed(old, command)
    if new == old:
        return old
    if new.expires_at != old.expires_at:
        _check_expiry(tx, new.expires_at)
    new = msgspec.structs.replace(new, updated_at=tx.now)
    settings = {"kind": new.kind, "may_send": int(new.may_send), "name": new.name, "expires_at": new.expires_at}
    tx.run(UPDATE, id=id_, organization=actor.organization_id, now=tx.now, **settings)
    if new.account_ids != old.account_ids:
        tx.run(DROP_MEMBERS, alias_id=id_)
        _add_members(tx, new)
    refresh_scripts(tx, accounts, old.kind, new.kind)
    names = ("account_ids", "may_send", "expires_at", "name")
    record(
        tx, actor, "alias.updated", new, changed=[name for name in names if getattr(new, name) != getattr(old, name)]
    )
    return new


def delete(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Alias:
    """Deletes an alias. Its address is free at once. Raises not_found."""
    alias, accounts = _lock(tx, actor, id_, user_id)
    remove(tx, alias)
    refresh_scripts(tx, accounts, alias.kind)
    record(tx, actor, "alias.deleted", alias)
    return alias


def remove(tx: Tx, alias: Alias) -> None:
    """Removes the rows of an alias, without an event."""
    addresses.release_alias(tx, alias.id)
    tx.run(DROP_MEMBERS, alias_id=alias.id)
    tx.run(DELETE, id=alias.id, organization=alias.organization_id)


def refresh_scripts(tx: Tx, accounts: Sequence[Account], *kinds: Kind) -> None:
    """Writes the delivery scripts of these accounts, which must be locked, after a change of an
    alias that is, or was, of these kinds."""
    if any(kind in delivery_scripts.OWN_KINDS for kind in kinds):
        for account in accounts:
            delivery_scripts.refresh(tx, account)


def lock_members(tx: Tx, actor: Actor, user_id: str | None, ids: Iterable[int]) -> list[Account]:
    """Locks those of the accounts that live and that the actor sees, in ascending order."""
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    rows = (tx.one(LOCK_ACCOUNT, id=id_, **whose) for id_ in sorted(ids))
    return [model.from_row(row) for row in rows if row]


def members(tx: Tx, organization_id: int, alias_id: int) -> tuple[int, ...]:
    """Returns the living accounts of an alias, in ascending order."""
    return tuple(row[0] for row in tx.all(MEMBERS, alias_id=alias_id, organization=organization_id))


def record(
    tx: Tx, actor: Actor, type_: str, alias: Alias, changed: list[str] | None = None, reason: str | None = None
) -> None:
    """Records an event about the alias. An event about one account has that account."""
    data: dict[str, object] = {"alias_id": alias.id, "address": alias.address, "kind": alias.kind}
    data |= {"account_ids": alias.account_ids, "may_send": alias.may_send}
    data |= {"changed": changed} if changed else {}
    data |= {"reason": reason} if reason else {}
    only = alias.account_ids[0] if len(alias.account_ids) == 1 else None
    events.record(tx, actor, type_, account_id=only, domain_id=alias.domain_id, user_id=alias.user_id, data=data)


def _read(tx: Tx, actor: Actor, sql: str, id_: int, user_id: str | None) -> Alias:
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    row = tx.one(sql, id=id_, **whose)
    if row is None:
        raise not_found()
    return from_row(row, members(tx, actor.organization_id, id_))


def _domain_for(tx: Tx, actor: Actor, command: CreateAlias) -> domains.Domain:
    domain = domains.get(tx, actor, command.domain, command.user_id)
    if domain.status != "active":
        raise Refused("domain_not_active", domains.INACTIVE[domain.status])
    if command.local_part == CATCH_ALL and domain.user_id is None and actor.user_id is not None:
        raise Refused(
            "forbidden", "Only a key that is not bound to a user can make the catch-all of a platform domain."
        )
    domains.check_role(domain, command.local_part, command.user_id, is_allowed=command.allow_reserved)
    return domain


def _check_expiry(tx: Tx, expires_at: int | None) -> None:
    if expires_at is not None and expires_at <= tx.now:
        raise invalid(FieldError("expires_at", "invalid", "This time has passed."))


def _lock(
    tx: Tx, actor: Actor, id_: int, user_id: str | None, account_ids: Sequence[int] = ()
) -> tuple[Alias, list[Account]]:
    """Locks the accounts of an alias and those of `account_ids` that are the user's, and then the
    alias: the order in which the deletion of an account locks. Raises not_found for the alias."""
    seen = get(tx, actor, id_, user_id)
    accounts = lock_members(tx, actor, seen.user_id, {*seen.account_ids, *account_ids})
    alias = _read(tx, actor, LOCK, id_, user_id)
    if alias.account_ids != seen.account_ids:  # another change was first, and no further one can be now
        return _lock(tx, actor, id_, user_id, account_ids)
    return alias, accounts


def _changed(old: Alias, command: UpdateAlias) -> Alias:
    given = {name: value for name, value in msgspec.structs.asdict(command).items() if value is not UNSET}
    if "account_ids" in given:
        given["account_ids"] = tuple(sorted(given["account_ids"]))
        if old.kind == "former" and given["account_ids"] != old.account_ids:
            raise invalid(FieldError("account_ids", "invalid", "A former address belongs to its account."))
        given["kind"] = "former" if old.kind == "former" else _kind(old.local_part, given["account_ids"])
    new = msgspec.structs.replace(old, **given)
    if new.kind == "catch_all" and new.may_send:
        raise invalid(FieldError("may_send", "invalid", "Nobody may send as a catch-all."))
    return new


def _check_members(tx: Tx, accounts: Sequence[Account], account_ids: Sequence[int], known: Sequence[int] = ()) -> None:
    """Raises not_found if one of the accounts is not in `accounts`, and LimitReached if one of them
    that is not in `known` has too many aliases."""
    found = {account.id: account for account in accounts}
    for id_ in sorted(account_ids):
        if id_ not in found:
            raise not_found()
        if id_ not in known:
            _check_limit(tx, found[id_])


def _check_limit(tx: Tx, account: Account) -> None:
    present = tx.one(COUNT_OF_ACCOUNT, account_id=account.id, organization=account.organization_id) or (0,)
    limits.check_aliases(limits.aliases_per_account(tx, account.organization_id, account.user_id), present[0])


def _insert(tx: Tx, *, organization: int, account_ids: tuple[int, ...], **values: int | str | None) -> Alias:
    row = tx.one(INSERT, organization=organization, now=tx.now, **values)
    if row is None:
        raise LookupError("an insert that returned no row")
    alias = from_row(row, account_ids)
    _add_members(tx, alias)
    return alias


def _add_members(tx: Tx, alias: Alias) -> None:
    for account_id in alias.account_ids:
        tx.run(ADD_MEMBER, alias_id=alias.id, account_id=account_id)


def _kind(local_part: str, account_ids: Sequence[int]) -> Kind:
    if local_part == CATCH_ALL:
        return "catch_all"
    return "alias" if len(account_ids) == 1 else "group"
