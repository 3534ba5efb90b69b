"""A PostgreSQL database with many rows in every table, to plan in."""

import psycopg

from postroom.db import migrate
from tests.harness.postgres import PostgresServer

# PostgreSQL plans by the content of the tables: so many rows that reading a whole index never looks
# cheap.
FILL = """
INSERT INTO organizations (name, created_at) SELECT 'o' || n, 1 FROM generate_series(1, 20) AS n;
INSERT INTO domains (organization_id, user_id, name, status, created_at, updated_at)
  SELECT 1 + n % 20, 'u' || n % 7, 'd' || n || '.test', CASE WHEN n > 400 THEN 'pending' ELSE 'active' END, 1, 1
  FROM generate_series(1, 800) AS n;
INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
    created_at, updated_at)
  SELECT 1 + n % 20, 1 + n % 400, 'u' || n % 50, 'a' || n || '@d' || 1 + n % 400 || '.test', 'active', 0, 'x', 1, 1, 1
  FROM generate_series(1, 20000) AS n;
INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
    created_at, updated_at, deleted_at, purge_at)
  SELECT 1 + n % 20, 1 + n % 400, 'u' || n % 50, 'gone' || n, 'active', 0, 'x', 1, 1, 1, 1, n
  FROM generate_series(1, 20000) AS n;
UPDATE accounts SET quota_check_at = id, over_quota_at = 1 WHERE id % 4 = 0;
INSERT INTO addresses (domain_id, local_part, account_id, user_id)
  SELECT domain_id, 'a' || id, id, user_id FROM accounts;
INSERT INTO aliases (organization_id, domain_id, user_id, address, kind, may_send, created_at, updated_at, expires_at)
  SELECT organization_id, domain_id, user_id, 'b' || address, 'alias', 1, 1, 1, id FROM accounts;
INSERT INTO alias_members (alias_id, account_id) SELECT id, id FROM aliases;
INSERT INTO addresses (domain_id, local_part, alias_id, user_id) SELECT domain_id, 'b' || id, id, user_id FROM aliases;
INSERT INTO events (organization_id, type, account_id, domain_id, user_id, data, created_at)
  SELECT organization_id, 't', id, domain_id, user_id, '{}', 1 FROM accounts;
INSERT INTO account_counts (organization_id, user_id, domain_id, status, accounts)
  SELECT DISTINCT organization_id, user_id, domain_id, 'active', 1 FROM accounts;
INSERT INTO api_keys (organization_id, prefix, digest, scopes, created_at)
  SELECT organization_id, 'p', 'd' || id, 's', 1 FROM accounts;
INSERT INTO api_key_domains (key_id, domain_id) SELECT id, 1 + id % 400 FROM api_keys;
INSERT INTO session_endings (account_id, generation, due_at) SELECT id, 1, id FROM accounts;
INSERT INTO dkim_keys (domain_id, selector, private_key, value, state, created_at, due_at)
  SELECT id, 's', 'k', 'v', state, 1, id
  FROM domains CROSS JOIN (VALUES ('signing'), ('next'), ('retiring')) AS s (state);
INSERT INTO idempotent_answers (organization_id, key_id, name, request, answer, expires_at)
  SELECT organization_id, id, 'n' || id, 'r', 'a', id FROM api_keys;
INSERT INTO console_sessions (organization_id, key_id, digest, created_at, expires_at)
  SELECT organization_id, id, 'd' || id, 1, id FROM api_keys;
INSERT INTO console_links (organization_id, key_id, digest, expires_at)
  SELECT organization_id, id, 'd' || id, id FROM api_keys;
INSERT INTO mail_host (id, name) VALUES (1, 'd1.test');
INSERT INTO domain_checks (domain_id, due_at, free_at, failures) SELECT id, id, 0, 0 FROM domains;
INSERT INTO domain_names (name) SELECT DISTINCT name FROM domains;
INSERT INTO domain_spellings (spelling, name) SELECT DISTINCT 'x' || name, name FROM domains;
INSERT INTO leases (kind, item, free_at, failures)
  SELECT kind, id, id, 0 FROM accounts CROSS JOIN (VALUES ('session'), ('purge'), ('key')) AS k (kind);
INSERT INTO nodes (name, address, port, founder, created_at, seen_at)
  SELECT 'n' || n, '192.0.2.' || n, 1, 0, 1, 1 FROM generate_series(1, 20) AS n;
INSERT INTO node_loads (node_id, shard, accounts) SELECT id, n, 1 FROM nodes CROSS JOIN generate_series(0, 15) AS n;
INSERT INTO account_homes (account_id, node_id) SELECT id, 1 + id % 20 FROM accounts;
INSERT INTO account_moves (account_id, source, target, phase, created_at)
  SELECT id, 1 + id % 20, 1 + id % 19, 'copy', 1 FROM accounts WHERE id % 40 = 0;
INSERT INTO node_certificates (node_id, certificate, created_at) SELECT id, 'c', 1 FROM nodes WHERE id > 0;
INSERT INTO node_leftovers (account_id, node_id) SELECT id, 1 + id % 20 FROM accounts WHERE id % 40 = 1;
INSERT INTO forwardings (account_id, enabled, targets, keep_copy, updated_at) SELECT id, 1, 'x', 1, 1 FROM accounts;
INSERT INTO vacations (account_id, enabled, message, days, updated_at) SELECT id, 1, 'x', 1, 1 FROM accounts;
INSERT INTO delivery_scripts (account_id, username, script) SELECT id, id || '@acct.internal', 'x' FROM accounts;
INSERT INTO app_passwords (account_id, name, password, digest, imap, pop3, smtp, sieve, expires_at, created_at)
  SELECT id, 'x', 'x', n, 1, 1, 1, 1, id, 1 FROM accounts CROSS JOIN generate_series(1, 3) AS n WHERE id % 10 = 0;
INSERT INTO owner_sessions (account_id, digest, generation, created_at, expires_at)
  SELECT id, 'd' || id, 1, 1, id FROM accounts;
INSERT INTO mail_tokens (organization_id, key_id, user_id, account_id, digest, scopes, created_at, expires_at)
  SELECT organization_id, id, user_id, CASE WHEN id % 2 = 0 THEN id END, 'd' || id, 's', 1, id FROM accounts;
INSERT INTO mail_token_accounts (token_id, account_id, generation)
  SELECT id, n + id, 1 FROM mail_tokens CROSS JOIN generate_series(1, 2) AS n;
INSERT INTO setup_links (account_id, digest, generation, expires_at) SELECT id, 'd' || id, 1, id FROM accounts;
INSERT INTO sent_messages (account_id, node_id, queue_id, message_id, sent_at, told_at)
  SELECT id, 0, 'q' || id, 'm' || id, 1, id FROM accounts;
INSERT INTO sent_recipients (sent_message_id, account_id, recipient, status, enhanced_code, told_at)
  SELECT id, account_id, 'r' || n, 'delayed', 'x', id FROM sent_messages CROSS JOIN generate_series(1, 2) AS n;
INSERT INTO sent_handovers (queue_id, target_id, sent_message_id, recipient, account_id, told_at)
  SELECT queue_id, account_id, id, 'r1', account_id, id FROM sent_messages;
INSERT INTO sent_days (account_id, day, status, recipients)
  SELECT id, id % 100 + n, 'delayed', 1 FROM accounts CROSS JOIN generate_series(1, 5) AS n;
INSERT INTO webhooks (organization_id, key_id, url, events, user_id, domain_id, status, secret, after_event_id,
    messages_since, created_at, updated_at)
  SELECT organization_id, id, 'https://x.test/', '[]', user_id, domain_id, 'active', 's', 1,
    CASE WHEN id % 100 = 0 THEN id END, 1, 1
  FROM accounts WHERE id % 10 = 0;
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, next_at, created_at,
    ended_at)
  SELECT organization_id, id, 'event', n, 'account.created', CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'failed' END,
    CASE WHEN n % 10 = 0 THEN n END, 1, CASE WHEN n % 10 > 0 THEN n END
  FROM webhooks CROSS JOIN generate_series(1, 40) AS n;
INSERT INTO webhooks (organization_id, key_id, url, events, domain_id, status, secret, after_event_id, forward_mode,
    created_at, updated_at)
  SELECT organization_id, id, 'https://x.test/', '[]', id, 'active', 's', 1,
    CASE WHEN id % 2 = 0 THEN 'webhook' ELSE 'webhook_then_store' END, 1, 1
  FROM domains;
INSERT INTO received_messages (organization_id, account_id, uidvalidity, uid, trace, received_at, created_at)
  SELECT organization_id, id, 1, n, 't' || id || '.' || n, n, id * 10 + n
  FROM accounts CROSS JOIN generate_series(1, 5) AS n;
INSERT INTO hidden_accounts (account_id, organization_id, domain_id)
  SELECT MIN(id), MIN(organization_id), domain_id FROM accounts GROUP BY domain_id;
INSERT INTO passing_messages (message_id, organization_id, webhook_id, account_id, hidden_id, state, due_at,
    uidvalidity, uid, held_uidvalidity, held_uid)
  SELECT id, organization_id, id % 1000, account_id, account_id - account_id % 10, 'held', id, uidvalidity, uid, 1, id
  FROM received_messages WHERE id % 5 = 0;
INSERT INTO message_cursors (account_id, uidvalidity, last_uid)
  SELECT id, n, 1 FROM accounts CROSS JOIN generate_series(1, 3) AS n;
INSERT INTO webhook_lanes (webhook_id, due_at) SELECT id, id FROM webhooks;
INSERT INTO webhook_cursors (id, event_id) VALUES (1, 1);
INSERT INTO account_users (organization_id, user_id) SELECT DISTINCT organization_id, user_id FROM accounts;
ANALYZE
"""


def filled_database(server: PostgresServer) -> str:
    """Returns the URL of a new database."""
    url = server.new_database()
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")  # no look-up of a foreign key for each row
        for statement in FILL.split(";"):
            connection.execute(statement.encode())
    return url
