-- Domains as claims that are proven by DNS, and that end.

ALTER TABLE domains ADD COLUMN token TEXT;              -- what the ownership record must hold; NULL: until the next start
ALTER TABLE domains ADD COLUMN activated_by TEXT;       -- 'operator' or 'dns'; NULL: not active yet
ALTER TABLE domains ADD COLUMN expires_at BIGINT;       -- when a pending claim ends; NULL: it does not
ALTER TABLE domains ADD COLUMN degraded_at BIGINT;      -- since when checks of an active domain fail
ALTER TABLE domains ADD COLUMN degraded_reason TEXT;
ALTER TABLE domains ADD COLUMN deleted_at BIGINT;       -- its status is pending then, so that no view shows it
UPDATE domains SET activated_by = 'operator' WHERE status <> 'pending';
DROP INDEX domains_claim;
CREATE UNIQUE INDEX domains_claim ON domains (organization_id, name, COALESCE(user_id, '')) WHERE deleted_at IS NULL;
CREATE INDEX domains_user ON domains (organization_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX domains_expiry ON domains (expires_at) WHERE expires_at IS NOT NULL;

-- Names below a domain that its owner lets others have; each covers what is below it too.
CREATE TABLE domain_consents (
  parent_id  BIGINT NOT NULL REFERENCES domains(id),
  name       TEXT NOT NULL,   -- A-label, lower case
  created_at BIGINT NOT NULL,
  PRIMARY KEY (parent_id, name)
);
