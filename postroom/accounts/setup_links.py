"""Setup links: with one, the owner of an account sets its password, once.

The token is kept as a hash. A link belongs to a generation of its account, so each reset,
suspension, sign-out and deletion ends the link in the transaction that does so (decision 0258).
"""

import msgspec

from postroom.accounts import commands
from postroom.accounts.account_events import record
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.auth.tokens import digest
from postroom.db import Tx
from postroom.errors import not_found
from postroom.mailboxes.session_revocations import Ended

# Maximum number of expired rows that one transaction deletes.
STEP = 20

PUT = """
INSERT INTO setup_links (account_id, digest, generation, expires_at)
VALUES (:id, :digest, :generation, :expires_at)
ON CONFLICT (account_id) DO UPDATE
SET digest = excluded.digest, generation = excluded.generation, expires_at = excluded.expires_at"""
FIND = """
SELECT accounts.organization_id, accounts.id, accounts.address, setup_links.expires_at
FROM setup_links JOIN accounts ON accounts.id = setup_links.account_id
JOIN domains ON domains.id = accounts.domain_id
WHERE setup_links.digest = :digest AND setup_links.expires_at > :now
  AND setup_links.generation = accounts.generation AND accounts.status = 'active' AND accounts.deleted_at IS NULL
  AND domains.status <> 'pending'"""
USE = "DELETE FROM setup_links WHERE digest = :digest RETURNING generation"
FORGET = """
DELETE FROM setup_links WHERE account_id IN (
  SELECT account_id FROM setup_links WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)"""
WAITING = "SELECT 1 FROM setup_links WHERE expires_at > :now LIMIT 1"
END_ALL = "DELETE FROM setup_links"
ERASE = "DELETE FROM setup_links WHERE account_id = :id"


class Found(msgspec.Struct, frozen=True):
    """The account of a valid link, and until when the link is valid (milliseconds since 1970)."""

    organization_id: int
    id: int
    address: str
    expires_at: int

    @property
    def local_part(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def make(tx: Tx, actor: Actor, account: Account, token: str, seconds: int) -> int:
    """Makes this token the only setup link of an account that the transaction has locked or made.
    Returns when the link expires."""
    tx.run(FORGET, now=tx.now, limit=STEP)
    expires_at = tx.now + seconds * 1000
    tx.run(PUT, id=account.id, digest=digest(token), generation=account.generation, expires_at=expires_at)
    record(tx, actor, "account.setup_link_created", account)
    return expires_at


def find(tx: Tx, token: str) -> Found:
    """Returns the account of a link. Raises not_found for every link that is not valid now."""
    row = tx.one(FIND, digest=digest(token), now=tx.now)
    if row is None:
        raise not_found()
    return Found(*row)


def accept(tx: Tx, actor: Actor, token: str, password: str) -> tuple[Account, Ended]:
    """Uses a link up and sets this password hash, which the owner chose. Returns the account and
    the sessions that must end. Raises not_found for a link that is not valid any more."""
    account = commands.lock(tx, actor, find(tx, token).id, None)
    used = tx.one(USE, digest=digest(token))
    if used is None or used[0] != account.generation or account.status != "active":
        raise not_found()
    return commands.set_password(tx, actor, account, password)


def are_waiting(tx: Tx) -> bool:
    """Whether there is a link that has not expired."""
    return tx.one(WAITING, now=tx.now) is not None


def erase(tx: Tx, account_id: int) -> None:
    """Removes the link of an account that is purged."""
    tx.run(ERASE, id=account_id)
