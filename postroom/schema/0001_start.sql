-- One text for SQLite and PostgreSQL. {identity} is the engine's ascending, never reused key, {exact_text} text compared byte by byte.
-- Times are milliseconds since 1970 UTC; booleans are 0 or 1.

CREATE TABLE organizations (
  id         {identity},
  name       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  prefix          TEXT NOT NULL,          -- what a person recognises it by
  digest          TEXT NOT NULL UNIQUE,   -- SHA-256 of the key, in hex
  user_id         TEXT,                   -- NULL: every user of the organization
  scopes          TEXT NOT NULL,          -- separated by spaces
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT,
  revoked_at      BIGINT
);
CREATE INDEX api_keys_organization ON api_keys (organization_id, id);

CREATE TABLE domains (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT,                   -- NULL: a platform domain
  name            TEXT NOT NULL,          -- A-label, lower case
  status          TEXT NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX domains_owner ON domains (name) WHERE status <> 'pending';
CREATE UNIQUE INDEX domains_claim ON domains (organization_id, name, COALESCE(user_id, ''));

CREATE TABLE accounts (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  user_id         TEXT NOT NULL,
  address         {exact_text} NOT NULL,     -- compared byte by byte, for searches by prefix
  display_name    TEXT,
  status          TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'disabled')),
  is_default      BIGINT NOT NULL,
  password        TEXT NOT NULL,          -- a hash behind its Dovecot scheme, written by us only
  generation      BIGINT NOT NULL,        -- part of the login name; every session of an older one is dead
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  deleted_at      BIGINT
);
CREATE INDEX accounts_organization ON accounts (organization_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_user ON accounts (organization_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_domain ON accounts (domain_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_domain_user ON accounts (domain_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_address ON accounts (organization_id, address, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX accounts_default ON accounts (organization_id, user_id) WHERE is_default = 1;

-- Every taken address of a domain; the primary key decides who has it.
CREATE TABLE addresses (
  domain_id   BIGINT NOT NULL REFERENCES domains(id),
  local_part  TEXT NOT NULL,
  account_id  BIGINT REFERENCES accounts(id),   -- NULL while the address rests
  user_id     TEXT NOT NULL,                    -- who has it, or had it last
  rests_until BIGINT,
  PRIMARY KEY (domain_id, local_part)
);

CREATE TABLE events (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  type            TEXT NOT NULL,
  account_id      BIGINT,
  domain_id       BIGINT,
  user_id         TEXT,
  key_id          BIGINT,                 -- NULL: the operator, or Postroom itself
  request_id      TEXT,
  client_address  TEXT,
  data            TEXT NOT NULL,          -- JSON; never a secret
  created_at      BIGINT NOT NULL
);
CREATE INDEX events_organization ON events (organization_id, id);
CREATE INDEX events_account ON events (account_id, id);
CREATE INDEX events_domain ON events (domain_id, id);
CREATE INDEX events_user ON events (organization_id, user_id, id);

-- user_id '' is the sum over all users of the domain.
CREATE TABLE account_counts (
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT NOT NULL,
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  status          TEXT NOT NULL,
  accounts        BIGINT NOT NULL,
  PRIMARY KEY (organization_id, user_id, domain_id, status)
);

-- Login sessions that must end: written with the change, carried out by the API at once and by the worker again.
CREATE TABLE session_endings (
  id         {identity},
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  due_at     BIGINT NOT NULL
);
CREATE INDEX session_endings_due ON session_endings (due_at);

-- The one row that says which domain is the mail host's own; `postroom serve` keeps it true.
CREATE TABLE mail_host (
  id   BIGINT PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL
);
