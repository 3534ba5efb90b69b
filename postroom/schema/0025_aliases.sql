-- Further addresses of accounts. An address on a domain belongs to an account or to an alias; the
-- primary key of `addresses` decides who has it. The local part of a catch-all is '*'.
CREATE TABLE aliases (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  user_id         TEXT NOT NULL,
  address         {exact_text} NOT NULL,  -- compared byte by byte, for searches by prefix
  kind            TEXT NOT NULL CHECK (kind IN ('alias', 'group', 'catch_all', 'former')),
  may_send        BIGINT NOT NULL,        -- 1: the members may use the address as a sender
  name            TEXT,
  expires_at      BIGINT,
  rested_at       BIGINT,                 -- since when it rests, because its last account was deleted
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
CREATE INDEX aliases_organization ON aliases (organization_id, id) WHERE rested_at IS NULL;
CREATE INDEX aliases_user ON aliases (organization_id, user_id, id) WHERE rested_at IS NULL;
CREATE INDEX aliases_domain ON aliases (domain_id, id) WHERE rested_at IS NULL;
CREATE INDEX aliases_address ON aliases (organization_id, address, id) WHERE rested_at IS NULL;
CREATE INDEX aliases_expiry ON aliases (expires_at) WHERE expires_at IS NOT NULL;

-- Who gets the mail to an alias. The row of a deleted account stays until its mail is erased.
CREATE TABLE alias_members (
  alias_id   BIGINT NOT NULL REFERENCES aliases(id),
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  PRIMARY KEY (alias_id, account_id)
);
CREATE INDEX alias_members_account ON alias_members (account_id, alias_id);

ALTER TABLE addresses ADD COLUMN alias_id BIGINT REFERENCES aliases(id);
CREATE INDEX addresses_alias ON addresses (alias_id) WHERE alias_id IS NOT NULL;

ALTER TABLE limits ADD COLUMN aliases_per_account BIGINT;  -- NULL: the default number
