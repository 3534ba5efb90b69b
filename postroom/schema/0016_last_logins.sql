-- When an account has last logged in by IMAP, POP3, submission or ManageSieve, give or take a minute; NULL: never, or not
-- since this is written down.

ALTER TABLE accounts ADD COLUMN last_login_at BIGINT;
