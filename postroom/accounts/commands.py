"""Accounts: create, get, update, reset, delete, restore, purge. The commit is the provisioning,
because the mail daemons read the same rows through views.

Every look-up names the organization and, where one is given, the user, never the id alone. Every
change that must end sessions starts a new generation of the account (see session_revocations.py).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import addresses, alias_rests, delivery_scripts, quotas, switches
from postroom.accounts import locks as account_locks
from postroom.accounts.account_events import record
from postroom.accounts.model import COLUMNS, Account, Status, from_row
from postroom.accounts.password_hashes import GENERATED, PasswordScheme
from postroom.accounts.quotas import SetQuota
from postroom.accounts.switches import SetSwitches
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.errors import Refused, not_found
from postroom.mailboxes import session_revocations
from postroom.mailboxes.session_revocations import Ended
from postroom.tenants import limits, usage

# The two extra columns say whether there are nodes and whether the domain is still managed. Both
# are read after any wait for the domain's counter.
INSERT = f"""
INSERT INTO accounts (organization_id, domain_id, user_id, address, display_name, status, is_default, password,
  password_scheme, generation, created_at, updated_at, quota_bytes, quota_messages, protocols_off, main_password)
SELECT :organization, :domain_id, :user_id, :address, :display_name, 'active',
  CASE WHEN EXISTS (SELECT 1 FROM accounts
    WHERE organization_id = :organization AND user_id = :user_id AND is_default = 1) THEN 0 ELSE 1 END,
  :password, :password_scheme, 1, :now, :now, :quota_bytes, :quota_messages, :protocols_off, :main_password
RETURNING {COLUMNS}, EXISTS (SELECT 1 FROM nodes WHERE id > 0 AND seen_at IS NOT NULL),
  EXISTS (SELECT 1 FROM domains
    WHERE id = :domain_id AND organization_id = :organization AND deleted_at IS NULL AND status <> 'pending')"""
OWNED = """
WHERE id = :id AND organization_id = :organization AND user_id = COALESCE(:user_id, user_id)
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
OWNED_LIVE = f"{OWNED} AND deleted_at IS NULL"
GET = f"SELECT {COLUMNS} FROM accounts {OWNED_LIVE}"
# An update that changes nothing locks the row for this transaction on both engines, so decisions
# based on the row hold until the commit.
LOCK = f"UPDATE accounts SET generation = generation {OWNED_LIVE} RETURNING {COLUMNS}"
LOCK_DELETED = f"""
UPDATE accounts SET generation = generation {OWNED} AND deleted_at IS NOT NULL AND purge_at > :now AND purged_at IS NULL
RETURNING {COLUMNS}"""
# Returns no row where the name is already set. Names no other column, because SQLite writes each
# index that refers to a named column (decision 0245).
RENAME = f"""
UPDATE accounts SET display_name = :display_name, updated_at = :now
{OWNED_LIVE} AND display_name IS DISTINCT FROM CAST(:display_name AS TEXT) RETURNING {COLUMNS}"""
UPDATE = """
UPDATE accounts SET status = :status, generation = :generation, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
RESET = f"""
UPDATE accounts SET password = :password, password_scheme = :password_scheme, generation = generation + 1,
  updated_at = :now
{OWNED_LIVE} RETURNING {COLUMNS}"""
DISABLE_SCRIPTS = """
UPDATE accounts SET scripts_disabled = scripts_disabled + 1 WHERE id = :id AND organization_id = :organization"""
DELETE = """
UPDATE accounts SET deleted_at = :now, purge_at = :purge_at, updated_at = :now, is_default = 0,
  generation = generation + 1
WHERE id = :id AND organization_id = :organization"""
HASTEN_PURGE = "UPDATE accounts SET purge_at = :now WHERE id = :id AND organization_id = :organization"
RESTORE = f"""
UPDATE accounts SET deleted_at = NULL, purge_at = NULL, updated_at = :now,
  quota_check_at = CASE WHEN COALESCE(quota_bytes, quota_messages) IS NULL THEN NULL ELSE :now END,
  is_default = CASE WHEN EXISTS (SELECT 1 FROM accounts AS other
    WHERE other.organization_id = :organization AND other.user_id = :user_id AND other.is_default = 1) THEN 0 ELSE 1 END
WHERE id = :id AND organization_id = :organization RETURNING {COLUMNS}"""
DROP_DEFAULT = """
UPDATE accounts SET is_default = 0, updated_at = :now
WHERE organization_id = :organization AND user_id = :user_id AND is_default = 1"""
SET_DEFAULT = """
UPDATE accounts SET is_default = 1, updated_at = :now WHERE id = :id AND organization_id = :organization"""
OLDEST = """
SELECT id FROM accounts
WHERE organization_id = :organization AND user_id = :user_id AND status = :status AND deleted_at IS NULL
ORDER BY id LIMIT 1"""


class CreateAccount(msgspec.Struct, frozen=True):
    """A parsed request: the address is canonical and the password is hashed."""

    domain: str
    local_part: str
    user_id: str
    display_name: str | None
    password: str
    allow_reserved: bool = False
    quota_bytes: int | UnsetType | None = UNSET
    quota_messages: int | None = None
    password_scheme: PasswordScheme | None = GENERATED
    switches: SetSwitches = SetSwitches()


class UpdateAccount(msgspec.Struct, frozen=True):
    """The fields to change; UNSET leaves a field as it is."""

    display_name: str | UnsetType | None = UNSET
    status: Status | UnsetType = UNSET
    is_default: Literal[True] | UnsetType = UNSET
    quota: SetQuota = SetQuota()
    switches: SetSwitches = SetSwitches()


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """Returns one account. Raises not_found if the account is foreign, unknown or deleted."""
    row = tx.one(GET, id=id_, organization=actor.organization_id, user_id=user_id, bound=actor.restricted_key_id)
    if row is None:
        raise not_found()
    return from_row(row)


def create(tx: Tx, actor: Actor, command: CreateAccount) -> Account:
    """Makes an account that works from the commit on.

    Raises not_found (the user has no such domain), `domain_not_active`, `reserved_local_part`,
    `address_exists`, `limit_reached`.
    """
    domain, has_limits = domains.get_with_limits(tx, actor, command.domain, command.user_id)
    _check_domain(domain, command)
    quota_bytes = None if command.quota_bytes is UNSET else command.quota_bytes
    if has_limits:
        quota_bytes = limits.check_account(tx, actor.organization_id, command.user_id, domain.id, command.quota_bytes)
    usage.add(tx, actor.organization_id, domain.id, command.user_id, "active", 1, quota_bytes)
    account_locks.lock(tx, actor.organization_id, command.user_id)
    account, is_managed = _insert(tx, actor, domain, command, quota_bytes)
    addresses.take(tx, account.domain_id, account.local_part, account.id, account.user_id)
    if not is_managed:  # the domain was deleted while we waited for its counter
        raise not_found()
    record(tx, actor, "account.created", account)
    return account


def update(tx: Tx, actor: Actor, id_: int, user_id: str | None, command: UpdateAccount) -> tuple[Account, list[Ended]]:
    """Changes the given fields. Returns the account and the sessions that must end. Values that are
    already set change nothing.

    Raises not_found; for `is_default` also `account_disabled`, and `forbidden` if the key is bound
    to domains; for a quota also `limit_reached`.
    """
    moves = command.status is not UNSET or command.is_default is not UNSET
    if command.quota.is_given:
        limits.lock(tx, actor.organization_id, get(tx, actor, id_, user_id).user_id)
        moves = True
    account = _lock_with_user(tx, actor, id_, user_id) if moves else None
    if command.display_name is not UNSET:
        account = _rename(tx, actor, id_, user_id, command.display_name) or account
    account = account or lock(tx, actor, id_, user_id)
    if command.quota.is_given:
        account = quotas.change(tx, actor, account, command.quota)
    account, ended = switches.change(tx, actor, account, command.switches)
    if command.status is not UNSET and command.status != account.status:
        account, more = _set_status(tx, actor, account, command.status)
        ended += more
    if command.is_default is not UNSET and not account.is_default:
        if actor.restricted_key_id is not None:  # the mail to postmaster@ of the user's other domains would move too
            raise Refused("forbidden", "A key that is bound to domains cannot change a user's default account.")
        if account.status == "disabled":  # the user's mail to postmaster@ would go to the operator
            raise Refused("account_disabled", "A disabled account cannot be made the default: make it active first.")
        _move_default(tx, actor, account, account.id)
        account = msgspec.structs.replace(account, is_default=True, updated_at=tx.now)
    return account, ended


def reset(
    tx: Tx,
    actor: Actor,
    id_: int,
    user_id: str | None,
    password: str,
    scheme: PasswordScheme | None = GENERATED,
    *,
    disable_scripts: bool = False,
) -> tuple[Account, Ended]:
    """Replaces the password hash and ends every session. Returns the account and the sessions that
    must end. A suspended account stays suspended. With `disable_scripts`, no Sieve script runs from
    the commit on until the owner activates one. Raises not_found."""
    account = _change(tx, RESET, actor, id_, user_id, password=password, password_scheme=scheme, now=tx.now)
    if account is None:
        raise not_found()
    if disable_scripts:
        tx.run(DISABLE_SCRIPTS, id=id_, organization=actor.organization_id)
        record(tx, actor, "account.scripts_disabled", account)
    record(tx, actor, "account.password_reset", account)
    return account, session_revocations.end(tx, account.id, account.generation - 1)


def set_password(tx: Tx, actor: Actor, account: Account, password: str) -> tuple[Account, Ended]:
    """As `reset`, of an account that the transaction has locked: the owner has chosen the
    password."""
    chosen = {"password": password, "password_scheme": "chosen", "now": tx.now}
    changed = _change(tx, RESET, actor, account.id, None, **chosen)
    if changed is None:
        raise not_found()
    record(tx, actor, "account.password_set", changed)
    return changed, session_revocations.end(tx, account.id, account.generation)


def sign_out(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> tuple[Account, Ended]:
    """Ends every session; password and status stay. Returns the account and the sessions that must
    end. Raises not_found."""
    account = lock(tx, actor, id_, user_id)
    _save(tx, msgspec.structs.replace(account, generation=account.generation + 1))
    record(tx, actor, "account.signed_out", account)
    return msgspec.structs.replace(account, updated_at=tx.now), session_revocations.end(
        tx, account.id, account.generation
    )


def delete(
    tx: Tx, actor: Actor, id_: int, user_id: str | None, *, grace_ms: int, purge: bool = False
) -> tuple[Account, list[Ended]]:
    """Deletes an account: no more logins and no more mail. Its mail stays in its folder, which no
    other account ever gets, until the grace period of `grace_ms` milliseconds is over. `purge` ends
    the grace period now, also for an account that is already deleted. Returns the account and the
    sessions that must end. Raises not_found."""
    if purge and (deleted := _lock_deleted(tx, actor, id_, user_id)):
        tx.run(HASTEN_PURGE, id=id_, organization=actor.organization_id, now=tx.now)
        record(tx, actor, "account.updated", deleted, changed=["purge_at"])
        return msgspec.structs.replace(deleted, purge_at=tx.now), []
    account = _lock_with_user(tx, actor, id_, user_id)
    purge_at = tx.now if purge else tx.now + grace_ms
    tx.run(DELETE, id=id_, organization=actor.organization_id, purge_at=purge_at, now=tx.now)
    addresses.quarantine(tx, account.domain_id, account.local_part, id_)
    count(tx, account, -1)
    record(tx, actor, "account.deleted", account)
    alias_rests.rest(tx, actor.organization_id, id_)
    if account.is_default:
        _move_default(tx, actor, account, _successor(tx, account))
    gone = {"is_default": False, "updated_at": tx.now, "deleted_at": tx.now, "purge_at": purge_at}
    return msgspec.structs.replace(account, **gone), [session_revocations.end(tx, account.id, account.generation)]


def restore(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """Restores a deleted account as it was. Returns a live account unchanged.

    Raises not_found (the account is purged or its grace period is over), `domain_gone`,
    `limit_reached`, `address_exists`.
    """
    old = _lock_deleted(tx, actor, id_, user_id)
    if old is None:
        return get(tx, actor, id_, user_id)
    limits.check_account(tx, actor.organization_id, old.user_id, old.domain_id, old.quota_bytes)
    count(tx, old, 1)
    account_locks.lock(tx, actor.organization_id, old.user_id)
    row = tx.one(RESTORE, id=id_, organization=actor.organization_id, user_id=old.user_id, now=tx.now)
    if row is None:
        raise LookupError("a held row that is gone")
    account = from_row(row)
    addresses.take(tx, account.domain_id, account.local_part, account.id, account.user_id)
    # Checked after taking the domain's counter, because domains.delete takes the same counter.
    if not domains.is_managed(tx, actor.organization_id, old.domain_id):
        raise Refused("domain_gone", domains.GONE)
    record(tx, actor, "account.restored", account)
    alias_rests.wake(tx, actor, id_)
    delivery_scripts.refresh(tx, account)
    return account


def record_pending_revocations(tx: Tx, actor: Actor, account: Account, ended: Sequence[Ended]) -> bool:
    """Records that these sessions have not ended yet. Returns False if the worker has ended them in
    the meantime."""
    if not session_revocations.mark_late(tx, ended):
        return False
    record(tx, actor, "account.sessions_pending", account)
    return True


def _check_domain(domain: domains.Domain, command: CreateAccount) -> None:
    if domain.status != "active":
        raise Refused("domain_not_active", domains.INACTIVE[domain.status])
    domains.check_role(domain, command.local_part, command.user_id, is_allowed=command.allow_reserved)


def _insert(
    tx: Tx, actor: Actor, domain: domains.Domain, command: CreateAccount, quota_bytes: int | None
) -> tuple[Account, bool]:
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        domain_id=domain.id,
        user_id=command.user_id,
        address=f"{command.local_part}@{domain.name}",
        display_name=command.display_name,
        password=command.password,
        password_scheme=command.password_scheme,
        quota_bytes=quota_bytes,
        quota_messages=command.quota_messages,
        **command.switches.columns(),
        now=tx.now,
    )
    if row is None:
        raise LookupError("an insert that returned no row")
    *values, has_nodes, is_managed = row
    account = from_row(tuple(values))
    if has_nodes:
        nodes.place(tx, account.id, domain.id)
    return account, bool(is_managed)


def _change(tx: Tx, sql: str, actor: Actor, id_: int, user_id: str | None, **values: object) -> Account | None:
    """Changes or locks an account. Returns it as it is then; None if the statement matches none."""
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    row = tx.one(sql, id=id_, **whose, **values)
    return from_row(row) if row else None


def lock(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """Locks one account until the end of the transaction, and returns it. Raises not_found."""
    account = _change(tx, LOCK, actor, id_, user_id)
    if account is None:
        raise not_found()
    return account


def _rename(tx: Tx, actor: Actor, id_: int, user_id: str | None, name: str | None) -> Account | None:
    """Returns the account with its new name; None if it has this name already or is not found."""
    account = _change(tx, RENAME, actor, id_, user_id, display_name=name, now=tx.now)
    if account is not None:
        record(tx, actor, "account.updated", account, changed=["display_name"])
    return account


def _lock_with_user(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """As `lock`, but also locks the domain's counter and the user, because the change may move the
    user's default account."""
    seen = get(tx, actor, id_, user_id)
    usage.lock(tx, seen.organization_id, seen.domain_id)
    account_locks.lock(tx, seen.organization_id, seen.user_id)
    return lock(tx, actor, id_, user_id)


def _lock_deleted(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account | None:
    """Locks and returns a deleted account whose grace period is not over; None if there is no such
    account."""
    return _change(tx, LOCK_DELETED, actor, id_, user_id, now=tx.now)


def _save(tx: Tx, account: Account) -> None:
    tx.run(
        UPDATE,
        id=account.id,
        organization=account.organization_id,
        status=account.status,
        generation=account.generation,
        now=tx.now,
    )


def _set_status(tx: Tx, actor: Actor, old: Account, status: Status) -> tuple[Account, list[Ended]]:
    ended = [session_revocations.end(tx, old.id, old.generation)] if old.status == "active" else []
    account = msgspec.structs.replace(old, status=status, generation=old.generation + len(ended), updated_at=tx.now)
    _save(tx, account)
    count(tx, old, -1)
    count(tx, account, 1)
    type_ = {"active": "account.resumed", "suspended": "account.suspended", "disabled": "account.disabled"}[status]
    record(tx, actor, type_, account)
    if status == "disabled" and account.is_default:
        new_default = _successor(tx, account)
        _move_default(tx, actor, account, new_default)
        account = msgspec.structs.replace(account, is_default=new_default == account.id)
    return account, ended


def _successor(tx: Tx, account: Account) -> int | None:
    """Returns the id of the user's oldest active account, else the oldest suspended, else the
    oldest disabled one."""
    for status in usage.STATUSES:
        row = tx.one(OLDEST, organization=account.organization_id, user_id=account.user_id, status=status)
        if row is not None:
            return int(row[0])
    return None


def _move_default(tx: Tx, actor: Actor, account: Account, new_default: int | None) -> None:
    """Makes `new_default` the default account of the account's user."""
    if new_default == account.id and account.is_default:
        return
    tx.run(DROP_DEFAULT, organization=account.organization_id, user_id=account.user_id, now=tx.now)
    if new_default is None:
        return
    tx.run(SET_DEFAULT, id=new_default, organization=account.organization_id, now=tx.now)
    # Without the actor's restrictions: the actor may not be allowed to see this account.
    successor = get(tx, Actor(actor.organization_id), new_default, None)
    record(tx, actor, "account.updated", successor, changed=["is_default"])


def count(tx: Tx, account: Account, by: int) -> None:
    """Counts the account and its quota on its domain once more (1) or once less (-1)."""
    quota_bytes = by * (account.quota_bytes or 0)
    usage.add(tx, account.organization_id, account.domain_id, account.user_id, account.status, by, quota_bytes)
