-- The contract with the mail daemons, which read only these views. The views alone decide which
-- accounts may log in and which may receive. Every look-up is by (local_part, domain) or by id, and
-- uses an index.
--
-- Internal names, which only the daemons see:
--   <id>@acct.internal               the recipient of a delivery. Ids are never reused, addresses are.
--   <id>@<generation>.acct.internal  the login of submission. A reset or a suspension starts a new
--                                    generation.
--   <id>@<generation>.c<app password>.acct.internal  the same, with an app password.
--   <id>@<generation>….<protocol>.acct.internal  the login of IMAP, POP3 or ManageSieve.

-- Domains that accept mail. A domain that becomes inactive keeps the mail that it has.
CREATE VIEW mail_domains AS
SELECT name FROM domains WHERE status <> 'pending';

-- Spellings of internationalized domains, each with the name of the domain.
CREATE VIEW mail_spellings AS
SELECT spelling, name FROM domain_spellings;

-- Accounts that may log in with an address and a password: the account's own address and its former
-- ones. If `nologin` is set, the account may not log in now, and `reason` says why. If
-- `attacked` is set, only networks that the account knows may try its own password.
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
  accounts.quota_messages,
  accounts.protocols_off,
  accounts.main_password,
  CASE WHEN accounts.attacked_until > {now} THEN 1 END AS attacked
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = COALESCE(addresses.account_id, (
  SELECT alias_members.account_id FROM aliases JOIN alias_members ON alias_members.alias_id = aliases.id
  WHERE aliases.id = addresses.alias_id AND aliases.kind = 'former'))
WHERE domains.status <> 'pending' AND accounts.deleted_at IS NULL;

-- App passwords that have not expired, by the account and the digest of what the client sent.
-- `suffix` is the end of the login names.
CREATE VIEW mail_app_passwords AS
SELECT
  app_passwords.account_id,
  app_passwords.digest AS app_digest,
  app_passwords.password AS app_password,
  '.c' || app_passwords.id || '.acct.internal' AS suffix,
  CASE WHEN app_passwords.imap = 1 THEN 'imap' END AS imap,
  CASE WHEN app_passwords.pop3 = 1 THEN 'pop3' END AS pop3,
  CASE WHEN app_passwords.smtp = 1 THEN 'smtp' END AS smtp,
  CASE WHEN app_passwords.sieve = 1 THEN 'sieve' END AS sieve,
  app_passwords.networks
FROM app_passwords
WHERE app_passwords.expires_at IS NULL OR app_passwords.expires_at > {now};

-- Accounts as in mail_logins, each with all its app passwords. Dovecot asks for an account with the
-- app password of one digest, or without any (schema/look_ups.py).
CREATE VIEW mail_passwords AS
SELECT mail_logins.*, mail_app_passwords.*
FROM mail_logins
LEFT JOIN mail_app_passwords ON mail_app_passwords.account_id = mail_logins.id;

-- Who may try a password (schema/look_ups.py, decision 0265): networks that may log in only to the
-- accounts that know them, and the networks from which each account has logged in within 30 days.
CREATE VIEW mail_banned_networks AS
SELECT network FROM login_bans WHERE until_at > {now};

CREATE VIEW mail_known_networks AS
SELECT account_id, network FROM login_networks WHERE last_at > {now} - 2592000000 AND distrusted_until <= {now};

-- The folders of mail for <id>@acct.internal. Suspended and disabled accounts, and accounts of a
-- lost domain, still get mail that was accepted before. Their Sieve scripts do not run, because a
-- script may send mail. `active_script` is the name of the link to the active script. A reset that
-- stops scripts changes this name, and only the owner creates the new link. `ruled` says whether
-- there is a delivery script, which mail_scripts shows if it runs. `hidden` is set for the hidden
-- account of a domain.
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
  accounts.quota_messages,
  CASE WHEN accounts.deleted_at IS NULL THEN 0 ELSE 1 END AS hidden
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.deleted_at IS NULL OR EXISTS (
  SELECT 1 FROM hidden_accounts
  WHERE hidden_accounts.account_id = accounts.id AND hidden_accounts.ended_at IS NULL);

-- The Sieve script that runs before the account's own one. Only Dovecot's `dict` reads this view, by
-- the delivery name: first the id of the script, then its text. The id is the same for every script,
-- so that a change between the two questions is no failure (decision 0230).
CREATE VIEW mail_scripts AS
SELECT delivery_scripts.username, 'postroom' AS name, 'current' AS data_id, delivery_scripts.script
FROM delivery_scripts
JOIN accounts ON accounts.id = delivery_scripts.account_id
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending';

-- Valid sessions of submission: id and login of each account that may send. Accounts of a lost domain
-- may not, nor accounts whose submission is switched off.
CREATE VIEW mail_sessions AS
SELECT accounts.id, accounts.generation || '.acct.internal' AS domain
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending'
  AND accounts.main_password = 1 AND accounts.protocols_off NOT LIKE '%smtp%'
UNION ALL
SELECT accounts.id, accounts.generation || mail_app_passwords.suffix
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
JOIN mail_app_passwords ON mail_app_passwords.account_id = accounts.id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending'
  AND accounts.protocols_off NOT LIKE '%smtp%';

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

-- Addresses and their accounts: the account with the address, or the members of an alias that can
-- receive.
CREATE VIEW mail_aliases AS
SELECT
  addresses.local_part,
  domains.name AS domain,
  COALESCE(addresses.account_id, members.id) || '@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
LEFT JOIN alias_members ON alias_members.alias_id = addresses.alias_id
LEFT JOIN accounts AS members ON members.id = alias_members.account_id
  AND members.status <> 'disabled' AND members.deleted_at IS NULL
WHERE domains.status <> 'pending' AND addresses.local_part <> '*'
  AND COALESCE(addresses.account_id, members.id) IS NOT NULL;

-- Who gets mail to postmaster@ and abuse@ that mail_aliases has no account for: such mail always
-- arrives (RFC 5321 4.5.1, RFC 2142). The default account of the domain's user gets the mail, or for
-- a platform domain the operator's account.
CREATE VIEW mail_roles AS
SELECT local_part, domain, account_id || '@acct.internal' AS target FROM (
  SELECT role.column1 AS local_part, domains.name AS domain, COALESCE(
    (SELECT owner.id FROM accounts AS owner
     WHERE owner.organization_id = domains.organization_id AND owner.user_id = domains.user_id
       AND owner.is_default = 1 AND owner.status <> 'disabled'),
    (SELECT account_id FROM mail_operator)) AS account_id
  FROM domains
  CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS role
  WHERE domains.status <> 'pending'
) AS roles
WHERE account_id IS NOT NULL;

-- Who gets mail to the unknown addresses of a domain: the accounts of its catch-all. Without one, the
-- hidden account, while the route sends mail and keeps none.
CREATE VIEW mail_catch_alls AS
SELECT domains.name AS domain, alias_members.account_id || '@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN alias_members ON alias_members.alias_id = addresses.alias_id
JOIN accounts ON accounts.id = alias_members.account_id
WHERE domains.status <> 'pending' AND addresses.local_part = '*'
  AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL
UNION ALL
SELECT domains.name, hidden_accounts.account_id || '@acct.internal'
FROM domains
JOIN webhooks ON webhooks.domain_id = domains.id
JOIN hidden_accounts ON hidden_accounts.domain_id = domains.id
WHERE domains.status <> 'pending' AND hidden_accounts.ended_at IS NULL
  AND webhooks.forward_mode IS NOT NULL AND webhooks.forward_mode = 'webhook' AND webhooks.status = 'active'
  AND NOT EXISTS (
    SELECT 1 FROM addresses
    JOIN alias_members ON alias_members.alias_id = addresses.alias_id
    JOIN accounts ON accounts.id = alias_members.account_id
    WHERE addresses.domain_id = domains.id AND addresses.local_part = '*'
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL);

-- Names on platform domains that nobody has and that take no mail, because a stranger could buy a
-- certificate with one (RESERVED in address.py). postmaster@ and abuse@ are among them where mail to
-- them leads to nobody.
CREATE VIEW mail_reserved AS
SELECT role.column1 AS local_part, domains.name AS domain
FROM domains
CROSS JOIN (VALUES
  ('admin'), ('administrator'), ('ftp'), ('hostmaster'), ('mailer-daemon'), ('news'), ('noc'), ('root'),
  ('security'), ('ssladmin'), ('ssladministrator'), ('sslwebmaster'), ('sysadmin'), ('usenet'), ('uucp'),
  ('webmaster'), ('www')
) AS role
WHERE domains.status <> 'pending' AND domains.user_id IS NULL AND NOT EXISTS (
  SELECT 1 FROM addresses WHERE addresses.domain_id = domains.id AND addresses.local_part = role.column1)
UNION ALL
SELECT role.column1, domains.name
FROM domains
CROSS JOIN (VALUES ('postmaster'), ('abuse')) AS role
WHERE domains.status <> 'pending' AND domains.user_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM mail_operator)
  AND NOT EXISTS (
    SELECT 1 FROM mail_aliases
    WHERE mail_aliases.domain = domains.name AND mail_aliases.local_part = role.column1);

-- Addresses that take no mail and that no catch-all takes (decision 0224), with a target that does
-- not exist: addresses in quarantine, aliases without living members, and reserved names.
CREATE VIEW mail_dead_ends AS
SELECT addresses.local_part, domains.name AS domain, '0@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
WHERE domains.status <> 'pending' AND addresses.account_id IS NULL
  AND addresses.local_part NOT IN ('postmaster', 'abuse', '*')
  AND NOT EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id
      AND accounts.status <> 'disabled' AND accounts.deleted_at IS NULL)
UNION ALL
SELECT local_part, domain, '0@acct.internal' FROM mail_reserved;

-- The access(5) action for each address that is taken. OK: the address receives. Disabled accounts
-- refuse mail, and so do full mailboxes, aliases whose members are all disabled or full, and
-- addresses in quarantine, with the text for an unknown address. A disabled postmaster or abuse still
-- receives. DUNNO: mail_roles decides. One SELECT without a union, because SQLite prepares this
-- look-up for each recipient (decision 0272).
CREATE VIEW mail_verdicts AS
SELECT
  addresses.local_part,
  domains.name AS domain,
  CASE WHEN addresses.account_id IS NOT NULL THEN
    CASE WHEN accounts.over_quota_at IS NOT NULL
        AND (accounts.status <> 'disabled' OR addresses.local_part IN ('postmaster', 'abuse'))
      THEN '552 5.2.2 The mailbox is full'
    WHEN accounts.status <> 'disabled' OR addresses.local_part IN ('postmaster', 'abuse') THEN 'OK'
    ELSE '550 5.2.1 This mailbox is disabled' END
  ELSE (
    SELECT CASE
      WHEN COUNT(CASE WHEN members.status <> 'disabled' AND members.over_quota_at IS NULL THEN 1 END) > 0 THEN 'OK'
      WHEN COUNT(CASE WHEN members.status <> 'disabled' THEN 1 END) > 0 THEN '552 5.2.2 The mailbox is full'
      WHEN addresses.local_part IN ('postmaster', 'abuse') THEN 'DUNNO'
      WHEN COUNT(*) > 0 THEN '550 5.2.1 This mailbox is disabled'
      ELSE '550 5.1.1 User unknown in virtual mailbox table' END
    FROM alias_members
    JOIN accounts AS members ON members.id = alias_members.account_id
    WHERE alias_members.alias_id = addresses.alias_id AND members.deleted_at IS NULL) END AS action
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
LEFT JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND addresses.local_part <> '*';

-- Each address that takes no mail, with the access(5) action.
CREATE VIEW mail_refusals AS
SELECT local_part, domain, action FROM mail_verdicts WHERE action LIKE '5%'
UNION ALL
SELECT local_part, domain, '550 5.1.1 User unknown in virtual mailbox table' FROM mail_reserved;

-- Addresses with the account that may send as each, and its logins, separated by commas: with its own
-- password and with each app password.
CREATE VIEW mail_senders AS
SELECT
  accounts.id,
  addresses.local_part,
  domains.name AS domain,
  accounts.id || '@' || accounts.generation || '.acct.internal'
    || COALESCE((SELECT {list}(',' || accounts.id || '@' || accounts.generation || '.c' || app_passwords.id || '.acct.internal', '')
      FROM app_passwords WHERE app_passwords.account_id = accounts.id), '') AS login
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
    || COALESCE((SELECT {list}(',' || accounts.id || '@' || accounts.generation || '.c' || app_passwords.id || '.acct.internal', '')
      FROM app_passwords WHERE app_passwords.account_id = accounts.id), '')
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
