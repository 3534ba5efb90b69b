-- Who is signed in to the web console. Both kinds of token are stored as SHA-256 and stand for a key, never for more.

CREATE TABLE console_sessions (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL
);
CREATE INDEX console_sessions_expiry ON console_sessions (expires_at);
CREATE INDEX console_sessions_key ON console_sessions (key_id);

-- A link that signs in once; the row goes with its use.
CREATE TABLE console_links (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  expires_at      BIGINT NOT NULL
);
CREATE INDEX console_links_expiry ON console_links (expires_at);
CREATE INDEX console_links_key ON console_links (key_id);
