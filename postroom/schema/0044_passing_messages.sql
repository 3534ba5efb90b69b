-- The hidden account of a domain: it gets mail to the addresses that nobody has, and keeps what a
-- webhook has got until its links end. Its row in `accounts` is one of a deleted account that is
-- not due to be erased, so no list, count, limit or login knows the account (decision 0314).
CREATE TABLE hidden_accounts (
  account_id      BIGINT PRIMARY KEY REFERENCES accounts(id),
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  ended_at        BIGINT                -- since when it gets no mail, because its mail is erased
);
CREATE UNIQUE INDEX hidden_accounts_domain ON hidden_accounts (domain_id) WHERE ended_at IS NULL;

-- Messages of a domain whose route keeps no mail (decision 0313).
CREATE TABLE passing_messages (
  message_id       BIGINT PRIMARY KEY,  -- of received_messages
  organization_id  BIGINT NOT NULL REFERENCES organizations(id),
  webhook_id       BIGINT NOT NULL,     -- of the route
  account_id       BIGINT NOT NULL REFERENCES accounts(id),
  hidden_id        BIGINT NOT NULL REFERENCES accounts(id),
  state            TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'held')),
  due_at           BIGINT NOT NULL,     -- when the message leaves the place where it is
  uidvalidity      BIGINT NOT NULL,     -- with uid: the id in the links
  uid              BIGINT NOT NULL,
  held_uidvalidity BIGINT,              -- with held_uid: where the hidden account keeps it; NULL: it does not yet
  held_uid         BIGINT
);
CREATE INDEX passing_messages_due ON passing_messages (due_at);
CREATE INDEX passing_messages_account ON passing_messages (account_id, uidvalidity, uid);
CREATE INDEX passing_messages_hidden ON passing_messages (hidden_id);
