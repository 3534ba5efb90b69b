-- When the DNS of a domain is looked at.

CREATE TABLE domain_checks (
  domain_id BIGINT PRIMARY KEY REFERENCES domains(id),
  due_at    BIGINT,            -- NULL: not by itself
  free_at   BIGINT NOT NULL,   -- before this no other check begins: the end of a lease, or of a short rest
  failures  BIGINT NOT NULL    -- checks by itself, one after the other, that did not find what they looked for
);
CREATE INDEX domain_checks_due ON domain_checks (due_at) WHERE due_at IS NOT NULL;

-- Names that were proven: whoever holds the row is alone in giving the name an owner.
CREATE TABLE domain_names (
  name TEXT PRIMARY KEY
);
