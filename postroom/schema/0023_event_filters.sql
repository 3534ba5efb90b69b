-- A page of events of one type, or of one key, costs the same at any depth.
CREATE INDEX events_type ON events (organization_id, type, id);
CREATE INDEX events_key ON events (organization_id, key_id, id);
