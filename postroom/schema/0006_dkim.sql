-- DKIM keys. A domain signs with one; while it rotates there is a next one, and old ones are remembered for a while.
CREATE TABLE dkim_keys (
  id          {identity},
  domain_id   BIGINT NOT NULL REFERENCES domains(id),
  selector    TEXT,                       -- NULL while the key is wanted
  private_key TEXT,                       -- PEM; NULL while it is wanted, and erased when it retires
  value       TEXT,                       -- the whole TXT of the public half
  state       TEXT NOT NULL CHECK (state IN ('wanted', 'signing', 'next', 'retiring')),
  created_at  BIGINT NOT NULL,
  due_at      BIGINT                      -- when the worker looks at it; NULL: never
);
CREATE UNIQUE INDEX dkim_keys_state ON dkim_keys (domain_id, state) WHERE state <> 'retiring';
CREATE INDEX dkim_keys_domain ON dkim_keys (domain_id, id);
CREATE INDEX dkim_keys_due ON dkim_keys (due_at) WHERE due_at IS NOT NULL;
INSERT INTO dkim_keys (domain_id, state, created_at, due_at)
SELECT id, 'wanted', created_at, 0 FROM domains WHERE deleted_at IS NULL;
