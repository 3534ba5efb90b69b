-- How much mail an account may hold; NULL: no quota.
ALTER TABLE accounts ADD COLUMN quota_bytes BIGINT;
ALTER TABLE accounts ADD COLUMN quota_messages BIGINT;
-- How full the mailbox was when Dovecot was last asked: 0, 80, 95 or 100 percent of the quota.
ALTER TABLE accounts ADD COLUMN quota_level BIGINT NOT NULL DEFAULT 0;
-- Since when the mailbox takes no mail, because it is full; NULL: it is not full.
ALTER TABLE accounts ADD COLUMN over_quota_at BIGINT;
-- When the worker must ask Dovecot for the size of the mailbox.
ALTER TABLE accounts ADD COLUMN quota_check_at BIGINT;
CREATE INDEX accounts_quota_check ON accounts (quota_check_at, id) WHERE quota_check_at IS NOT NULL;

-- The sum of the quotas of the live accounts.
ALTER TABLE account_counts ADD COLUMN quota_bytes BIGINT NOT NULL DEFAULT 0;

-- The quota of an account that is made without one, and the largest sum of the quotas. NULL: none.
ALTER TABLE limits ADD COLUMN quota_bytes BIGINT;
ALTER TABLE limits ADD COLUMN storage_bytes BIGINT;
