-- The key at the top of those that made a key: all of a family share its limit of calls. NULL: the key itself.

ALTER TABLE api_keys ADD COLUMN root_id BIGINT;
UPDATE api_keys SET root_id = (
  WITH RECURSIVE above (id, parent_id) AS (
    SELECT maker.id, maker.parent_id FROM api_keys AS maker WHERE maker.id = api_keys.parent_id
    UNION ALL
    SELECT maker.id, maker.parent_id FROM above JOIN api_keys AS maker ON maker.id = above.parent_id
  )
  SELECT id FROM above WHERE parent_id IS NULL)
WHERE parent_id IS NOT NULL;

-- Claims that wait for their proof are counted before another one is made.
CREATE INDEX domains_pending ON domains (organization_id, user_id) WHERE status = 'pending' AND deleted_at IS NULL;
