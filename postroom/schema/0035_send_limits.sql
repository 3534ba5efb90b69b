-- How many recipients an account may write to. NULL: as its user and its organization say.
ALTER TABLE accounts ADD COLUMN may_send BIGINT NOT NULL DEFAULT 1;
ALTER TABLE accounts ADD COLUMN recipients_per_hour BIGINT;
ALTER TABLE accounts ADD COLUMN recipients_per_day BIGINT;
ALTER TABLE accounts ADD COLUMN new_recipients_per_day BIGINT;
ALTER TABLE accounts ADD COLUMN recipients_per_message BIGINT;
-- Since when the account may not send, because it was at its limit for too long; NULL: it may send.
ALTER TABLE accounts ADD COLUMN send_blocked_at BIGINT;

-- The same for each account of a user or an organization, and for all its accounts together.
ALTER TABLE limits ADD COLUMN recipients_per_hour BIGINT;
ALTER TABLE limits ADD COLUMN recipients_per_day BIGINT;
ALTER TABLE limits ADD COLUMN new_recipients_per_day BIGINT;
ALTER TABLE limits ADD COLUMN recipients_per_message BIGINT;
ALTER TABLE limits ADD COLUMN total_recipients_per_hour BIGINT;
ALTER TABLE limits ADD COLUMN total_recipients_per_day BIGINT;

-- The recipients of an account's mail. Account 0 is the sum over the accounts of the user, and over
-- those of the organization for user ''; a sum is counted only while it has a limit.
CREATE TABLE sent_counts (
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT NOT NULL,
  account_id      BIGINT NOT NULL,
  hour            BIGINT NOT NULL,   -- the last hour with mail, since 1970 UTC
  in_hour         BIGINT NOT NULL,   -- recipients in this hour
  in_day          BIGINT NOT NULL,   -- recipients in the day of this hour
  PRIMARY KEY (organization_id, user_id, account_id)
);

-- The last hour or day in which each limit of an account was reached.
CREATE TABLE full_periods (
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  name       TEXT NOT NULL,
  period     BIGINT NOT NULL,        -- hours or days since 1970 UTC
  in_a_row   BIGINT NOT NULL,        -- how many such periods without another one between them
  PRIMARY KEY (account_id, name)
);

-- To whom an account has written, as keyed hashes of the addresses.
CREATE TABLE known_recipients (
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  recipient_hash BIGINT NOT NULL,
  first_day  BIGINT NOT NULL,        -- days since 1970 UTC: when the recipient was new
  last_day   BIGINT NOT NULL,
  PRIMARY KEY (account_id, recipient_hash)
);
CREATE INDEX known_recipients_new ON known_recipients (account_id, first_day);
CREATE INDEX known_recipients_last ON known_recipients (last_day);
