BEGIN TRANSACTION;
CREATE TABLE account_counts (
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT NOT NULL,
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  status          TEXT NOT NULL,
  accounts        BIGINT NOT NULL,
  PRIMARY KEY (organization_id, user_id, domain_id, status)
);
INSERT INTO "account_counts" VALUES(1,'',1,'active',1);
INSERT INTO "account_counts" VALUES(1,'operator',1,'active',1);
INSERT INTO "account_counts" VALUES(3,'',3,'active',2);
INSERT INTO "account_counts" VALUES(3,'user_first',3,'active',1);
INSERT INTO "account_counts" VALUES(3,'user_second',3,'active',0);
INSERT INTO "account_counts" VALUES(3,'user_third',3,'active',0);
INSERT INTO "account_counts" VALUES(3,'user_fourth',3,'active',0);
INSERT INTO "account_counts" VALUES(3,'user_fifth',3,'active',1);
INSERT INTO "account_counts" VALUES(5,'',4,'active',1);
INSERT INTO "account_counts" VALUES(5,'u 2',4,'active',1);
INSERT INTO "account_counts" VALUES(3,'',3,'suspended',1);
INSERT INTO "account_counts" VALUES(3,'user_second',3,'suspended',1);
INSERT INTO "account_counts" VALUES(3,'',3,'disabled',1);
INSERT INTO "account_counts" VALUES(3,'user_third',3,'disabled',1);
CREATE TABLE accounts (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  domain_id       BIGINT NOT NULL REFERENCES domains(id),
  user_id         TEXT NOT NULL,
  address         TEXT NOT NULL,     
  display_name    TEXT,
  status          TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'disabled')),
  is_default      BIGINT NOT NULL,
  password        TEXT NOT NULL,          
  generation      BIGINT NOT NULL,        
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  deleted_at      BIGINT
);
INSERT INTO "accounts" VALUES(1,1,1,'operator','postmaster@mail.postroom.test','Postmaster','active',1,'{SSHA512}B4hb95ujFZ4EfHRTzmVsjBYrCTBJGR8A7qeeUtrv/8XEOzeC91mQMhkfHET7/F2jK1OAp/sq941wgyTuiXxnCVlB1BNj9gavTn065QL60nA=',1,1795481095176,1795481095176,NULL);
INSERT INTO "accounts" VALUES(2,3,3,'user_first','first@p1.test',NULL,'active',1,'{SSHA512}I3+PesVOJitQZyN8gi7HAa/JCKDL6OJNSw07ZLMOVfQS7laCeJfAryJhulePPtlUBWy7imWcHyvHGmEp0x6uZO3Pw8DN0Wa7ZaCnR7gyU7M=',2,1795481097055,1795481097068,NULL);
INSERT INTO "accounts" VALUES(3,3,3,'user_second','second@p1.test',NULL,'suspended',1,'{SSHA512}i5oEIGLgyHXhp6Jy9kdXXDVBM/D9qz4SYf5kj8Cz7Bd0zdw9Px+n4B5+sbImngFo39PeFohjaEE1xxll8Df9qEYivSveZUKcBwPD1oOmIFY=',2,1795481097059,1795481097070,NULL);
INSERT INTO "accounts" VALUES(4,3,3,'user_third','third@p1.test',NULL,'disabled',1,'{SSHA512}JeG48Uaj5ZA5wbTguHmctaM2OUHibqY8hx8fec/aDx/X5oa/3uctGw0VFa5ZxFPZTVCMf6cUOsudHE9T99MViOssPBasoka1flNmuW95dOk=',2,1795481097061,1795481097071,NULL);
INSERT INTO "accounts" VALUES(5,3,3,'user_fourth','fourth@p1.test',NULL,'active',0,'{SSHA512}baMUedSxkQh2K4htypPWabD2SPo3KRgjl/UMWiOQ2IwCKeRWP7//fiCdCaDELETsq5Vnl3kT+2SWMvY1WmvO6iB4dADIyOAatQYMCDntiGY=',2,1795481097063,1795481097072,1795481097072);
INSERT INTO "accounts" VALUES(6,3,3,'user_fifth','fifth@p1.test',NULL,'active',1,'{SSHA512}pVmPgMJBD184Hw4z1YMrDzEDZ/sP9K7lYDkd/A9i084/VXcf7mlmyi7GzzR40KSOH+zwlUSifEGaVlO1OqnPFOEx3+MI13BabV+ySOmoCPw=',1,1795481097064,1795481097064,NULL);
INSERT INTO "accounts" VALUES(7,5,4,'u 2','sixth@p2.test','Zoë ''x''; -- 雪','active',1,'{SSHA512}jG4d8+c5WSd/ljBk5auIOVN7b0nOHycYPxl8qdFguHb6yIru9an6tV/RpTBFRUWQZmBhdc0Or6NTuVELFbBejVPR6k2SAPQS2/6FDM9dDgs=',1,1795481097066,1795481097066,NULL);
CREATE TABLE addresses (
  domain_id   BIGINT NOT NULL REFERENCES domains(id),
  local_part  TEXT NOT NULL,
  account_id  BIGINT REFERENCES accounts(id),   
  user_id     TEXT NOT NULL,                    
  rests_until BIGINT,
  PRIMARY KEY (domain_id, local_part)
);
INSERT INTO "addresses" VALUES(1,'postmaster',1,'operator',NULL);
INSERT INTO "addresses" VALUES(3,'first',2,'user_first',NULL);
INSERT INTO "addresses" VALUES(3,'second',3,'user_second',NULL);
INSERT INTO "addresses" VALUES(3,'third',4,'user_third',NULL);
INSERT INTO "addresses" VALUES(3,'fourth',NULL,'user_fourth',1798073097072);
INSERT INTO "addresses" VALUES(3,'fifth',6,'user_fifth',NULL);
INSERT INTO "addresses" VALUES(4,'sixth',7,'u 2',NULL);
CREATE TABLE api_key_domains (
  key_id    BIGINT NOT NULL REFERENCES api_keys(id),
  domain_id BIGINT NOT NULL REFERENCES domains(id) ON DELETE CASCADE,
  PRIMARY KEY (key_id, domain_id)
);
INSERT INTO "api_key_domains" VALUES(4,3);
CREATE TABLE api_keys (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  prefix          TEXT NOT NULL,          
  digest          TEXT NOT NULL UNIQUE,   
  user_id         TEXT,                   
  scopes          TEXT NOT NULL,          
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT,
  revoked_at      BIGINT
, name TEXT, parent_id BIGINT REFERENCES api_keys(id), domain_bound BIGINT NOT NULL DEFAULT 0, networks TEXT, last_used_at BIGINT);
INSERT INTO "api_keys" VALUES(1,2,'pr_z5y_9nu','e06573741b5bd3a863cbc5fe36244fcdc49314997371dae2e63bcc6102d59ffa',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795481095176,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,3,'pr_8JOpLUn','3b43126383cd221b369e746e7a4ea60cb5e316da566e649cca6d1fe88763c805',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795481096233,NULL,1795481097716,NULL,NULL,0,NULL,1795481097056);
INSERT INTO "api_keys" VALUES(3,5,'pr_yTYO0Tb','462bb66284e9004c0722b8096367e289cdfda120b88036a7afce12b08effaad9',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795481096952,NULL,NULL,NULL,NULL,0,NULL,1795481097066);
INSERT INTO "api_keys" VALUES(4,3,'pr_MxblNc-','f5e0843c15d55cac2c238df79496db91d8aa921fb5db60e559f6bf88315cb34d',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795481097371,NULL,NULL,'narrow',NULL,1,'192.0.2.0/24',NULL);
CREATE TABLE domains (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT,                   
  name            TEXT NOT NULL,          
  status          TEXT NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
);
INSERT INTO "domains" VALUES(1,1,'operator','mail.postroom.test','active',1795481095176,1795481095176);
INSERT INTO "domains" VALUES(2,2,NULL,'demo.test','active',1795481095176,1795481095176);
INSERT INTO "domains" VALUES(3,3,NULL,'p1.test','active',1795481095870,1795481095870);
INSERT INTO "domains" VALUES(4,5,'u 2','p2.test','active',1795481096608,1795481096608);
INSERT INTO "domains" VALUES(5,3,NULL,'pending.test','pending',1795481098418,1795481098418);
INSERT INTO "domains" VALUES(6,3,NULL,'suspended.test','suspended',1795481098822,1795481099232);
CREATE TABLE events (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  type            TEXT NOT NULL,
  account_id      BIGINT,
  domain_id       BIGINT,
  user_id         TEXT,
  key_id          BIGINT,                 
  request_id      TEXT,
  client_address  TEXT,
  data            TEXT NOT NULL,          
  created_at      BIGINT NOT NULL
);
INSERT INTO "events" VALUES(1,1,'domain.created',NULL,1,'operator',NULL,NULL,NULL,'{"domain":"mail.postroom.test","status":"active"}',1795481095176);
INSERT INTO "events" VALUES(2,1,'account.created',1,1,'operator',NULL,NULL,NULL,'{"address":"postmaster@mail.postroom.test","status":"active"}',1795481095176);
INSERT INTO "events" VALUES(3,2,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":1,"prefix":"pr_z5y_9nu","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795481095176);
INSERT INTO "events" VALUES(4,2,'domain.created',NULL,2,NULL,NULL,NULL,NULL,'{"domain":"demo.test","status":"active"}',1795481095176);
INSERT INTO "events" VALUES(5,3,'domain.created',NULL,3,NULL,NULL,NULL,NULL,'{"domain":"p1.test","status":"active"}',1795481095870);
INSERT INTO "events" VALUES(6,3,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_8JOpLUn","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795481096233);
INSERT INTO "events" VALUES(7,5,'domain.created',NULL,4,'u 2',NULL,NULL,NULL,'{"domain":"p2.test","status":"active"}',1795481096608);
INSERT INTO "events" VALUES(8,5,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":3,"prefix":"pr_yTYO0Tb","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795481096952);
INSERT INTO "events" VALUES(9,3,'account.created',2,3,'user_first',2,'2a5472b4275c3d8b2d64c33e','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795481097055);
INSERT INTO "events" VALUES(10,3,'account.created',3,3,'user_second',2,'36e21b677f56d18024c5f705','127.0.0.1','{"address":"second@p1.test","status":"active"}',1795481097059);
INSERT INTO "events" VALUES(11,3,'account.created',4,3,'user_third',2,'f2c1656c16bf2f48641ba0c8','127.0.0.1','{"address":"third@p1.test","status":"active"}',1795481097061);
INSERT INTO "events" VALUES(12,3,'account.created',5,3,'user_fourth',2,'7f9c99e464d015954db7e212','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795481097063);
INSERT INTO "events" VALUES(13,3,'account.created',6,3,'user_fifth',2,'f1623dd160b5f179c3176587','127.0.0.1','{"address":"fifth@p1.test","status":"active"}',1795481097064);
INSERT INTO "events" VALUES(14,5,'account.created',7,4,'u 2',3,'3f3d982c9b88eae5b3c3e73d','127.0.0.1','{"address":"sixth@p2.test","status":"active"}',1795481097066);
INSERT INTO "events" VALUES(15,3,'account.password_reset',2,3,'user_first',2,'59fd97478e17f229df15849d','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795481097068);
INSERT INTO "events" VALUES(16,3,'account.suspended',3,3,'user_second',2,'930d71c37e23ba154c81bae3','127.0.0.1','{"address":"second@p1.test","status":"suspended"}',1795481097070);
INSERT INTO "events" VALUES(17,3,'account.disabled',4,3,'user_third',2,'cc82b8aba925afb7225dfcac','127.0.0.1','{"address":"third@p1.test","status":"disabled"}',1795481097071);
INSERT INTO "events" VALUES(18,3,'account.deleted',5,3,'user_fourth',2,'6667a74a8f23108fc95bde41','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795481097072);
INSERT INTO "events" VALUES(19,3,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":4,"prefix":"pr_MxblNc-","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"],"domains":["p1.test"],"networks":["192.0.2.0/24"]}',1795481097371);
INSERT INTO "events" VALUES(20,3,'key.revoked',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_8JOpLUn"}',1795481097716);
INSERT INTO "events" VALUES(21,3,'limits.changed',NULL,NULL,'user_first',NULL,NULL,NULL,'{"domains":null,"accounts":100,"accounts_per_domain":null}',1795481098034);
INSERT INTO "events" VALUES(22,3,'domain.created',NULL,5,NULL,NULL,NULL,NULL,'{"domain":"pending.test","status":"pending"}',1795481098418);
INSERT INTO "events" VALUES(23,3,'domain.created',NULL,6,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","status":"active"}',1795481098822);
INSERT INTO "events" VALUES(24,3,'domain.suspended',NULL,6,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","from":"active","to":"suspended"}',1795481099232);
CREATE TABLE limits (
  organization_id     BIGINT NOT NULL REFERENCES organizations(id),
  user_id             TEXT NOT NULL,   
  domains             BIGINT,
  accounts            BIGINT,
  accounts_per_domain BIGINT,
  PRIMARY KEY (organization_id, user_id)
);
INSERT INTO "limits" VALUES(3,'user_first',NULL,100,NULL);
CREATE TABLE mail_host (
  id   BIGINT PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL
);
INSERT INTO "mail_host" VALUES(1,'mail.postroom.test');
CREATE TABLE organizations (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);
INSERT INTO "organizations" VALUES(1,'operator',1795481095176);
INSERT INTO "organizations" VALUES(2,'demo',1795481095176);
INSERT INTO "organizations" VALUES(3,'platform 1',1795481095870);
INSERT INTO "organizations" VALUES(5,'platform 2',1795481096608);
CREATE TABLE schema_migrations (
  name       TEXT PRIMARY KEY,
  checksum   TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);
INSERT INTO "schema_migrations" VALUES('0001_start.sql','d4e9753357ca37cda2bc7c2aa4a992d6f1ba2a8841de8d585043786c718125e7',1795481095169);
INSERT INTO "schema_migrations" VALUES('0002_keys.sql','31c30996ac65af16edac359574f5b37cad674f93ec4c7f472a67022359dbe11a',1795481095169);
INSERT INTO "schema_migrations" VALUES('0003_limits.sql','79f21bd0dac65b24d1ef91daacf8d94c9ae00a902c870b4248d8764db0fbde8d',1795481095169);
INSERT INTO "schema_migrations" VALUES('mail_views.sql','37db69c42bb394947e61aed4517dc1660182d015136dc68c9e357373a508012f',1795481095169);
CREATE TABLE session_endings (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  due_at     BIGINT NOT NULL
);
INSERT INTO "session_endings" VALUES(1,2,1,1795481100068);
INSERT INTO "session_endings" VALUES(2,3,1,1795481100070);
INSERT INTO "session_endings" VALUES(3,4,1,1795481100071);
INSERT INTO "session_endings" VALUES(4,5,1,1795481100072);
CREATE INDEX api_keys_organization ON api_keys (organization_id, id);
CREATE UNIQUE INDEX domains_owner ON domains (name) WHERE status <> 'pending';
CREATE UNIQUE INDEX domains_claim ON domains (organization_id, name, COALESCE(user_id, ''));
CREATE INDEX accounts_organization ON accounts (organization_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_user ON accounts (organization_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_domain ON accounts (domain_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_domain_user ON accounts (domain_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX accounts_address ON accounts (organization_id, address, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX accounts_default ON accounts (organization_id, user_id) WHERE is_default = 1;
CREATE INDEX events_organization ON events (organization_id, id);
CREATE INDEX events_account ON events (account_id, id);
CREATE INDEX events_domain ON events (domain_id, id);
CREATE INDEX events_user ON events (organization_id, user_id, id);
CREATE INDEX session_endings_due ON session_endings (due_at);
CREATE INDEX api_keys_children ON api_keys (parent_id);
CREATE INDEX api_key_domains_domain ON api_key_domains (domain_id);
CREATE VIEW mail_domains AS
SELECT name FROM domains WHERE status <> 'pending';
CREATE VIEW mail_logins AS
SELECT
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
CREATE VIEW mail_recipients AS
SELECT
  accounts.id,
  accounts.address,
  CASE WHEN accounts.status = 'active' THEN 1 ELSE 0 END AS filtered,
  substr('0123456789abcdef', CAST(accounts.id % 256 / 16 AS INTEGER) + 1, 1)
    || substr('0123456789abcdef', CAST(accounts.id % 16 AS INTEGER) + 1, 1) || '/' || accounts.id AS home
FROM accounts
WHERE accounts.deleted_at IS NULL;
CREATE VIEW mail_sessions AS
SELECT id, generation || '.acct.internal' AS domain
FROM accounts
WHERE status = 'active' AND deleted_at IS NULL;
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
CREATE VIEW mail_refusals AS
SELECT addresses.local_part, domains.name AS domain, '550 5.2.1 This mailbox is disabled' AS action
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'disabled' AND accounts.deleted_at IS NULL
  AND addresses.local_part NOT IN ('postmaster', 'abuse');
CREATE VIEW mail_senders AS
SELECT
  addresses.local_part,
  domains.name AS domain,
  accounts.id || '@' || accounts.generation || '.acct.internal' AS login
FROM domains
JOIN addresses ON addresses.domain_id = domains.id
JOIN accounts ON accounts.id = addresses.account_id
WHERE domains.status <> 'pending' AND accounts.status = 'active' AND accounts.deleted_at IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('organizations',9);
INSERT INTO "sqlite_sequence" VALUES('domains',6);
INSERT INTO "sqlite_sequence" VALUES('events',24);
INSERT INTO "sqlite_sequence" VALUES('accounts',7);
INSERT INTO "sqlite_sequence" VALUES('api_keys',4);
INSERT INTO "sqlite_sequence" VALUES('session_endings',4);
COMMIT;
