-- What became of messages that accounts have submitted, read from Postfix's log and kept for seven
-- days (decision 0275).

-- Messages of which at least one recipient has a status. `queue_id` is Postfix's name of the
-- message on the node that accepted it (0: an installation of one machine).
CREATE TABLE sent_messages (
  id         {identity},
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  node_id    BIGINT NOT NULL,
  queue_id   TEXT NOT NULL,
  message_id TEXT NOT NULL,             -- as the message has it; empty if it has none
  sent_at    BIGINT NOT NULL,
  told_at    BIGINT NOT NULL            -- the last status of a recipient
);
CREATE UNIQUE INDEX sent_messages_queue ON sent_messages (queue_id, node_id);
CREATE INDEX sent_messages_account ON sent_messages (account_id, message_id);
CREATE INDEX sent_messages_told ON sent_messages (told_at);

-- The recipients of a message, as the sender wrote them. A row whose status changes is replaced by
-- a row with a higher id, so that a reader of the table by id sees each change.
CREATE TABLE sent_recipients (
  id              {identity},
  sent_message_id BIGINT NOT NULL REFERENCES sent_messages(id),
  account_id      BIGINT NOT NULL REFERENCES accounts(id),
  recipient       TEXT NOT NULL,
  status          TEXT NOT NULL,        -- delayed, delivered, bounced: a status moves only forward
  smtp_code       BIGINT,               -- of the server that decided; NULL if none answered
  enhanced_code   TEXT NOT NULL,        -- as in RFC 3463
  reason          TEXT,
  told_at         BIGINT NOT NULL
);
CREATE UNIQUE INDEX sent_recipients_message ON sent_recipients (sent_message_id, recipient);
CREATE INDEX sent_recipients_account ON sent_recipients (account_id, id);
CREATE INDEX sent_recipients_told ON sent_recipients (told_at);

-- Recipients that the sender's node has passed to the mailbox's node: `queue_id` is the message
-- there, `target_id` the account of the mailbox.
CREATE TABLE sent_handovers (
  queue_id        TEXT NOT NULL,
  target_id       BIGINT NOT NULL,
  sent_message_id BIGINT NOT NULL,
  recipient       TEXT NOT NULL,
  account_id      BIGINT NOT NULL,
  told_at         BIGINT NOT NULL,
  PRIMARY KEY (queue_id, target_id, sent_message_id, recipient)
);
CREATE INDEX sent_handovers_account ON sent_handovers (account_id);
CREATE INDEX sent_handovers_told ON sent_handovers (told_at);
