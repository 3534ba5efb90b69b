"""A database with a million accounts, in minutes: the rows that `accounts.create` would write, made
by the database.

    python -m bench.fill [--accounts N] [--domains N] [--database-url URL]

Without a URL it makes a new SQLite file. This does not go through the product's own functions,
which would take a statement for each row. bench/scale.py asks the product about what it made.
"""

import argparse
import tempfile
import time
from pathlib import Path

import psycopg
from rich.progress import track

from postroom.accounts import passwords
from postroom.auth.keys import CreateKey
from postroom.db import Tx, migrate, open_database
from postroom.service import bootstrap
from postroom.tenants.organizations import ensure

ORGANIZATION = "bench"
USERS = 1000
CHUNK = 25_000

# Each user's first account is the default one.
ACCOUNTS = """
INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
  created_at, updated_at)
WITH RECURSIVE numbers (n) AS (
  SELECT CAST(:first AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < CAST(:last AS BIGINT))
SELECT domains.organization_id, domains.id, 'user_' || (n % CAST(:users AS BIGINT)), 'a' || n || '@' || domains.name,
  'active', CASE WHEN n < CAST(:users AS BIGINT) THEN 1 ELSE 0 END, :password, 1, CAST(:now AS BIGINT),
  CAST(:now AS BIGINT)
FROM numbers JOIN domains ON domains.name = 'd' || (n % CAST(:domains AS BIGINT)) || '.test'
  AND domains.status <> 'pending'
ORDER BY n"""
ADDRESSES = """
INSERT INTO addresses (domain_id, local_part, account_id, user_id)
SELECT accounts.domain_id, REPLACE(accounts.address, '@' || domains.name, ''), accounts.id, accounts.user_id
FROM accounts JOIN domains ON domains.id = accounts.domain_id WHERE accounts.id > :after ORDER BY accounts.id"""
# Two aliases of each account: x… and y… before its address.
ALIASES = """
INSERT INTO aliases (organization_id, domain_id, user_id, address, kind, may_send, created_at, updated_at)
SELECT organization_id, domain_id, user_id, letters.letter || address, 'alias', 1, created_at, updated_at
FROM accounts CROSS JOIN (SELECT 'x' AS letter UNION ALL SELECT 'y') AS letters
WHERE accounts.id > :after ORDER BY accounts.id, letters.letter"""
MEMBERS = """
INSERT INTO alias_members (alias_id, account_id)
SELECT aliases.id, addresses.account_id
FROM aliases JOIN domains ON domains.id = aliases.domain_id
JOIN addresses ON addresses.domain_id = aliases.domain_id
  AND addresses.local_part = REPLACE(SUBSTR(aliases.address, 2), '@' || domains.name, '')
WHERE aliases.id > :after ORDER BY aliases.id"""
ALIAS_ADDRESSES = """
INSERT INTO addresses (domain_id, local_part, alias_id, user_id)
SELECT aliases.domain_id, REPLACE(aliases.address, '@' || domains.name, ''), aliases.id, aliases.user_id
FROM aliases JOIN domains ON domains.id = aliases.domain_id WHERE aliases.id > :after ORDER BY aliases.id"""
SCRIPTS = """
INSERT INTO delivery_scripts (account_id, username, script)
SELECT id, id || '@acct.internal', 'keep;' FROM accounts WHERE id > :after"""
EVENTS = """
INSERT INTO events (organization_id, type, account_id, domain_id, user_id, data, created_at)
SELECT organization_id, 'account.created', id, domain_id, user_id,
  '{"address":"' || address || '","status":"active"}', created_at
FROM accounts WHERE id > :after ORDER BY id"""
COUNTS = """
INSERT INTO account_counts (organization_id, user_id, domain_id, status, accounts)
SELECT organization_id, '', domain_id, 'active', COUNT(*) FROM accounts
WHERE organization_id = :organization GROUP BY organization_id, domain_id
UNION ALL
SELECT organization_id, user_id, domain_id, 'active', COUNT(*) FROM accounts
WHERE organization_id = :organization GROUP BY organization_id, user_id, domain_id"""
HOLDERS = """
INSERT INTO account_users (organization_id, user_id)
SELECT DISTINCT organization_id, user_id FROM accounts WHERE organization_id = :organization"""
NEWEST = "SELECT COALESCE(MAX(id), 0) FROM accounts"
NEWEST_ALIAS = "SELECT COALESCE(MAX(id), 0) FROM aliases"


def fill(url: str, accounts: int, domains: int, *, aliases: bool = False) -> tuple[int, str, int]:
    """Fills a migrated database; with `aliases`, each account has two, and a delivery script.
    Answers the organization, a key and the id of the first account."""
    database = open_database(url)
    hashed = passwords.hash_generated(passwords.generate())

    def prepare(tx: Tx) -> tuple[int, str, int]:
        for number in range(domains):
            bootstrap.create_domain(tx, ORGANIZATION, f"d{number}.test", None, "active")
        return ensure(tx, ORGANIZATION), bootstrap.create_key(tx, ORGANIZATION, CreateKey()), _newest(tx, NEWEST) + 1

    def chunk(tx: Tx, first: int) -> None:
        before, last = _newest(tx, NEWEST), min(first + CHUNK, accounts) - 1
        numbers = {"first": first, "last": last, "users": USERS, "domains": domains}
        tx.run(ACCOUNTS, **numbers, password=hashed, now=tx.now)
        tx.run(ADDRESSES, after=before)
        tx.run(EVENTS, after=before)
        if aliases:
            newest = _newest(tx, NEWEST_ALIAS)
            tx.run(SCRIPTS, after=before)
            tx.run(ALIASES, after=before)
            for sql in (MEMBERS, ALIAS_ADDRESSES):
                tx.run(sql, after=newest)

    try:
        organization, key, first_id = database.write_sync(prepare)
        for first in track(range(0, accounts, CHUNK), f"{accounts:,} accounts", transient=True):
            database.write_sync(lambda tx, first=first: chunk(tx, first))  # type: ignore[misc]
        for sql in (COUNTS, HOLDERS):
            database.write_sync(lambda tx, sql=sql: tx.run(sql, organization=organization))  # type: ignore[misc]
    finally:
        database.close()
    if url.startswith("postgresql"):  # what autovacuum does soon after, at a moment that nobody knows
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
    return organization, key, first_id


def _newest(tx: Tx, sql: str) -> int:
    row = tx.one(sql)
    return int(row[0]) if row else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=1)
    parser.add_argument("--database-url")
    options = parser.parse_args()
    url = options.database_url or f"sqlite:///{Path(tempfile.mkdtemp(prefix='postroom-fill-')) / 'postroom.db'}"
    began = time.perf_counter()
    migrate(url)
    _, key, first = fill(url, options.accounts, options.domains)
    print(f"{options.accounts:,} accounts from id {first} in {time.perf_counter() - began:.0f} s: {url}\nkey: {key}")


if __name__ == "__main__":
    main()
