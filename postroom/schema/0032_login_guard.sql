-- Who tries passwords. A network is an IPv4 address, or the /64 of an IPv6 address, as in
-- 2001:db8:0:1::/64 (accounts/login_networks.py).

-- From where each account has logged in.
CREATE TABLE login_networks (
  account_id       BIGINT NOT NULL REFERENCES accounts(id),
  network          TEXT NOT NULL,
  last_at          BIGINT NOT NULL,            -- the last login, give or take a day
  failures         BIGINT NOT NULL DEFAULT 0,  -- wrong passwords in the hour from failing_since on
  failing_since    BIGINT NOT NULL DEFAULT 0,
  distrusted_until BIGINT NOT NULL DEFAULT 0,  -- until then the network counts as unknown
  PRIMARY KEY (account_id, network)
);
CREATE INDEX login_networks_last ON login_networks (last_at);

-- Wrong passwords from networks that the account does not know, counted by the minute. Account 0
-- stands for all addresses that do not exist.
CREATE TABLE login_failures (
  network    TEXT NOT NULL,
  account_id BIGINT NOT NULL,
  minute     BIGINT NOT NULL,   -- since 1970 UTC
  failures   BIGINT NOT NULL,
  PRIMARY KEY (network, minute, account_id)
);
CREATE INDEX login_failures_account ON login_failures (account_id, minute);
CREATE INDEX login_failures_minute ON login_failures (minute);

-- Networks that may not log in, except to the accounts that know them.
CREATE TABLE login_bans (
  network    TEXT PRIMARY KEY,
  from_at    BIGINT NOT NULL,
  until_at   BIGINT NOT NULL,
  ban_ms     BIGINT NOT NULL    -- how long; the next ban is longer
);
CREATE INDEX login_bans_end ON login_bans (until_at);

-- Until when the account's own password works only from networks that it knows.
ALTER TABLE accounts ADD COLUMN attacked_until BIGINT NOT NULL DEFAULT 0;

-- Accounts under attack.
CREATE TABLE login_attacks (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  started_at BIGINT NOT NULL,
  checked_at BIGINT NOT NULL,   -- when the attack was last seen to go on
  failures   BIGINT NOT NULL
);
CREATE INDEX login_attacks_check ON login_attacks (checked_at);
