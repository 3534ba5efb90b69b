-- A link with which the owner of an account sets its password: one an account, stored as SHA-256. It is dead once the
-- account has another generation. The row goes with its use.
CREATE TABLE setup_links (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  digest     TEXT NOT NULL UNIQUE,
  generation BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX setup_links_expiry ON setup_links (expires_at);
