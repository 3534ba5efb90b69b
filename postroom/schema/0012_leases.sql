-- Work that nobody asked for: who is at it, and how often it has failed.

CREATE TABLE leases (
  kind     TEXT NOT NULL,
  item     BIGINT NOT NULL,    -- the id of a row of that kind's table
  free_at  BIGINT NOT NULL,    -- before this nobody else begins: the end of a lease, or of a pause after a failure
  failures BIGINT NOT NULL,    -- one after the other
  PRIMARY KEY (kind, item)
);
CREATE INDEX leases_free ON leases (free_at);

-- Users that have, or had, accounts: whoever holds the row is alone in saying which account is the default one.
CREATE TABLE account_users (
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT NOT NULL,
  PRIMARY KEY (organization_id, user_id)
);
