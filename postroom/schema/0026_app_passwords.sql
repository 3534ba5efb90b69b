-- Further passwords of accounts, each for one program or device. `digest` finds the row of the
-- password that a client sends, and `password` is the hash that is then checked (decision 0249).
CREATE TABLE app_passwords (
  id                 {identity},
  account_id         BIGINT NOT NULL REFERENCES accounts(id),
  name               TEXT NOT NULL,
  password           TEXT NOT NULL,
  digest             TEXT NOT NULL,
  imap               BIGINT NOT NULL,  -- 1: may log in with this protocol
  pop3               BIGINT NOT NULL,
  smtp               BIGINT NOT NULL,
  sieve              BIGINT NOT NULL,
  networks           TEXT,             -- separated by commas; NULL: from everywhere
  expires_at         BIGINT,
  created_at         BIGINT NOT NULL,
  last_used_at       BIGINT,
  last_used_protocol TEXT
);
CREATE UNIQUE INDEX app_passwords_digest ON app_passwords (account_id, digest);
CREATE INDEX app_passwords_expiry ON app_passwords (expires_at) WHERE expires_at IS NOT NULL;

-- Only the sessions of this app password end; NULL: every session of the generation.
ALTER TABLE session_endings ADD COLUMN credential_id BIGINT;

-- The key of the digests, sealed for the key of this certificate.
ALTER TABLE node_certificates ADD COLUMN digest_key TEXT;

-- Which key the digests were made with: one row. Each host compares it with its own key.
CREATE TABLE digest_keys (
  id          BIGINT PRIMARY KEY,
  fingerprint TEXT NOT NULL
);
