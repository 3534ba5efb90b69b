-- What narrows a key, where it comes from, and when it was used.

ALTER TABLE api_keys ADD COLUMN name TEXT;
ALTER TABLE api_keys ADD COLUMN parent_id BIGINT REFERENCES api_keys(id);   -- the key that made it; it dies with that one
ALTER TABLE api_keys ADD COLUMN domain_bound BIGINT NOT NULL DEFAULT 0;     -- 1: only the domains of api_key_domains, even if none is left
ALTER TABLE api_keys ADD COLUMN networks TEXT;                              -- CIDRs separated by spaces; NULL: from anywhere
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;                        -- coarse, see keys.py
CREATE INDEX api_keys_children ON api_keys (parent_id);

-- The domains that a bound key sees. For that key no other domain exists.
CREATE TABLE api_key_domains (
  key_id    BIGINT NOT NULL REFERENCES api_keys(id),
  domain_id BIGINT NOT NULL REFERENCES domains(id) ON DELETE CASCADE,
  PRIMARY KEY (key_id, domain_id)
);
CREATE INDEX api_key_domains_domain ON api_key_domains (domain_id);
