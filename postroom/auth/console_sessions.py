"""Sessions of the web console, and the links that sign in once. Each stands for one API key and
never allows more than that key.

A session stores neither the key nor its rights: every request looks them up by the key's id. So a
session ends with its key (decision 0062), at once and in every process.
"""

import msgspec

from postroom import events
from postroom.actor import Actor
from postroom.auth import keys
from postroom.auth.tokens import digest, new_token
from postroom.db import Tx
from postroom.errors import Refused

HOUR_MS = 3600 * 1000
SESSION_MS = 12 * HOUR_MS
LINK_MS = HOUR_MS // 4
# Maximum number of sessions of one key.
MOST = 100
# Maximum number of rows that one transaction deletes from each table.
STEP = 200

INSERT = """
INSERT INTO console_sessions (organization_id, key_id, digest, created_at, expires_at)
VALUES (:organization, :key_id, :digest, :now, :expires_at)"""
FIND = "SELECT key_id, expires_at FROM console_sessions WHERE digest = :digest AND expires_at > :now"
END = "DELETE FROM console_sessions WHERE digest = :digest"
END_EXPIRED = """
DELETE FROM console_sessions WHERE id IN (
  SELECT id FROM console_sessions WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit) RETURNING id"""
# Keeps the newest :most sessions of a key and ends the older ones.
END_OLDEST = """
DELETE FROM console_sessions
WHERE key_id = :key_id AND organization_id = :organization AND id <= (
  SELECT id FROM console_sessions WHERE key_id = :key_id ORDER BY id DESC LIMIT 1 OFFSET :most)"""
INSERT_LINK = """
INSERT INTO console_links (organization_id, key_id, digest, expires_at)
VALUES (:organization, :key_id, :digest, :expires_at)"""
TAKE_LINK = "DELETE FROM console_links WHERE digest = :digest AND expires_at > :now RETURNING key_id"
END_LINKS = """
DELETE FROM console_links WHERE id IN (
  SELECT id FROM console_links WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit) RETURNING id"""


class Session(msgspec.Struct, frozen=True):
    """An open session: its actor, and when it expires (milliseconds since 1970). `token` goes into
    the cookie and nowhere else."""

    token: str
    actor: Actor
    expires_at: int


def start(tx: Tx, actor: Actor) -> Session:
    """Signs in the holder of a key. If the key then has more than MOST sessions, the oldest ones
    end."""
    forget(tx)
    token, expires_at = new_token(), tx.now + SESSION_MS
    tx.run(
        INSERT,
        organization=actor.organization_id,
        key_id=actor.key_id,
        digest=digest(token),
        now=tx.now,
        expires_at=expires_at,
    )
    tx.run(END_OLDEST, organization=actor.organization_id, key_id=actor.key_id, most=MOST)
    events.record(tx, actor, "console.signed_in", user_id=actor.user_id)
    return Session(token, actor, expires_at)


def find(tx: Tx, token: str, client_address: str) -> tuple[Session, bool] | None:
    """Returns the open session of a token, and whether to record the use of its key (see
    `keys.use`). None if the session has ended or if its key would be refused now."""
    row = tx.one(FIND, digest=digest(token), now=tx.now)
    found = keys.authenticate_id(tx, row[0], client_address) if row else None
    if row is None or found is None:
        return None
    actor, is_to_note = found
    return Session(token, actor, row[1]), is_to_note


def end(tx: Tx, token: str) -> None:
    """Signs out. Does nothing if the session has already ended."""
    tx.run(END, digest=digest(token))


def forget(tx: Tx) -> int:
    """Deletes expired sessions and links, up to STEP of each. Returns the larger of the two
    counts."""
    removed = [tx.all(sql, now=tx.now, limit=STEP) for sql in (END_EXPIRED, END_LINKS)]
    return max(map(len, removed))


def make_link(tx: Tx, organization_id: int, key_id: int) -> str:
    """Returns the token of a link that signs in with this key, once, within LINK_MS."""
    forget(tx)
    token = new_token()  # 43 characters: with the usual address the link fits into 80 columns
    tx.run(
        INSERT_LINK,
        organization=organization_id,
        key_id=key_id,
        digest=digest(token),
        expires_at=tx.now + LINK_MS,
    )
    return token


def follow_link(tx: Tx, token: str, request_id: str, client_address: str) -> Session:
    """Signs in with a link and uses it up. Raises `unauthorized` if the link is used, expired or
    unknown."""
    row = tx.one(TAKE_LINK, digest=digest(token), now=tx.now)
    found = keys.authenticate_id(tx, row[0], client_address) if row else None
    if found is None:
        detail = "This link has been used or is too old: postroom console-link makes another, or sign in with a key."
        raise Refused("unauthorized", detail)
    return start(tx, msgspec.structs.replace(found[0], request_id=request_id, client_address=client_address))
