-- How many recipients an account has written to on each day, by what became of them. The counts
-- are kept longer than sent_recipients and name nobody.
CREATE TABLE sent_days (
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  day        BIGINT NOT NULL,           -- of the submission, since 1970 UTC
  status     TEXT NOT NULL,             -- as in sent_recipients
  recipients BIGINT NOT NULL,
  PRIMARY KEY (account_id, day, status)
);
CREATE INDEX sent_days_day ON sent_days (day);
INSERT INTO sent_days (account_id, day, status, recipients)
SELECT sent_recipients.account_id, sent_messages.sent_at / 86400000, sent_recipients.status, COUNT(*)
FROM sent_recipients JOIN sent_messages ON sent_messages.id = sent_recipients.sent_message_id
GROUP BY sent_recipients.account_id, sent_messages.sent_at / 86400000, sent_recipients.status;
