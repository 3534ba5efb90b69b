-- Webhooks that get mail: messages delivered from this time on, in milliseconds since 1970 UTC.
ALTER TABLE webhooks ADD COLUMN messages_since BIGINT;
CREATE INDEX webhooks_receiving ON webhooks (organization_id, id)
  WHERE messages_since IS NOT NULL AND status = 'active';
CREATE INDEX webhooks_messages ON webhooks (messages_since) WHERE messages_since IS NOT NULL AND status = 'active';

-- A message that was delivered to a mailbox and that a webhook gets. The message itself is in the
-- mailbox only.
CREATE TABLE received_messages (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  account_id      BIGINT NOT NULL REFERENCES accounts(id),
  uidvalidity     BIGINT NOT NULL,      -- of the folder to which the message was delivered
  uid             BIGINT NOT NULL,
  trace           TEXT NOT NULL,        -- what the delivery is called in its Received field: a copy has the same
  received_at     BIGINT NOT NULL,
  created_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX received_messages_trace ON received_messages (organization_id, trace);
CREATE INDEX received_messages_account ON received_messages (account_id);
CREATE INDEX received_messages_created ON received_messages (created_at);

-- Up to which message each folder of an account was looked at.
CREATE TABLE message_cursors (
  account_id  BIGINT NOT NULL REFERENCES accounts(id),
  uidvalidity BIGINT NOT NULL,
  last_uid    BIGINT NOT NULL,
  PRIMARY KEY (account_id, uidvalidity)
);
