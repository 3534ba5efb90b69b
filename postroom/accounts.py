"""Accounts: create, get, update, reset, delete. The commit is the provisioning, because the mail daemons read
the same rows through views.

A stranger would get wrong: an account is found by organization and, where one is given, user, never by its id
alone; and every change that must end sessions starts a new generation of the account (see sessions.py).
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom import counts, domains, events, limits, sessions
from postroom.actor import Actor
from postroom.address import RESERVED
from postroom.db import Row, Tx
from postroom.errors import Refused, not_found
from postroom.sessions import Ended

Status = Literal["active", "suspended", "disabled"]

REST_MS = 30 * 24 * 3600 * 1000

COLUMNS = """id, organization_id, domain_id, user_id, address, display_name, status, generation, created_at,
  updated_at, is_default"""
INSERT = f"""
INSERT INTO accounts (organization_id, domain_id, user_id, address, display_name, status, is_default, password,
  generation, created_at, updated_at)
SELECT :organization, :domain_id, :user_id, :address, :display_name, 'active',
  CASE WHEN EXISTS (SELECT 1 FROM accounts
    WHERE organization_id = :organization AND user_id = :user_id AND is_default = 1) THEN 0 ELSE 1 END,
  :password, 1, :now, :now
ON CONFLICT DO NOTHING RETURNING {COLUMNS}"""
TAKE_ADDRESS = """
INSERT INTO addresses (domain_id, local_part, account_id, user_id) VALUES (:domain_id, :local_part, :id, :user_id)
ON CONFLICT (domain_id, local_part) DO UPDATE
SET account_id = excluded.account_id, user_id = excluded.user_id, rests_until = NULL
WHERE addresses.account_id IS NULL AND (addresses.user_id = excluded.user_id OR addresses.rests_until <= :now)
RETURNING account_id"""
REST_ADDRESS = """
UPDATE addresses SET account_id = NULL, rests_until = :until
WHERE domain_id = :domain_id AND account_id = :id AND local_part = :local_part"""
MINE = """
WHERE id = :id AND organization_id = :organization AND user_id = COALESCE(:user_id, user_id)
  AND deleted_at IS NULL
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
GET = f"SELECT {COLUMNS} FROM accounts {MINE}"
# An update that changes nothing takes the row for this transaction on both engines; what is decided on it holds.
HOLD = f"UPDATE accounts SET generation = generation {MINE} RETURNING {COLUMNS}"
UPDATE = """
UPDATE accounts SET display_name = :display_name, status = :status, generation = :generation, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
RESET = """
UPDATE accounts SET password = :password, generation = generation + 1, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
DELETE = """
UPDATE accounts SET deleted_at = :now, updated_at = :now, is_default = 0, generation = generation + 1
WHERE id = :id AND organization_id = :organization"""
DROP_DEFAULT = """
UPDATE accounts SET is_default = 0, updated_at = :now
WHERE organization_id = :organization AND user_id = :user_id AND is_default = 1"""
SET_DEFAULT = """
UPDATE accounts SET is_default = 1, updated_at = :now WHERE id = :id AND organization_id = :organization"""
OLDEST = """
SELECT id FROM accounts
WHERE organization_id = :organization AND user_id = :user_id AND status = :status AND deleted_at IS NULL
ORDER BY id LIMIT 1"""


class Account(msgspec.Struct, frozen=True):
    """A mailbox account. Times are in milliseconds since 1970 UTC."""

    id: int
    organization_id: int
    domain_id: int
    user_id: str
    address: str
    display_name: str | None
    status: Status
    generation: int
    created_at: int
    updated_at: int
    is_default: bool

    @property
    def local_part(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


class CreateAccount(msgspec.Struct, frozen=True):
    """A parsed request: the address is canonical, the password hashed."""

    domain: str
    local_part: str
    user_id: str
    display_name: str | None
    password: str
    allow_reserved: bool = False


class UpdateAccount(msgspec.Struct, frozen=True):
    """What to change; UNSET is untouched."""

    display_name: str | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    is_default: Literal[True] | UnsetType = UNSET


def from_row(row: Row) -> Account:
    """An account from a row of COLUMNS."""
    return Account(*(*row[:10], bool(row[10])))


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """One account. Raises not_found for a foreign, unknown or deleted one."""
    row = tx.one(GET, id=id_, organization=actor.organization_id, user_id=user_id, bound=actor.bound)
    if row is None:
        raise not_found()
    return from_row(row)


def create(tx: Tx, actor: Actor, command: CreateAccount) -> Account:
    """Makes a mailbox that works at the commit.

    Raises not_found (no such domain for this user), `domain_not_active`, `reserved_local_part`, `address_exists`,
    `limit_reached`.
    """
    domain = _domain_for(tx, actor, command)
    limits.check_account(tx, actor.organization_id, command.user_id, domain.id)
    account = _insert(tx, actor, domain, command)
    taken = tx.one(
        TAKE_ADDRESS,
        domain_id=domain.id,
        local_part=command.local_part,
        id=account.id,
        user_id=command.user_id,
        now=tx.now,
    )
    if taken is None:
        raise Refused("address_exists", "This address is taken.")
    _count(tx, account, 1)
    _domain_for(tx, actor, command)  # once more: it may have been deleted while we waited for its counter
    _record(tx, actor, "account.created", account)
    return account


def update(tx: Tx, actor: Actor, id_: int, user_id: str | None, command: UpdateAccount) -> tuple[Account, list[Ended]]:
    """Changes what is given, and which sessions must end for it. Nothing to change is nothing done."""
    account = _hold(tx, actor, id_, user_id)
    ended: list[Ended] = []
    if command.display_name is not UNSET and command.display_name != account.display_name:
        account = msgspec.structs.replace(account, display_name=command.display_name, updated_at=tx.now)
        _save(tx, account)
        _record(tx, actor, "account.updated", account, changed=["display_name"])
    if command.status is not UNSET and command.status != account.status:
        account, ended = _set_status(tx, actor, account, command.status)
    if command.is_default is not UNSET and not account.is_default:
        if actor.bound is not None:  # the mail to postmaster@ of the user's other domains would move with it
            raise Refused("forbidden", "A key that is bound to domains cannot move the default account of a user.")
        _move_default(tx, actor, account, account.id)
        account = msgspec.structs.replace(account, is_default=True, updated_at=tx.now)
    return account, ended


def reset(tx: Tx, actor: Actor, id_: int, user_id: str | None, password: str) -> tuple[Account, Ended]:
    """Replaces the password (a hash) and ends every session. A suspended account stays suspended."""
    account = _hold(tx, actor, id_, user_id)
    tx.run(RESET, id=id_, organization=actor.organization_id, password=password, now=tx.now)
    _record(tx, actor, "account.password_reset", account)
    return msgspec.structs.replace(account, updated_at=tx.now), sessions.end(tx, account.id, account.generation)


def delete(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> tuple[Account, Ended]:
    """Ends an account: no login, no mail. Its mail stays in its folder, which no other account will ever get."""
    account = _hold(tx, actor, id_, user_id)
    tx.run(DELETE, id=id_, organization=actor.organization_id, now=tx.now)
    tx.run(
        REST_ADDRESS,
        id=id_,
        domain_id=account.domain_id,
        local_part=account.local_part,
        until=tx.now + REST_MS,
    )
    _count(tx, account, -1)
    _record(tx, actor, "account.deleted", account)
    if account.is_default:
        _move_default(tx, actor, account, _successor(tx, account))
    account = msgspec.structs.replace(account, is_default=False, updated_at=tx.now)
    return account, sessions.end(tx, account.id, account.generation)


def _domain_for(tx: Tx, actor: Actor, command: CreateAccount) -> domains.Domain:
    domain = domains.get(tx, actor, command.domain, command.user_id)
    if domain.status != "active":
        raise Refused("domain_not_active", f"The domain is {domain.status}. Accounts need an active domain.")
    owns = domain.user_id is not None and domain.user_id == command.user_id
    if command.local_part in RESERVED and not (command.allow_reserved and owns):
        raise Refused(
            "reserved_local_part",
            "This local part is reserved for a role (RFC 2142). The domain's own user may take it with "
            "allow_reserved: true.",
        )
    return domain


def _insert(tx: Tx, actor: Actor, domain: domains.Domain, command: CreateAccount) -> Account:
    values = {
        "organization": actor.organization_id,
        "domain_id": domain.id,
        "user_id": command.user_id,
        "address": f"{command.local_part}@{domain.name}",
        "display_name": command.display_name,
        "password": command.password,
        "now": tx.now,
    }
    # No row: another process has just made this user's first account. It is visible now, so this is not the first.
    row = tx.one(INSERT, **values) or tx.one(INSERT, **values)
    if row is None:
        raise LookupError("an insert that returned no row")
    return from_row(row)


def _hold(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    row = tx.one(HOLD, id=id_, organization=actor.organization_id, user_id=user_id, bound=actor.bound)
    if row is None:
        raise not_found()
    return from_row(row)


def _save(tx: Tx, account: Account) -> None:
    tx.run(
        UPDATE,
        id=account.id,
        organization=account.organization_id,
        display_name=account.display_name,
        status=account.status,
        generation=account.generation,
        now=tx.now,
    )


def _set_status(tx: Tx, actor: Actor, old: Account, status: Status) -> tuple[Account, list[Ended]]:
    ended = [sessions.end(tx, old.id, old.generation)] if old.status == "active" else []
    account = msgspec.structs.replace(old, status=status, generation=old.generation + len(ended), updated_at=tx.now)
    _save(tx, account)
    _count(tx, old, -1)
    _count(tx, account, 1)
    type_ = {"active": "account.resumed", "suspended": "account.suspended", "disabled": "account.disabled"}[status]
    _record(tx, actor, type_, account)
    if status == "disabled" and account.is_default:
        heir = _successor(tx, account)
        _move_default(tx, actor, account, heir)
        account = msgspec.structs.replace(account, is_default=heir == account.id)
    return account, ended


def _successor(tx: Tx, account: Account) -> int | None:
    """The oldest active account of the user, else the oldest suspended, else the oldest disabled."""
    for status in counts.STATUSES:
        row = tx.one(OLDEST, organization=account.organization_id, user_id=account.user_id, status=status)
        if row is not None:
            return int(row[0])
    return None


def _move_default(tx: Tx, actor: Actor, account: Account, heir: int | None) -> None:
    """Makes `heir` the default account of the account's user."""
    if heir == account.id and account.is_default:
        return
    tx.run(DROP_DEFAULT, organization=account.organization_id, user_id=account.user_id, now=tx.now)
    if heir is None:
        return
    tx.run(SET_DEFAULT, id=heir, organization=account.organization_id, now=tx.now)
    heir_account = get(tx, Actor(actor.organization_id), heir, None)  # it may be one that the caller does not see
    _record(tx, actor, "account.updated", heir_account, changed=["is_default"])


def _count(tx: Tx, account: Account, by: int) -> None:
    counts.add(tx, account.organization_id, account.domain_id, account.user_id, account.status, by)


def _record(tx: Tx, actor: Actor, type_: str, account: Account, changed: list[str] | None = None) -> None:
    data: dict[str, object] = {"address": account.address, "status": account.status}
    if changed:
        data["changed"] = changed
    events.record(
        tx,
        actor,
        type_,
        account_id=account.id,
        domain_id=account.domain_id,
        user_id=account.user_id,
        data=data,
    )
