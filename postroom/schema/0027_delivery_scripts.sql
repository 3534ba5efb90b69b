-- What happens to mail that comes to an account: it is forwarded, and its sender gets a reply.
CREATE TABLE forwardings (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  enabled    BIGINT NOT NULL,
  targets    TEXT NOT NULL,   -- the addresses, one a line
  keep_copy  BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE TABLE vacations (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  enabled    BIGINT NOT NULL,
  subject    TEXT,
  message    TEXT NOT NULL,
  from_at    BIGINT,
  until_at   BIGINT,
  days       BIGINT NOT NULL, -- before the same sender gets another reply
  updated_at BIGINT NOT NULL
);

-- The Sieve script that does both. Dovecot asks for it by the delivery name of the account.
CREATE TABLE delivery_scripts (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  username   TEXT NOT NULL UNIQUE,
  script     TEXT NOT NULL
);
