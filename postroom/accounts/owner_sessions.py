"""Sessions of the owner's page: the owner of an account has signed in with its password.

A session is a row, so every node knows it. It belongs to a generation of its account, so each
reset, suspension, sign-out and deletion ends it in the transaction that does so (decision 0268).
"""

import msgspec

from postroom.accounts import commands, login_networks
from postroom.accounts.account_events import record
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.auth.tokens import digest
from postroom.db import Tx
from postroom.errors import Refused

IDLE_MS = 30 * 60 * 1000
LONGEST_MS = 12 * 3600 * 1000
# Minimum interval between two writes that extend a session.
EXTEND_MS = 60_000
# Maximum number of sessions of one account.
MOST = 20
# Maximum number of expired rows that one transaction deletes.
STEP = 200

ENDED = "The session has ended: sign in again."
# Which accounts have an owner's page now.
MAY = """accounts.status = 'active' AND accounts.main_password = 1 AND accounts.deleted_at IS NULL
  AND domains.status <> 'pending'"""
ORGANIZATION = f"""
SELECT accounts.organization_id FROM accounts JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.id = :id AND accounts.generation = :generation AND {MAY}"""
INSERT = """
INSERT INTO owner_sessions (account_id, digest, generation, created_at, expires_at)
VALUES (:account_id, :digest, :generation, :now, :expires_at)"""
FIND = f"""
SELECT owner_sessions.id, owner_sessions.created_at, owner_sessions.expires_at, accounts.organization_id, accounts.id
FROM owner_sessions JOIN accounts ON accounts.id = owner_sessions.account_id
JOIN domains ON domains.id = accounts.domain_id
WHERE owner_sessions.digest = :digest AND owner_sessions.expires_at > :now
  AND owner_sessions.generation = accounts.generation AND {MAY}"""
IS_OPEN = """
SELECT 1 FROM owner_sessions WHERE id = :id AND account_id = :account_id AND generation = :generation"""
EXTEND = "UPDATE owner_sessions SET expires_at = :expires_at WHERE id = :id AND expires_at > :now"
RENEW = """
UPDATE owner_sessions SET digest = :digest, generation = :generation
WHERE id = :id AND account_id = :account_id RETURNING id"""
END = "DELETE FROM owner_sessions WHERE id = :id AND account_id = :account_id"
# Keeps the newest :most sessions of an account and ends the older ones.
END_OLDEST = """
DELETE FROM owner_sessions WHERE account_id = :account_id AND id <= (
  SELECT id FROM owner_sessions WHERE account_id = :account_id ORDER BY id DESC LIMIT 1 OFFSET :most)"""
END_EXPIRED = """
DELETE FROM owner_sessions WHERE id IN (
  SELECT id FROM owner_sessions WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit) RETURNING id"""
ERASE = "DELETE FROM owner_sessions WHERE account_id = :account_id"
END_ALL = "DELETE FROM owner_sessions"


class Found(msgspec.Struct, frozen=True):
    """An open session. `expires_at` is when it ends unless it is used (milliseconds since 1970)."""

    id: int
    created_at: int
    expires_at: int
    organization_id: int
    account_id: int

    def extended(self, now: int) -> int:
        """When the session ends if it is used now."""
        return min(now + IDLE_MS, self.created_at + LONGEST_MS)


def start(tx: Tx, actor: Actor, generation: int, token: str) -> Account:
    """Signs in the owner of the account `actor.account_id`, whose password of this generation was
    right. Returns the account. Raises `unauthorized` if the account has changed since. The
    organization is that of the account, not the actor's."""
    id_ = actor.account_id or 0
    found = tx.one(ORGANIZATION, id=id_, generation=generation)
    if found is None:
        raise Refused("unauthorized", "The address or the password is wrong.")
    forget(tx)
    actor = msgspec.structs.replace(actor, organization_id=found[0])
    account = commands.get(tx, actor, id_, None)
    tx.run(
        INSERT,
        account_id=account.id,
        digest=digest(token),
        generation=generation,
        now=tx.now,
        expires_at=tx.now + IDLE_MS,
    )
    tx.run(END_OLDEST, account_id=account.id, most=MOST)
    if network := login_networks.network_of(actor.client_address or ""):
        login_networks.remember(tx, {(account.id, network): tx.now})
    record(tx, actor, "account.owner_signed_in", account)
    return account


def find(tx: Tx, token: str) -> tuple[Found, int] | None:
    """Returns the open session of a token and the present time; None if it has ended."""
    row = tx.one(FIND, digest=digest(token), now=tx.now)
    return (Found(*row), tx.now) if row else None


def check(tx: Tx, actor: Actor) -> None:
    """Locks the account of the actor's session, for a change. Raises `unauthorized` if a reset, a
    suspension or a deletion has ended the session since the request came in."""
    try:
        account = commands.lock(tx, actor, actor.account_id or 0, None)
    except Refused:
        raise Refused("unauthorized", ENDED) from None
    if not account.main_password or not tx.one(
        IS_OPEN, id=actor.session_id, account_id=account.id, generation=account.generation
    ):
        raise Refused("unauthorized", ENDED)


def extend(tx: Tx, session: Found) -> None:
    """Notes that the session is used now."""
    tx.run(EXTEND, id=session.id, expires_at=session.extended(tx.now), now=tx.now)


def renew(tx: Tx, actor: Actor, account: Account, token: str) -> None:
    """Gives the actor's session another token, and lets it live in the new generation of the
    account. A session that has ended meanwhile stays ended."""
    tx.run(RENEW, id=actor.session_id, account_id=account.id, digest=digest(token), generation=account.generation)


def end(tx: Tx, actor: Actor) -> None:
    """Signs out: ends the actor's session."""
    tx.run(END, id=actor.session_id, account_id=actor.account_id)


def forget(tx: Tx) -> int:
    """Deletes expired sessions, up to STEP of them. Returns their number."""
    return len(tx.all(END_EXPIRED, now=tx.now, limit=STEP))


def erase(tx: Tx, account_id: int) -> None:
    """Removes the sessions of an account that is purged."""
    tx.run(ERASE, account_id=account_id)
