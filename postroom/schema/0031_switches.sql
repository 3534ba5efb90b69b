-- The protocols that are switched off for every password of the account, separated by commas: of imap,
-- pop3, smtp and sieve.
ALTER TABLE accounts ADD COLUMN protocols_off TEXT NOT NULL DEFAULT '';
-- 0: nobody logs in with the main password; app passwords stay valid.
ALTER TABLE accounts ADD COLUMN main_password BIGINT NOT NULL DEFAULT 1;

-- Only the sessions of this protocol end; NULL: of every protocol. In credential_id, 0 is the main
-- password.
ALTER TABLE session_endings ADD COLUMN protocol TEXT;
