-- Answers to writes that came with an Idempotency-Key, for whoever sends the same request again. A row reveals nothing without the
-- API key and the Idempotency-Key, and neither is in the database.
CREATE TABLE idempotent_answers (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  name            TEXT NOT NULL,     -- keyed hash of the Idempotency-Key
  request         TEXT NOT NULL,     -- keyed hash of method, path, query and body
  answer          TEXT NOT NULL,     -- AES-256-GCM in base64; empty only inside the transaction that makes the row
  expires_at      BIGINT NOT NULL,
  UNIQUE (key_id, name)
);
CREATE INDEX idempotent_answers_expiry ON idempotent_answers (expires_at);
