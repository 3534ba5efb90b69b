-- Messages that the API hands to Postfix: announced before, and taken by the milter once (decision
-- 0320).
CREATE TABLE outgoing_messages (
  account_id   BIGINT NOT NULL REFERENCES accounts(id),
  message_id   TEXT NOT NULL,           -- Message-ID, with its angle brackets
  key_id       BIGINT,                  -- with name: the Idempotency-Key, as in idempotent_answers
  name         TEXT,
  request      TEXT,
  node_id      BIGINT NOT NULL,         -- 0: there is only one machine
  queue_id     TEXT,                    -- since the milter has taken the message
  announced_at BIGINT NOT NULL,
  told_at      BIGINT,                  -- since the event
  PRIMARY KEY (account_id, message_id)
);
CREATE UNIQUE INDEX outgoing_messages_name ON outgoing_messages (key_id, name);
CREATE INDEX outgoing_messages_announced ON outgoing_messages (announced_at);
