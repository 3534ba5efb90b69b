-- How often a reset has stopped the account's Sieve script. The number is in the name of the link to the active script
-- (mail_views.sql), so that the owner, and nobody else, makes a script active again.
ALTER TABLE accounts ADD COLUMN scripts_disabled BIGINT NOT NULL DEFAULT 0;

-- What is removed by itself finds its rows.
CREATE INDEX addresses_rest ON addresses (rests_until) WHERE rests_until IS NOT NULL;
CREATE INDEX idempotent_answers_organization ON idempotent_answers (organization_id, id);
CREATE INDEX api_keys_live ON api_keys (organization_id, id) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
