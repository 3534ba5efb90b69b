-- The contract with the mail daemons, which read only these views. The views alone decide which
-- accounts may log in and which may receive. Every look-up is by (local_part, domain) or by id, and
-- uses an index.
--
-- Internal names, which only the daemons see:
--   <id>@acct.internal               the recipient of a delivery. Ids are never reused, addresses are.
--   <id>@<generation>.acct.internal  the login of a session. A reset or a suspension starts a new
--                                    generation.

-- Domains that accept mail. A domain that becomes inactive keeps the mail that it has.
CREATE VIEW mail_domains AS
SELECT name FROM domains WHERE status <> 'pending';

-- Spellings of internationalized domains, each with the name of the domain.
CREATE VIEW mail_spellings AS
SELECT spelling, name FROM domain_spellings;

-- Accounts that may log in with an address and a password: the account's own address and its former
-- ones. If `nologin` is set, the account may not log in now, and `reason` says why.
CREATE VIEW mail_logins AS
SELECT
  accounts.id,
  addresses.local_part,
  domains.name AS domain,
  accounts.id || '@' || accounts.generation || '.acct.internal' AS login,
  accounts.password,
  CASE WHEN accounts.status <> 'active' THEN 'Y' END AS nologin,
  CASE WHEN accounts.status <> 'active' THEN 'This account is ' || accounts.status || '.' END AS reason,
  accounts.address,
  CASE accounts.scripts_disabled WHEN 0 THEN '.dovecot.sieve'
    ELSE '.dovecot.' || accounts.scripts_disabled || '.sieve' END AS active_script,
  substr('0123456789abcdef', CAST(accounts.id % 256 / 16 AS INTEGER) + 1, 1)
    || substr('0123456789abcdef', CAST(accounts.id % 16 AS INTEGER) + 1, 1) || '/' || accounts.id AS home,
  accounts.quota_bytes,
  accounts.quota_messages
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = COALESCE(addresses.account_id, (
  SELECT alias_members.account_id FROM aliases JOIN alias_members ON alias_members.alias_id = aliases.id
  WHERE aliases.id = addresses.alias_id AND aliases.kind = 'former'))
WHERE domains.status <> 'pending' AND accounts.deleted_at IS NULL;

-- The folders of mail for <id>@acct.internal. Suspended and disabled accounts, and accounts of a
-- lost domain, still get mail that was accepted before. Their Sieve scripts do not run, because a
-- script may send mail. `active_script` is the name of the link to the active script. A reset that
-- stops scripts changes this name, and only the owner creates the new link. `ruled` says whether
-- there is a delivery script, which mail_scripts shows if it runs.
CREATE VIEW mail_recipients AS
SELECT
  accounts.id,
  accounts.address,
  CASE WHEN accounts.status = 'active' AND domains.status <> 'pending' THEN 1 ELSE 0 END AS filtered,
  CASE WHEN EXISTS (SELECT 1 FROM delivery_scripts WHERE delivery_scripts.account_id = accounts.id)
    THEN 1 ELSE 0 END AS ruled,
  CASE accounts.scripts_disabled WHEN 0 THEN '.dovecot.sieve'
    ELSE '.dovecot.' || accounts.scripts_disabled || '.sieve' END AS active_script,
  substr('0123456789abcdef', CAST(accounts.id % 256 / 16 AS INTEGER) + 1, 1)
    || substr('0123456789abcdef', CAST(accounts.id % 16 AS INTEGER) + 1, 1) || '/' || accounts.id AS home,
  accounts.quota_bytes,
  accounts.quota_messages
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.deleted_at IS NULL;

-- The Sieve script that runs before the account's own one. Only Dovecot's `dict` reads this view, by
-- the delivery name: first the id of the script, then its text. The id is the same for every script,
-- so that a change between the two questions is no failure (decision 0230).
CREATE VIEW mail_scripts AS
SELECT delivery_scripts.username, 'postroom' AS name, 'current' AS data_id, delivery_scripts.script
FROM delivery_scripts
JOIN accounts ON accounts.id = delivery_scripts.account_id
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending';

-- Valid sessions: id and generation of each account that may send. Accounts of a lost domain may
-- not.
CREATE VIEW mail_sessions AS
SELECT accounts.id, accounts.generation || '.acct.internal' AS domain
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending';

-- The operator's account: it gets the mail to postmaster@ of the mail host. No row if there is none.
CREATE VIEW mail_operator AS
SELECT account_id FROM (
  SELECT COALESCE(addresses.account_id, (
    SELECT MIN(alias_members.account_id) FROM alias_members
    JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)) AS account_id
  FROM addresses
  JOIN domains ON domains.id = addresses.domain_id
  WHERE domains.name = (SELECT name FROM mail_host WHERE id = 1)
    AND domains.status <> 'pending' AND addresses.local_part = 'postmaster'
) AS operator
WHERE account_id IS NOT NULL;

-- Addresses and their accounts. Mail to postmaster@ and abuse@ always arrives (RFC 5321 4.5.1, RFC
-- 2142). Without an account of this name, it goes to the default account of the domain's user, or
-- for a platform domain to the operator's.
CREATE VIEW mail_aliases AS
SELECT addresses.local_part, domains.name AS domain, addresses.account_id || '@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
WHERE domains.status <> 'pending' AND addresses.account_id IS NOT NULL
UNION ALL
SELECT role.column1, domains.name, COALESCE(
  (SELECT owner.id FROM accounts AS owner
   WHERE owner.organization_id = domains.organization_id AND owner.user_id = domains.user_id
     AND owner.is_default = 1 AND owner.status <> 'disabled'),
  (SELECT account_id FROM mail_operator)
) || '@acct.internal'
FROM domains
CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS role
WHERE domains.status <> 'pending' AND NOT EXISTS (
  SELECT 1 FROM addresses
  WHERE addresses.domain_id = domains.id AND addresses.local_part = role.column1
    AND (addresses.account_id IS NOT NULL OR EXISTS (
      SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
      WHERE alias_members.alias_id = addresses.alias_id
        AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)))
UNION ALL
SELECT addresses.local_part, domains.name, alias_members.account_id || '@acct.internal'
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN alias_members ON alias_members.alias_id = addresses.alias_id
JOIN accounts ON accounts.id = alias_members.account_id
WHERE domains.status <> 'pending' AND addresses.local_part <> '*'
  AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL;

-- Who gets mail to the unknown addresses of a domain.
CREATE VIEW mail_catch_alls AS
SELECT domains.name AS domain, alias_members.account_id || '@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN alias_members ON alias_members.alias_id = addresses.alias_id
JOIN accounts ON accounts.id = alias_members.account_id
WHERE domains.status <> 'pending' AND addresses.local_part = '*'
  AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL;

-- Addresses that take no mail and that no catch-all takes (decision 0224), with a target that does
-- not exist: addresses in quarantine, aliases without living members, and on a platform domain the
-- names with which a stranger could buy a certificate (RESERVED in address.py), postmaster@ and
-- abuse@ included where mail to them leads to nobody.
CREATE VIEW mail_dead_ends AS
SELECT addresses.local_part, domains.name AS domain, '0@acct.internal' AS target,
  CASE WHEN EXISTS (
      SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
      WHERE alias_members.alias_id = addresses.alias_id AND accounts.deleted_at IS NULL)
    THEN '550 5.2.1 This mailbox is disabled'
    ELSE '550 5.1.1 User unknown in virtual mailbox table' END AS action
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
WHERE domains.status <> 'pending' AND addresses.account_id IS NULL
  AND addresses.local_part NOT IN ('postmaster', 'abuse', '*')
  AND NOT EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)
UNION ALL
SELECT role.column1, domains.name, '0@acct.internal', '550 5.1.1 User unknown in virtual mailbox table'
FROM domains
CROSS JOIN (VALUES
  ('admin'), ('administrator'), ('ftp'), ('hostmaster'), ('mailer-daemon'), ('news'), ('noc'), ('root'),
  ('security'), ('ssladmin'), ('ssladministrator'), ('sslwebmaster'), ('sysadmin'), ('usenet'), ('uucp'),
  ('webmaster'), ('www')
) AS role
WHERE domains.status <> 'pending' AND domains.user_id IS NULL AND NOT EXISTS (
  SELECT 1 FROM addresses WHERE addresses.domain_id = domains.id AND addresses.local_part = role.column1)
UNION ALL
SELECT role.column1, domains.name, '0@acct.internal', '550 5.1.1 User unknown in virtual mailbox table'
FROM domains
CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS role
WHERE domains.status <> 'pending' AND domains.user_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM mail_operator)
  AND NOT EXISTS (
    SELECT 1 FROM addresses
    WHERE addresses.domain_id = domains.id AND addresses.local_part = role.column1
      AND (addresses.account_id IS NOT NULL OR EXISTS (
        SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
        WHERE alias_members.alias_id = addresses.alias_id
          AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)));

-- The access(5) action for each recipient that takes no mail: disabled accounts, full mailboxes,
-- aliases whose members are all disabled or full, and dead ends, with the text for an unknown
-- address. A disabled postmaster or abuse still receives.
CREATE VIEW mail_refusals AS
SELECT addresses.local_part, domains.name AS domain, '550 5.2.1 This mailbox is disabled' AS action
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'disabled' AND accounts.deleted_at IS NULL
  AND addresses.local_part NOT IN ('postmaster', 'abuse')
UNION ALL
SELECT local_part, domain, action FROM mail_dead_ends
UNION ALL
SELECT addresses.local_part, domains.name, '552 5.2.2 The mailbox is full'
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.over_quota_at IS NOT NULL AND accounts.deleted_at IS NULL
  AND (accounts.status <> 'disabled' OR addresses.local_part IN ('postmaster', 'abuse'))
UNION ALL
SELECT addresses.local_part, domains.name, '552 5.2.2 The mailbox is full'
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
WHERE domains.status <> 'pending' AND addresses.alias_id IS NOT NULL AND addresses.local_part <> '*'
  AND EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)
  AND NOT EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL AND accounts.over_quota_at IS NULL);

-- Addresses with the account and the login that may send as each address.
CREATE VIEW mail_senders AS
SELECT
  accounts.id,
  addresses.local_part,
  domains.name AS domain,
  accounts.id || '@' || accounts.generation || '.acct.internal' AS login
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'active' AND accounts.deleted_at IS NULL
UNION ALL
SELECT
  accounts.id,
  addresses.local_part,
  domains.name,
  accounts.id || '@' || accounts.generation || '.acct.internal'
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN aliases ON aliases.id = addresses.alias_id
JOIN alias_members ON alias_members.alias_id = aliases.id
JOIN accounts ON accounts.id = alias_members.account_id
WHERE domains.status <> 'pending' AND aliases.may_send = 1 AND addresses.local_part <> '*'
  AND accounts.status = 'active' AND accounts.deleted_at IS NULL;

-- The key that signs mail submitted from a domain. Only opendkim reads this view. Pending domains
-- have no key.
CREATE VIEW mail_signing_keys AS
SELECT domains.name AS domain, dkim_keys.selector, dkim_keys.private_key
FROM domains
JOIN dkim_keys ON dkim_keys.domain_id = domains.id
WHERE domains.status <> 'pending' AND dkim_keys.state = 'signing';

-- With several machines: the home of each account, and how other nodes reach it. While `frozen` is
-- set, a move is about to end: nobody can log in and nothing is delivered. `route` is for Postfix
-- (transport(5)).
CREATE VIEW mail_homes AS
SELECT
  account_homes.account_id AS id,
  nodes.id AS node,
  nodes.name || '.node.internal' AS host,
  nodes.address,
  nodes.imaps_port,
  nodes.pop3s_port,
  nodes.sieve_port,
  CASE WHEN account_moves.phase = 'frozen' THEN 1 ELSE 0 END AS frozen,
  CASE WHEN account_moves.phase = 'frozen' THEN 'retry:4.2.1 The mailbox is being moved, it will be back soon'
    WHEN nodes.address LIKE '%:%' THEN 'nodes:[ipv6:' || nodes.address || ']:' || nodes.port
    ELSE 'nodes:[' || nodes.address || ']:' || nodes.port END AS route
FROM account_homes
JOIN nodes ON nodes.id = account_homes.node_id
LEFT JOIN account_moves ON account_moves.account_id = account_homes.account_id;
