-- How much an organization, or one of its users, may have. NULL: no cap.
CREATE TABLE limits (
  organization_id     BIGINT NOT NULL REFERENCES organizations(id),
  user_id             TEXT NOT NULL,   -- '' is the organization as a whole
  domains             BIGINT,
  accounts            BIGINT,
  accounts_per_domain BIGINT,
  PRIMARY KEY (organization_id, user_id)
);
