"""Mail tokens: with one, a browser or an agent that must not hold an API key reads, changes or
sends the mail of one user.

A token stores neither its key nor the key's rights: every request looks them up by the key's id, so
a token ends with its key. Each account that it opens is kept with its generation, so each reset,
suspension, sign-out and deletion closes the account in its transaction (decision 0337).
"""

import msgspec

from postroom import events
from postroom.accounts import account_events
from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.auth import keys
from postroom.auth.tokens import digest
from postroom.db import Tx
from postroom.errors import FieldError, Refused, invalid, not_found

MARK = "mt_"
# What a token may do, and what it may do if nothing was asked for.
SCOPES = ("messages:read", "messages:write", "messages:send")
DEFAULT_SCOPES = SCOPES[:2]
# Largest number of accounts that a token opens, and of tokens of one user.
MOST_ACCOUNTS = 100
MOST = 100
# Maximum number of expired rows that one transaction deletes.
STEP = 200

ACCOUNTS = f"""
SELECT {COLUMNS} FROM accounts
WHERE organization_id = :organization AND user_id = :user_id AND id >= :first AND id <= :last AND deleted_at IS NULL
  AND (CAST(:bound AS BIGINT) IS NULL OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY id LIMIT :limit"""
INSERT = """
INSERT INTO mail_tokens (organization_id, key_id, user_id, account_id, digest, scopes, created_at, expires_at)
VALUES (:organization, :key_id, :user_id, :account_id, :digest, :scopes, :now, :expires_at) RETURNING id"""
INSERT_ACCOUNT = """
INSERT INTO mail_token_accounts (token_id, account_id, generation) VALUES (:token_id, :account_id, :generation)"""
# Keeps the newest :most tokens of a user and ends the older ones.
END_OLDEST = """
DELETE FROM mail_tokens WHERE organization_id = :organization AND user_id = :user_id AND id <= (
  SELECT id FROM mail_tokens WHERE organization_id = :organization AND user_id = :user_id
  ORDER BY id DESC LIMIT 1 OFFSET :most)"""
# The accounts that are open to a token.
OPEN = """
FROM mail_token_accounts JOIN accounts ON accounts.id = mail_token_accounts.account_id
JOIN domains ON domains.id = accounts.domain_id
WHERE mail_token_accounts.generation = accounts.generation AND accounts.status = 'active'
  AND accounts.deleted_at IS NULL AND domains.status <> 'pending'"""
FIND = f"""
SELECT id, key_id, user_id, scopes FROM mail_tokens
WHERE digest = :digest AND expires_at > :now AND EXISTS (
  SELECT 1 {OPEN} AND mail_token_accounts.token_id = mail_tokens.id)"""
OPEN_TO = f"""{OPEN}
  AND mail_token_accounts.token_id = :token_id AND accounts.organization_id = :organization
  AND accounts.user_id = :user_id
  AND (CAST(:bound AS BIGINT) IS NULL
    OR accounts.domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
OPENS = f"SELECT 1 {OPEN_TO} AND accounts.id = :account_id"
# A token for one account means this account; any other token the user's default account.
MEANT = f"""
SELECT accounts.id {OPEN_TO} AND (accounts.is_default = 1 OR EXISTS (SELECT 1 FROM mail_tokens WHERE id = :token_id
    AND organization_id = :organization AND account_id IS NOT NULL))"""
END_EXPIRED = """
DELETE FROM mail_tokens WHERE id IN (
  SELECT id FROM mail_tokens WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit) RETURNING id"""
ERASE = "DELETE FROM mail_token_accounts WHERE account_id = :account_id"
END_ALL_ACCOUNTS = "DELETE FROM mail_token_accounts"
END_ALL = "DELETE FROM mail_tokens"


class CreateMailToken(msgspec.Struct, frozen=True):
    """A parsed request. Without an account, the token opens those that the user has now. `scopes`
    None: the key's among DEFAULT_SCOPES."""

    user_id: str
    account_id: int | None
    scopes: tuple[str, ...] | None
    seconds: int


class MailToken(msgspec.Struct, frozen=True):
    """What a new token may do, and until when (milliseconds since 1970)."""

    scopes: tuple[str, ...]
    expires_at: int


def create(tx: Tx, actor: Actor, command: CreateMailToken, token: str) -> MailToken:
    """Makes a token. If its user then has more than MOST tokens, the oldest ones end.

    Raises `forbidden` (wider than the actor's key), not_found (no such account, or a user without
    accounts), `account_suspended`, `account_disabled`, `invalid_request` (more than MOST_ACCOUNTS
    accounts).
    """
    scopes = _scopes(actor, command)
    accounts = _accounts(tx, actor, command)
    end = tx.now + command.seconds * 1000
    key = keys.get(tx, actor.organization_id, actor.key_id or 0)
    made = MailToken(scopes, end if key.expires_at is None else min(end, key.expires_at))
    ((token_id,),) = tx.all(
        INSERT,
        organization=actor.organization_id,
        key_id=key.id,
        user_id=command.user_id,
        account_id=command.account_id,
        digest=digest(token),
        scopes=" ".join(scopes),
        now=tx.now,
        expires_at=made.expires_at,
    )
    for account in accounts:
        tx.run(INSERT_ACCOUNT, token_id=token_id, account_id=account.id, generation=account.generation)
    tx.run(END_OLDEST, organization=actor.organization_id, user_id=command.user_id, most=MOST)
    data = {"scopes": scopes, "expires_in": command.seconds}
    if command.account_id is not None:
        account_events.record(tx, actor, "mail_token.created", accounts[0], **data)
    else:
        events.record(tx, actor, "mail_token.created", user_id=command.user_id, data=data)
    return made


def authenticate(tx: Tx, token: str, client_address: str) -> tuple[Actor, bool] | None:
    """Returns the actor of a token, and whether to record the use of its key (see `keys.use`). None
    if the token is unknown, has expired or opens no account any more, or if its key would be
    refused now."""
    row = tx.one(FIND, digest=digest(token), now=tx.now)
    if row is None:
        return None
    token_id, key_id, user_id, scopes = row
    found = keys.authenticate_id(tx, key_id, client_address)
    if found is None:
        return None
    actor, is_to_note = found
    return (
        msgspec.structs.replace(
            actor, scopes=actor.scopes & frozenset(scopes.split()), user_id=user_id, token_id=token_id
        ),
        is_to_note,
    )


def check(tx: Tx, actor: Actor, account_id: int) -> None:
    """Raises not_found unless the actor's token opens this account."""
    if not tx.one(OPENS, account_id=account_id, **_whose(actor)):
        raise not_found()


def meant(tx: Tx, actor: Actor) -> int:
    """Returns the id of the account that the actor's token means where none is named. Raises
    not_found."""
    row = tx.one(MEANT, **_whose(actor))
    if row is None:
        raise not_found()
    return int(row[0])


def forget(tx: Tx) -> int:
    """Deletes expired tokens, up to STEP of them. Returns their number."""
    return len(tx.all(END_EXPIRED, now=tx.now, limit=STEP))


def erase(tx: Tx, account_id: int) -> None:
    """Closes an account that is purged to every token."""
    tx.run(ERASE, account_id=account_id)


def _whose(actor: Actor) -> dict[str, int | str | None]:
    return {
        "organization": actor.organization_id,
        "user_id": actor.user_id,
        "token_id": actor.token_id,
        "bound": actor.restricted_key_id,
    }


def _scopes(actor: Actor, command: CreateMailToken) -> tuple[str, ...]:
    if command.scopes is None:
        return tuple(scope for scope in DEFAULT_SCOPES if scope in actor.scopes)
    if not set(command.scopes) <= actor.scopes:
        wider = FieldError("scopes", "too_wide", "Your key lacks one of these scopes.")
        raise Refused("forbidden", "A token is no wider than its key: ask for less, or use a wider key.", wider)
    return command.scopes


def _accounts(tx: Tx, actor: Actor, command: CreateMailToken) -> list[Account]:
    """The active accounts that the token opens. No lock: a change that comes between starts another
    generation."""
    first, last = (0, 2**62) if command.account_id is None else (command.account_id, command.account_id)
    rows = tx.all(
        ACCOUNTS,
        organization=actor.organization_id,
        user_id=command.user_id,
        first=first,
        last=last,
        bound=actor.restricted_key_id,
        limit=MOST_ACCOUNTS + 1,
    )
    if not rows:
        raise not_found()
    if len(rows) > MOST_ACCOUNTS:
        message = f"This user has more than {MOST_ACCOUNTS} accounts: name one."
        raise invalid(FieldError("account_id", "required", message))
    found = [from_row(row) for row in rows]
    active = [account for account in found if account.status == "active"]
    if not active:
        status = found[0].status
        raise Refused(f"account_{status}", f"The account is {status}: a token opens only active accounts.")
    return active
