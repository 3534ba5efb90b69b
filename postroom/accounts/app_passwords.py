"""App passwords: further passwords of an account, each for one program or device, that can be
deleted one by one.

Dovecot finds the row by a digest of what the client sent and then checks the hash (decision 0249).
The login name of a session carries the id of its app password, so that a deletion ends the sessions
of this password alone.
"""

from collections.abc import Mapping

import msgspec

from postroom.accounts import account_events, passwords
from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.accounts.protocols import PROTOCOLS, Protocol
from postroom.actor import Actor
from postroom.cluster import digest_keys
from postroom.db import Row, Tx
from postroom.errors import FieldError, LimitReached, Refused, invalid, not_found
from postroom.instance import digest_key
from postroom.mailboxes import session_revocations
from postroom.mailboxes.session_revocations import Ended

# Largest number of app passwords of an account.
MOST = 25
# Minimum interval between two writes of the last use, in milliseconds.
USE_MS = 60_000
# Largest number of expired app passwords that one round of the worker deletes.
STEP = 200

FIELDS = "id, name, imap, pop3, smtp, sieve, networks, created_at, expires_at, last_used_at, last_used_protocol"
LIST = f"SELECT {FIELDS} FROM app_passwords WHERE account_id = :account_id ORDER BY id"
COUNT = """
SELECT COUNT(*) FROM app_passwords
WHERE account_id = :account_id AND (expires_at IS NULL OR expires_at > :now)"""
INSERT = f"""
INSERT INTO app_passwords (account_id, name, password, digest, imap, pop3, smtp, sieve, networks, expires_at,
  created_at)
VALUES (:account_id, :name, :password, :digest, :imap, :pop, :smtp, :sieve, :networks, :expires_at, :now)
ON CONFLICT DO NOTHING RETURNING {FIELDS}"""
DELETE = f"DELETE FROM app_passwords WHERE id = :id AND account_id = :account_id RETURNING {FIELDS}"
ERASE = "DELETE FROM app_passwords WHERE account_id = :account_id"
DELETE_ALL = f"DELETE FROM app_passwords WHERE account_id = :account_id RETURNING {FIELDS}"
EXPIRED = "SELECT id FROM app_passwords WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit"
OWNER = """
SELECT accounts.organization_id, accounts.id FROM app_passwords JOIN accounts ON accounts.id = app_passwords.account_id
WHERE app_passwords.id = :id AND app_passwords.expires_at <= :now"""
# The right password for a suspended account does not count as a login.
LAST_USE = """
WHERE id = :id AND account_id = :account_id AND (last_used_at IS NULL OR last_used_at <= :before)
  AND EXISTS (SELECT 1 FROM accounts WHERE id = :account_id AND status = 'active' AND deleted_at IS NULL)"""
IS_NEW_USE = f"SELECT 1 FROM app_passwords {LAST_USE}"
USE = f"UPDATE app_passwords SET last_used_at = :at, last_used_protocol = :protocol {LAST_USE}"


class AppPassword(msgspec.Struct, frozen=True):
    """One app password, without its secret. Times are in milliseconds since 1970 UTC. `networks` is
    None where the password is valid from everywhere."""

    id: int
    name: str
    scopes: tuple[Protocol, ...]
    networks: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    last_used_protocol: str | None


class CreateAppPassword(msgspec.Struct, frozen=True):
    """A parsed request: the scopes are distinct, and the networks canonical."""

    name: str
    scopes: tuple[Protocol, ...]
    networks: tuple[str, ...] | None = None
    expires_at: int | None = None


class Use(msgspec.Struct, frozen=True):
    """A login with an app password, at a time in milliseconds since 1970 UTC."""

    account_id: int
    at: int
    protocol: str


def get_all(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> tuple[Account, list[AppPassword]]:
    """Returns an account and its app passwords, the oldest first. Raises not_found."""
    account = accounts.get(tx, actor, id_, user_id)
    return account, [_from_row(row) for row in tx.all(LIST, account_id=account.id)]


def create(
    tx: Tx, actor: Actor, id_: int, user_id: str | None, command: CreateAppPassword, key: str
) -> tuple[AppPassword, str]:
    """Makes an app password that works from the commit on, also as the only password that still
    works. Returns it and its secret, which cannot be read again. `key` is that of the digests.

    Raises not_found, `limit_reached`, `not_available` (a host with another key), `invalid_request`
    for an expiry in the past.
    """
    account = accounts.lock(tx, actor, id_, user_id)
    digest_keys.check(tx, digest_key.fingerprint(key))
    if command.expires_at is not None and command.expires_at <= tx.now:
        raise invalid(FieldError("expires_at", "invalid", "This time has passed."))
    present = tx.one(COUNT, account_id=account.id, now=tx.now)
    if present and present[0] >= MOST:
        raise LimitReached("app_passwords", MOST, "delete one")
    made, secret = _insert(tx, account, command, key)
    _record(tx, actor, "credential.created", account, made)
    return made, secret


def delete(
    tx: Tx, actor: Actor, id_: int, user_id: str | None, credential_id: int
) -> tuple[Account, AppPassword, Ended]:
    """Deletes an app password. Returns the account, the app password and its sessions, which must
    end. Raises not_found."""
    account = accounts.lock(tx, actor, id_, user_id)
    row = tx.one(DELETE, id=credential_id, account_id=account.id)
    if row is None:
        raise not_found()
    gone = _from_row(row)
    _record(tx, actor, "credential.deleted", account, gone)
    return account, gone, session_revocations.end(tx, account.id, account.generation, gone.id)


def delete_all(tx: Tx, actor: Actor, account: Account) -> None:
    """Deletes every app password of an account, which must be locked. The caller ends the
    sessions."""
    for row in sorted(tx.all(DELETE_ALL, account_id=account.id), key=lambda row: int(row[0])):
        _record(tx, actor, "credential.deleted", account, _from_row(row), reason="password_reset")


def erase(tx: Tx, account_id: int) -> None:
    """Erases every app password of an account whose purge has begun."""
    tx.run(ERASE, account_id=account_id)


def expired(tx: Tx) -> list[int]:
    """Returns up to STEP app passwords whose time has passed."""
    return [row[0] for row in tx.all(EXPIRED, now=tx.now, limit=STEP)]


def expire(tx: Tx, id_: int) -> None:
    """Deletes an app password whose time has passed. The worker ends its sessions."""
    owner = tx.one(OWNER, id=id_, now=tx.now)
    if owner is None:  # deleted meanwhile
        return
    actor = Actor(owner[0])
    try:
        account = accounts.lock(tx, actor, owner[1], None)
    except Refused:  # the account is deleted: it has no sessions, and its owner gets no events
        tx.run(DELETE, id=id_, account_id=owner[1])
        return
    if row := tx.one(DELETE, id=id_, account_id=account.id):
        gone = _from_row(row)
        _record(tx, actor, "credential.deleted", account, gone, reason="expired")
        session_revocations.end_soon(tx, account.id, account.generation, gone.id)


def new_uses(tx: Tx, uses: Mapping[int, Use]) -> dict[int, Use]:
    """Returns those of the given uses, by the id of the app password, that are worth a write."""
    return {
        id_: use
        for id_, use in uses.items()
        if tx.one(IS_NEW_USE, id=id_, account_id=use.account_id, before=use.at - USE_MS)
    }


def use(tx: Tx, uses: Mapping[int, Use]) -> None:
    """Stores the uses. A time in the future, from a wrong clock, is stored as now."""
    for id_, one in sorted(uses.items()):
        at, before = min(one.at, tx.now), one.at - USE_MS
        tx.run(USE, id=id_, account_id=one.account_id, at=at, protocol=one.protocol, before=before)


def _insert(tx: Tx, account: Account, command: CreateAppPassword, key: str) -> tuple[AppPassword, str]:
    """Inserts a generated password. Another one is generated if the account has one with the same
    digest, because two rows would match then."""
    while True:
        secret = passwords.generate()
        row = tx.one(
            INSERT,
            account_id=account.id,
            name=command.name,
            password=passwords.hash_generated(secret),
            digest=digest_key.digest(key, secret),
            networks=None if command.networks is None else ",".join(command.networks),
            expires_at=command.expires_at,
            now=tx.now,
            **{name.rstrip("3"): int(name in command.scopes) for name in PROTOCOLS},  # no digit in a parameter
        )
        if row:
            return _from_row(row), secret


def _from_row(row: Row) -> AppPassword:
    id_, name, *flags, networks, created_at, expires_at, last_used_at, last_used_protocol = row
    return AppPassword(
        id_,
        name,
        tuple(protocol for protocol, is_allowed in zip(PROTOCOLS, flags, strict=True) if is_allowed),
        None if networks is None else tuple(networks.split(",")),
        created_at,
        expires_at,
        last_used_at,
        last_used_protocol,
    )


def _record(tx: Tx, actor: Actor, type_: str, account: Account, one: AppPassword, reason: str | None = None) -> None:
    facts: dict[str, object] = {"credential_id": one.id, "name": one.name, "scopes": list(one.scopes)}
    facts |= {"networks": list(one.networks)} if one.networks else {}
    account_events.record(tx, actor, type_, account, **facts, **({"reason": reason} if reason else {}))
