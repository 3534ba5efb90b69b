"""Hidden accounts: one for a domain whose route keeps no mail. It gets mail to the addresses that
nobody has, and keeps what a webhook has got until its links end.

Its row is one of a deleted account that is not due to be erased, so nothing that shows, counts,
limits or changes accounts knows it, and nobody can log in (decision 0314).
"""

from postroom.accounts.commands import OWNED
from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Tx
from postroom.domains.commands import Domain
from postroom.errors import not_found

# Largest number of accounts that one transaction ends.
STEP = 100
# The local part of a hidden account, as of a catch-all: no account can have it.
LOCAL_PART = "*"
# Bytes of mail that a hidden account holds. Anybody can send to the addresses that nobody has.
QUOTA_BYTES = 20 * 10**9
# Milliseconds after a change of the route's mode in which mail may still be found that came before.
SETTLE_MS = 600_000

# An update that changes nothing locks the row, so that it does not end in the meantime.
LOCK = """
UPDATE hidden_accounts SET ended_at = NULL
WHERE domain_id = :domain_id AND organization_id = :organization AND ended_at IS NULL RETURNING account_id"""
MAKE = """
INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
  created_at, updated_at, deleted_at, quota_bytes)
VALUES (:organization, :domain_id, :user_id, :address, 'disabled', 0, '', 1, :now, :now, :now, :quota_bytes)
RETURNING id, EXISTS (SELECT 1 FROM nodes WHERE id > 0 AND seen_at IS NOT NULL)"""
INSERT = """
INSERT INTO hidden_accounts (account_id, organization_id, domain_id) VALUES (:account_id, :organization, :domain_id)"""
GET = f"""
SELECT {COLUMNS} FROM accounts {OWNED} AND EXISTS (
  SELECT 1 FROM hidden_accounts WHERE hidden_accounts.account_id = accounts.id AND ended_at IS NULL)"""
IS_HIDDEN = "SELECT 1 FROM hidden_accounts WHERE account_id = :account_id"
PAGE = """
SELECT account_id FROM hidden_accounts
WHERE ended_at IS NULL AND account_id > :after AND (CAST(:node AS BIGINT) IS NULL OR EXISTS (
  SELECT 1 FROM account_homes WHERE account_homes.account_id = hidden_accounts.account_id AND node_id = :node))
ORDER BY account_id LIMIT :limit"""
# It ends with its domain; or without a route that wants it, when its last message is gone. For an
# EXISTS in a list, PostgreSQL would read the whole tables.
IS_UNUSED = """(
  (SELECT 1 FROM domains WHERE domains.id = hidden_accounts.domain_id AND deleted_at IS NOT NULL) IS NOT NULL
  OR (SELECT 1 FROM webhooks WHERE webhooks.domain_id = hidden_accounts.domain_id AND forward_mode IS NOT NULL
      AND (forward_mode = 'webhook' OR webhooks.updated_at > :settled)) IS NULL
    AND (SELECT 1 FROM passing_messages WHERE hidden_id = hidden_accounts.account_id LIMIT 1) IS NULL)"""
LIVING = f"""
SELECT domain_id, {IS_UNUSED} FROM hidden_accounts
WHERE ended_at IS NULL AND domain_id > :after ORDER BY domain_id LIMIT :limit"""
LOCK_LIVING = "UPDATE hidden_accounts SET ended_at = NULL WHERE domain_id = :domain_id AND ended_at IS NULL"
END = f"""
UPDATE hidden_accounts SET ended_at = :now
WHERE domain_id = :domain_id AND ended_at IS NULL AND {IS_UNUSED} RETURNING account_id"""
ERASE = "UPDATE accounts SET purge_at = :now WHERE id = :id AND purge_at IS NULL AND deleted_at IS NOT NULL"


def ensure(tx: Tx, domain: Domain) -> None:
    """Makes the hidden account of a domain unless there is one. The transaction has locked the
    route. Raises Busy if no node takes accounts."""
    named = {"organization": domain.organization_id, "domain_id": domain.id}
    if tx.one(LOCK, **named):
        return
    address = f"{LOCAL_PART}@{domain.name}"
    row = tx.one(MAKE, **named, user_id=domain.user_id or "", address=address, now=tx.now, quota_bytes=QUOTA_BYTES)
    if row is None:
        raise LookupError("an insert that returned no row")
    id_, has_nodes = row
    tx.run(INSERT, account_id=id_, **named)
    if has_nodes:
        nodes.place(tx, id_, domain.id)


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Account:
    """Returns a hidden account of the actor's organization, for the links to its messages. Raises
    not_found."""
    row = tx.one(GET, id=id_, organization=actor.organization_id, user_id=user_id, bound=actor.restricted_key_id)
    if row is None:
        raise not_found()
    return from_row(row)


def page(tx: Tx, after: int, node: int | None) -> list[int]:
    """Returns hidden accounts after a cursor, at most STEP; with `node`, those whose home it is."""
    return [row[0] for row in tx.all(PAGE, after=after, node=node, limit=STEP)]


def is_hidden(tx: Tx, account_id: int) -> bool:
    """Whether the account is a hidden one, or was."""
    return tx.one(IS_HIDDEN, account_id=account_id) is not None


def end_unused(tx: Tx, after: int = 0) -> int | None:
    """Ends the hidden accounts that nothing needs any more, so that their mail is erased; looks at
    STEP at most, after a cursor. Returns the next cursor; None: that was all."""
    settled = tx.now - SETTLE_MS
    found = tx.all(LIVING, after=after, limit=STEP, settled=settled)
    for domain_id in (id_ for id_, is_unused in found if is_unused):
        tx.run(LOCK_LIVING, domain_id=domain_id)  # END then sees what another transaction has just written
        row = tx.one(END, domain_id=domain_id, now=tx.now, settled=settled)
        if row is not None:
            tx.run(ERASE, id=row[0], now=tx.now)
    return found[-1][0] if len(found) == STEP else None
