-- The contract with the mail daemons. They read these views and nothing else; what "may log in" or "may receive"
-- means is decided here. Every look-up is by (local_part, domain) or by id, so that each finds an index.
--
-- Names that the daemons see, and nobody else:
--   <id>@acct.internal               where mail for an account is delivered: an id is never reused, an address is
--   <id>@<generation>.acct.internal  who a session has logged in as: a reset or suspension starts a new generation

-- Domains that mail is taken for. A domain that turned inactive keeps its mail.
CREATE VIEW mail_domains AS
SELECT name FROM domains WHERE status <> 'pending';

-- Who may log in with an address and a password. `nologin` names the reason why not (yet).
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
  substr('0123456789abcdef', CAST(accounts.id % 256 / 16 AS INTEGER) + 1, 1)
    || substr('0123456789abcdef', CAST(accounts.id % 16 AS INTEGER) + 1, 1) || '/' || accounts.id AS home
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.deleted_at IS NULL;

-- Where mail for <id>@acct.internal is stored. Suspended and disabled accounts, and those of a domain that was lost,
-- still get what was accepted, and it waits: their Sieve scripts do not run, for a script may send.
CREATE VIEW mail_recipients AS
SELECT
  accounts.id,
  accounts.address,
  CASE WHEN accounts.status = 'active' AND domains.status <> 'pending' THEN 1 ELSE 0 END AS filtered,
  substr('0123456789abcdef', CAST(accounts.id % 256 / 16 AS INTEGER) + 1, 1)
    || substr('0123456789abcdef', CAST(accounts.id % 16 AS INTEGER) + 1, 1) || '/' || accounts.id AS home
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.deleted_at IS NULL;

-- Sessions that are still good: id and generation of each account that may send. Not on a domain that was lost.
CREATE VIEW mail_sessions AS
SELECT accounts.id, accounts.generation || '.acct.internal' AS domain
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending';

-- Which address is whose. Mail to postmaster@ and abuse@ always arrives (RFC 5321 4.5.1, RFC 2142): without an
-- account of that name at the default account of the domain's user, on a platform domain at the operator's.
CREATE VIEW mail_aliases AS
SELECT addresses.local_part, domains.name AS domain, addresses.account_id || '@acct.internal' AS target
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
WHERE domains.status <> 'pending' AND addresses.account_id IS NOT NULL
UNION ALL
SELECT role.local_part, domains.name, COALESCE(
  (SELECT owner.id FROM accounts AS owner
   WHERE owner.organization_id = domains.organization_id AND owner.user_id = domains.user_id
     AND owner.is_default = 1 AND owner.status <> 'disabled'),
  (SELECT operator.account_id FROM addresses AS operator
   JOIN domains AS host ON host.id = operator.domain_id
   WHERE host.name = (SELECT name FROM mail_host WHERE id = 1)
     AND host.status <> 'pending' AND operator.local_part = 'postmaster')
) || '@acct.internal'
FROM domains
CROSS JOIN (SELECT 'postmaster' AS local_part UNION ALL SELECT 'abuse') AS role
WHERE domains.status <> 'pending' AND NOT EXISTS (
  SELECT 1 FROM addresses
  WHERE addresses.domain_id = domains.id AND addresses.local_part = role.local_part
    AND addresses.account_id IS NOT NULL);

-- access(5) actions for recipients that exist and are closed. A disabled postmaster or abuse still receives.
CREATE VIEW mail_refusals AS
SELECT addresses.local_part, domains.name AS domain, '550 5.2.1 This mailbox is disabled' AS action
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'disabled' AND accounts.deleted_at IS NULL
  AND addresses.local_part NOT IN ('postmaster', 'abuse');

-- Which account, and which login of it, may send as which address.
CREATE VIEW mail_senders AS
SELECT
  accounts.id,
  addresses.local_part,
  domains.name AS domain,
  accounts.id || '@' || accounts.generation || '.acct.internal' AS login
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'active' AND accounts.deleted_at IS NULL;

-- Which key signs what is submitted with a sender of this domain. opendkim alone reads it; a pending domain has none.
CREATE VIEW mail_signing_keys AS
SELECT domains.name AS domain, dkim_keys.selector, dkim_keys.private_key
FROM domains
JOIN dkim_keys ON dkim_keys.domain_id = domains.id
WHERE domains.status <> 'pending' AND dkim_keys.state = 'signing';

-- Of several machines: which has the mail of an account, and how the others reach it. `frozen`: it is on its way to
-- another one, and for a moment nobody logs in and nothing is delivered. `route` is for Postfix (transport(5)).
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
