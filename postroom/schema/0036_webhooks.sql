-- URLs that an organization's events are sent to.
CREATE TABLE webhooks (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT,               -- whose revocation disables it; NULL: the operator's. A forgotten key leaves its id
  url             TEXT NOT NULL,
  events          TEXT NOT NULL,        -- types and patterns such as account.*, as a JSON list
  user_id         TEXT,                 -- only events of this user, domain and account; NULL: of all
  domain_id       BIGINT REFERENCES domains(id),
  account_id      BIGINT REFERENCES accounts(id),
  description     TEXT,
  status          TEXT NOT NULL CHECK (status IN ('active', 'disabled')),
  disabled_reason TEXT,
  secret          TEXT NOT NULL,        -- sealed with a key that the database does not have
  former_secret   TEXT,                 -- signs beside the secret until former_until
  former_until    BIGINT,
  after_event_id  BIGINT NOT NULL,      -- events with a higher id are for this webhook
  last_success_at BIGINT,
  failing_since   BIGINT,
  failures        BIGINT NOT NULL DEFAULT 0,   -- in a row
  probe_at        BIGINT,               -- when the next attempt of a failing webhook is due
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
CREATE INDEX webhooks_organization ON webhooks (organization_id, id);
CREATE INDEX webhooks_key ON webhooks (key_id) WHERE key_id IS NOT NULL;
