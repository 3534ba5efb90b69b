-- Sessions of the owner's page /me, each stored as the SHA-256 of its token. A session is dead once the account has
-- another generation.
CREATE TABLE owner_sessions (
  id         {identity},
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  digest     TEXT NOT NULL UNIQUE,
  generation BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX owner_sessions_account ON owner_sessions (account_id, id);
CREATE INDEX owner_sessions_expiry ON owner_sessions (expires_at);
