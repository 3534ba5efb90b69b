-- When an event last told that a key reads the messages of an account (decision 0305).
CREATE TABLE message_reads (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  told_at    BIGINT NOT NULL
);
