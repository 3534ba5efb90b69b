-- Deleted accounts: until when they can be restored, and that their mail is erased then.

ALTER TABLE accounts ADD COLUMN purge_at BIGINT;    -- when the mail of a deleted account is due to be erased; NULL: alive, or erased
ALTER TABLE accounts ADD COLUMN purged_at BIGINT;   -- since when it is being erased: there is no way back
CREATE INDEX accounts_purge ON accounts (purge_at, id) WHERE purge_at IS NOT NULL;
CREATE INDEX accounts_deleted ON accounts (organization_id, id) WHERE purge_at IS NOT NULL;

-- 1: the API could not end these sessions before it answered, and said so.
ALTER TABLE session_endings ADD COLUMN late BIGINT NOT NULL DEFAULT 0;
CREATE INDEX session_endings_account ON session_endings (account_id, generation);
