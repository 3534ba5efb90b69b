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
INSERT INTO "account_counts" VALUES(4,'',3,'active',2);
INSERT INTO "account_counts" VALUES(4,'user_first',3,'active',1);
INSERT INTO "account_counts" VALUES(4,'user_second',3,'active',0);
INSERT INTO "account_counts" VALUES(4,'user_third',3,'active',0);
INSERT INTO "account_counts" VALUES(4,'user_fourth',3,'active',0);
INSERT INTO "account_counts" VALUES(4,'user_fifth',3,'active',1);
INSERT INTO "account_counts" VALUES(6,'',4,'active',1);
INSERT INTO "account_counts" VALUES(6,'u 2',4,'active',1);
INSERT INTO "account_counts" VALUES(4,'',3,'suspended',1);
INSERT INTO "account_counts" VALUES(4,'user_second',3,'suspended',1);
INSERT INTO "account_counts" VALUES(4,'',3,'disabled',1);
INSERT INTO "account_counts" VALUES(4,'user_third',3,'disabled',1);
CREATE TABLE account_homes (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  node_id    BIGINT NOT NULL REFERENCES nodes(id)
);
CREATE TABLE account_moves (
  account_id  BIGINT PRIMARY KEY REFERENCES accounts(id),
  source      BIGINT NOT NULL REFERENCES nodes(id),
  target      BIGINT NOT NULL REFERENCES nodes(id),
  phase       TEXT NOT NULL CHECK (phase IN ('copy', 'frozen', 'clean', 'cancelled')),
  messages    BIGINT NOT NULL DEFAULT 0,
  copied      BIGINT NOT NULL DEFAULT 0,
  reason      TEXT,                     
  created_at  BIGINT NOT NULL
);
CREATE TABLE account_users (
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT NOT NULL,
  PRIMARY KEY (organization_id, user_id)
);
INSERT INTO "account_users" VALUES(1,'operator');
INSERT INTO "account_users" VALUES(4,'user_first');
INSERT INTO "account_users" VALUES(4,'user_second');
INSERT INTO "account_users" VALUES(4,'user_third');
INSERT INTO "account_users" VALUES(4,'user_fourth');
INSERT INTO "account_users" VALUES(4,'user_fifth');
INSERT INTO "account_users" VALUES(6,'u 2');
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
, purge_at BIGINT, purged_at BIGINT, last_login_at BIGINT);
INSERT INTO "accounts" VALUES(1,1,1,'operator','postmaster@mail.postroom.test','Postmaster','active',1,'{SSHA512}auCTxbnip72ewXoPd7X/TKhWS8Ki+TFEldF34u8Pa19MDZGFylX/5nAL+tVItaUTUi3bIDA0vceqlDoasU/KiLvd/t86QpfwTAC7cAgICFw=',1,1795631250539,1795631250539,NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(2,4,3,'user_first','first@p1.test',NULL,'active',1,'{SSHA512}6Yv5LMkMFJIh1pVS0jy4Oe5FaCKZxfOISjEyijniwTFhg7nvdLtY6C1IkTVpgvqzP3rHi+hkFKcymXRkTxM0c1yPGU16vBNeTXFDJOsq0Dg=',2,1795631252051,1795631252060,NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(3,4,3,'user_second','second@p1.test',NULL,'suspended',1,'{SSHA512}sbgxE5LPLPANXufoKE8uC+MKXpOtrBDmuYemLBBCfxpYMSdrtbco/3g31dbhcgbzbvNlkwyfUxC64Lo8SQtepB+yQAk4DsV4j8Qt3vIWGGw=',2,1795631252054,1795631252061,NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(4,4,3,'user_third','third@p1.test',NULL,'disabled',1,'{SSHA512}YO8uQikZ9UlPAHo7b+EouK0sNpQ1yu5qR+VLoqyARFNh8jVxhFlvl9TV9EqN+/WXK8TRTlTdHM7VUiSaOHSaBpMDKZwNIr886jV2zOMBCrs=',2,1795631252055,1795631252062,NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(5,4,3,'user_fourth','fourth@p1.test',NULL,'active',0,'{SSHA512}yyHajk3EuPzEUGbuTE7HrfcjkjyrzicjogthfYIyVaS4TiqKb1CZcwXGXIMb5SEJcNQ2+rY3jjGRc5b3Wi3hN9tRWEk54+XA68Y4J5CDj44=',2,1795631252056,1795631252063,1795631252063,1796236052063,NULL,NULL);
INSERT INTO "accounts" VALUES(6,4,3,'user_fifth','fifth@p1.test',NULL,'active',1,'{SSHA512}laZXNn4r5fzfESWjgVq4ZObjEtKtecg0kOZYhALWsPGKgGU1EBx0kg4CfCKyuNGEknFtv3ISu1cp+BTi5QSReopAmedmNOxPwGLrdhQ7GBo=',1,1795631252057,1795631252057,NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(7,6,4,'u 2','sixth@p2.test','Zoë ''x''; -- 雪','active',1,'{SSHA512}TeWhPRLpvUvKAUCEtV8URF05VR7DS2+lsJyXeriJPoEVgstvIn4ukXsxY7adDsQBbnrXl2jrKwcsYag4ewfibRm8oG5xmS/cS9i63/bMIrs=',1,1795631252058,1795631252058,NULL,NULL,NULL,NULL);
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
INSERT INTO "addresses" VALUES(3,'fourth',NULL,'user_fourth',1798223252063);
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
, name TEXT, parent_id BIGINT REFERENCES api_keys(id), domain_bound BIGINT NOT NULL DEFAULT 0, networks TEXT, last_used_at BIGINT, root_id BIGINT);
INSERT INTO "api_keys" VALUES(1,2,'pr_b--tXPt','5085b2255bd22db0ff39001f9e2e0c572f1356ac3a325fd162e57d605db8a4bd',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795631250539,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,4,'pr_4C2IPLH','61962e9de8ee90231fb43becebeab513cdb4c1272baa8f0929cd1f0eb6599799',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795631251092,NULL,1795631252616,NULL,NULL,0,NULL,1795631252051,NULL);
INSERT INTO "api_keys" VALUES(3,6,'pr_339fDso','3baef4e606feaeb0b13fb56cb483ce469c7766f4cb9e8c8a10b0f8dfee712773',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795631251665,NULL,NULL,NULL,NULL,0,NULL,1795631252059,NULL);
INSERT INTO "api_keys" VALUES(4,4,'pr_NVFY1hS','ca8d2799f3dcd9a7426d038d773a6bbb02769b95312c41f2b5dbc0c2d0fb5694',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795631252372,NULL,NULL,'narrow',NULL,1,'192.0.2.0/24',NULL,NULL);
CREATE TABLE console_links (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  expires_at      BIGINT NOT NULL
);
INSERT INTO "console_links" VALUES(1,2,1,'f4581dd8d9199a0470caba3a6a4b0a664ad0bcaf03649712ed3fbc7f282d45ea',1795632150539);
CREATE TABLE console_sessions (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL
);
CREATE TABLE dkim_keys (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  domain_id   BIGINT NOT NULL REFERENCES domains(id),
  selector    TEXT,                       
  private_key TEXT,                       
  value       TEXT,                       
  state       TEXT NOT NULL CHECK (state IN ('wanted', 'signing', 'next', 'retiring')),
  created_at  BIGINT NOT NULL,
  due_at      BIGINT                      
);
INSERT INTO "dkim_keys" VALUES(1,1,'pr202611m3pjz9','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDprjwFRw9XoOOl
98Gk/8RQVCaTfblXI92TGvMa6x1xrOCb4e3lGmf5heP9wscfPGC8aNMNbgogfmvX
I82IZ42sKb8qV3pmNc1tiZDi5WU+k/kyRw98MAROAM9TfdTE6ajMjO/dY8jy+EB/
ZHHS9ue2wA83Ig2Zpgls9n2niM/lh1ericd5rajVJnN3UFdANiCLmu90Q2YnwMMO
5ELcLjwVVDAtQxl5qOXpQZkhYNgsCjw3pfi0M8SlByDXHPBKI7Mtnmx1EqUwba/y
+Ea9zbJoJE6jxACKOBTMghXV5StbO8DR6TMTwBPvVU8MX0ErCGrGwpUl8UJdso7b
gGmMvQWhAgMBAAECggEAB+BDXd6ro9WUgqondNEZi+cQL0muIuOestf2UGaTBRsx
bVOXtfB2R2zVtr53QWRissr6LRJTxU1Zg2Rtp56s4dv82VeeNJ503G+l6l3WtB2e
6SzHtvTz2jCxDDR6JMJm2fEYnw6/TcAkBV8sbnK7s9dElARB7tcvq2Rh7xD/h9H/
2asn0gv5VuSWE2UEtcqu+sDUdluRx70R5y7xYvH+tt2ZSr8zR7aNkl5B6JQHxHSb
NW7jM+LA71TCEBzUrZVPf9Cpn//SzM+WHVcRhIUeMFD0T4mO6mdzr9M8i0Kuvh4Z
194g7iNbM2oD+nx9ALj+eE+rq+82+td6CX9I6zju6QKBgQD8fJqbvSjIVm0p1K49
qQJ/tE3KYx5VVuMP8RqtswMP5DvUL1ZPIVhRI5DjGpmz55Lnkk09b+XeHjjq26Vu
fC4dqGuWoRIKVATJzoTP2WFqx2f1j6okEzCl/r235EjNw7nPaTRGLYXoGnnlUb1f
FMZpCq1K24uqNiCJF+ZsYWKAWQKBgQDs7qPlyL2t4NpZwvURxnEQs9v2NW5anthh
iiOgNn72JHSFndGq51mS01tZuEPvqq/IMJH0NmqTm4sElQMzWlNGyIep5jQ7HX+j
Q62lcXtWKn2av8XXizIhR9fwicj8OANJn8K52Fvi/QiRJeIxODOGwzV/L1zeXdgC
QuBGcZ5GiQKBgCTqWviWSZYw/Lj2/ZrKUTE2vYDvyQmVMJGuIMZwu+vg5NZ7LVVY
fL8wQgjSZNKm8xWkkGKBL8ywAoZkIuXqhhuT+lcFqcuUyTZwWX7CO7oO+aYvoSKx
I5XBjx+J4xMioNIwgZIZKdDrvhLHRrbWJMRK6VdejicOzub8dZY3Dt3RAoGBANt+
8WOtJtvw1RgXHsaK2rAoj/x133ggdEFYokyIb/JEL5ahcF4t2bPGDnj91iIwNIz3
Qh/GUdHRZWanTcHDSibnG5dwZq7lUxvDVRlSGnrm/lngk75te9GNJyX137aZhaIt
WU6me+m7lLYzLGuAr2uHaQYcsKJoufbOUcuw8npRAoGAXpsDbi4N+uECEo+OOZot
UCMrNOt0UXmpW/R00tyheqsoZBZZeVIe9fK3Aq7M9A5faf1m1LWHvG5RHDVtXWRJ
/g4t2wwHUaybD8G2dw08WhBduRa7xwjZIGLTGcwVQ5pMzF+Ni3BDiTW/utKoD/ma
JcF7G2g4vyzrVGkltOJrUzg=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA6a48BUcPV6DjpffBpP/EUFQmk325VyPdkxrzGusdcazgm+Ht5Rpn+YXj/cLHHzxgvGjTDW4KIH5r1yPNiGeNrCm/Kld6ZjXNbYmQ4uVlPpP5MkcPfDAETgDPU33UxOmozIzv3WPI8vhAf2Rx0vbntsAPNyINmaYJbPZ9p4jP5YdXq4nHea2o1SZzd1BXQDYgi5rvdENmJ8DDDuRC3C48FVQwLUMZeajl6UGZIWDYLAo8N6X4tDPEpQcg1xzwSiOzLZ5sdRKlMG2v8vhGvc2yaCROo8QAijgUzIIV1eUrWzvA0ekzE8AT71VPDF9BKwhqxsKVJfFCXbKO24BpjL0FoQIDAQAB','signing',1795631250829,NULL);
INSERT INTO "dkim_keys" VALUES(2,2,'pr2026113z5grx','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDT8FYoCf3VqTSd
xE/3LLZ1ANQZcpXP1+KTqxiZWaOHrc/y6zmnOdRacMUY2I8zGTo9PjPX1qzDCko7
D0FEuxFzlCG1N3I4Qf7Wzsd0lUthoo65f/3BB9Au2HvzTmL911wu3Btdb1B6mQI6
g/sZPO5Iv0QS3QhN4eqKeIOCWxR9pYI89W0vYZAfEpdPtca6DQRTdfaSsJDgCygH
aesys7Bu/olY/xHInY7CHMjXUekvU+JGAYyXQU8LFi5Y+Ac0wcADXHeS8R5MfJv7
fW5yoHJLoszJZcfUKqxIOSYAsRlMYX39Td+a/vn8LfFUqYd0P2j6DNpWUxRVT+9Z
dqG0x+xtAgMBAAECggEAZa2UkAH3IxXZ9eS0Xoe3g1uh5hGImR3gCGtZ0lxkbZfw
P4EleDpwy/D1Ri3DSccNH0uj0KWf3bSmlz4C2KgMv8/t+gQ/Soky6zhqDV8Aurcj
1Q/4HC8U7ByVHs3ZBSJYiey0PjfEuwSEQrGF+n42bXVBgfFD5iWAAe2+XgA3TO2G
VcJXMk6wQwKvyyhoGZobiU+2FbfSjUtsoe7XDUq3VwUIl4B4W25uUB6T5W5Ojri0
vnCCGmnef1B6/IN75Sg5OtZyb5JLEyi5ldfAdXnhvobBzrgz2zcDIwPIgOd+D4lZ
Px/tSlQ1wlNnAmFxV689w/4p4i2JiKAvHiGQGPk5awKBgQD0L05vPP8azrLb6XX8
Fr5xqMkc4w+ytMJLDSXZr4rkKGVvVS4a1WVA79PKPCXzEcQ/kgGmUfoKceW1k3pj
W/nBJXJ9MMVBklevuv4Wd4nQ87hQeqvFhIyQeNnyBcJrurigHh2Iwo36Fx3omAcL
eufU5sRX3Sswf+mmfB2wXhXZ7wKBgQDeMZozet4ZgYtnX8hgmWFIR/VS9Y6/3Ptw
xSrZLhvb7EhkYGAOHoaD2ykyCBdRMmgjc/rx1k09rRWytObHnz+G08mvKqProbL+
EgUBjwP1Zzw95w2XWELzaatkhJEHHZlGvQC2cq95Jpnn3nMCiZt4xd9sscXItf5h
mQigjF6rYwKBgQCAPug+3BZPige+IBtrTravEyqtFUQFY5I3wKwEbIHR2rWLh30z
cqg/NrZRHM4Bn28mxBRBugRMwA0ZFF/PF1tQ6c37mkW/bpDHJrqUKiwjph1Dh2n3
zunUZuRwjD3UPrkAv1Bbp3LRyppWsqHgkah41MqCKxKn4kZgvgcJviBT2QKBgGlH
3YXZCRXS0Qf5VYuYAYVrOy3E1o/ImIdVlTj05RRuv9p34+uswRYHKVzggpPhq4Bo
+xXN8ilwMuDLYLJjnYk4Hs9WB/elVZeXWDHl3v1PnjbCnSkCFC8b+a8WNVXGy5K+
CXFppAVmqfQ47gvcwgMW1we8sDerLE54YaMY/957AoGBAIbC9APjTZoIA4qOYfR3
J3IA2B+mtuDRMFdfH71h+rpKGIFIsG5Fut2curpXvLMj7C/hw557JE0GHPtIVOBP
++Ec6LwaxagQJfGiBhk34Ul4uFC0QKbusyzdBg3HAnoF/Awo/1xICehJdqqW5I8A
v0vcwoIpzLVKsjWA04FVcYgE
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0/BWKAn91ak0ncRP9yy2dQDUGXKVz9fik6sYmVmjh63P8us5pznUWnDFGNiPMxk6PT4z19aswwpKOw9BRLsRc5QhtTdyOEH+1s7HdJVLYaKOuX/9wQfQLth7805i/ddcLtwbXW9QepkCOoP7GTzuSL9EEt0ITeHqiniDglsUfaWCPPVtL2GQHxKXT7XGug0EU3X2krCQ4AsoB2nrMrOwbv6JWP8RyJ2OwhzI11HpL1PiRgGMl0FPCxYuWPgHNMHAA1x3kvEeTHyb+31ucqByS6LMyWXH1CqsSDkmALEZTGF9/U3fmv75/C3xVKmHdD9o+gzaVlMUVU/vWXahtMfsbQIDAQAB','signing',1795631250852,NULL);
INSERT INTO "dkim_keys" VALUES(3,3,'pr202611y9sk0r','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDIQgtl4tuXk8Fb
tFYR448G4ySUSgbWCdfmbl7YOMeCeSCY1rpPOZoKCvW0N58Q48t1aU5Dk40Ctkf6
UkTlpNfhJu67vyGFNELMm9vvAuv/KQpsXf6uMgqyXoXRjaRzVzFKvYzwBh6khN2H
IGYL0QCu8dL/5az5btMSEMC0M4DXgOp8sHAz+e3x4yBnI7OMJFFKyDB8VbjNo+GC
h9fOhYOy7xnwMehFZb3cKrIbpHs/1C4Xawz0oH0YxxwA3Yi66iDNyDWFf1US+eQJ
5MlhwQ8DMiKfiYxBZ4rKRYI9AIXROnqvat6DDYTUa04CYFxGk82119PFbV93ZRs9
tkk5XO3RAgMBAAECggEAAVUUtmNZ65wcsNxrfPR7GlJguOW82qDCTeLQC5As7E1/
ZPB7PJHB9NttMuXkZMjKUH9NqyMm7Rrxau4FeLccMLG2iKC+G28FRfnyCy4+Nm/N
NxcxVoEUc2q+E8r60XqiOYQ28YeKOibSCbckU//28+TL7w6kGzmDkCe7/V/S50M/
ttScdxkmyFi+IoVGBbYo2eFwxQYQcY9jU7/Rl/+nk5Sa26p47H8iJiWPq4B0o7EJ
nXK1EUvcB4BsKJjnKy4zVWgNDHB3glZpvA45uVVoUcfz79p4otyLcmZRRxLYtjZi
1d7FcC3ZLwWvv6W5FnGamMnCZT9XfMLQb77HsTcDUQKBgQDoGRZ+NFzfSdrOmAEd
Db10U06g5eAhVDbEp/9hdXjWkA3l5/1uV/6T/iPAFpKCUTL8NOTjMY5bCGRTfSEw
Jvd8pmwt7L6pV+L1Olh+OL6tJ7qwv+tZOgNt1dagy786VP9DtsIDv22M4e+MIKD0
ejRmlcCL8pRYtmpWJ32KJ1IFuQKBgQDc4Yr+8FyHIYTAKc0F06OkXiGE4KXilcnQ
K53WZmhN4pC0y2QYKF/zedUl4KkOY8UjkvnZUxq/qAmcOXYxOX6DkjOHUSXQ4hCD
hFa3zsKwGCOBcrI3ZmXnybpmkfqwe+WIVR33ewduT67jwUbw126HqOBLIV21Mrxz
tA/hZ1C02QKBgQCBhN6EdvwMrs4n07NrXyuGKqcKKr20W6Zkf8uHu2I/egwHbDqE
xR4PwBZ7Lx17E4z8KRhBoHnsWvaBkKZglJ4vNT/RMPgE0EKazoBrj4b4Yd9Qmwje
tf0L4fTvrkN8bco1I1uJc93SbJKdA+hOBZQQWykj767RApq8kTUBT4f6IQKBgBUq
Z69WSQeJ5rajSsosJZoyivO4syyrPdN82nsZBRWxiDxK4SSPeeJS4mHmzUxbsyBd
jSOOGxoSeBlISFMfN0hUUiu9UupZP0va+pRSc8V8Cqr02q8EWO+FHR+HDYar2Krf
vSdh2qxvZkrc0ndxrV3CiPuqDti2K+jKcFshE1LBAoGAEhzfE5YDAMV8aNDbhmmm
sb7y7dRUlT4U08wyjFDxvneTKf4LJUKgCVjvQftRsAz6VLLN/6uGgmFjD5N3D2+z
NURGaqG8rIrwHQmF031biBgTRnHDbrB7sDWWNrDAIDKn9CODwrfTlJru1sVZ9OPP
/yW37iO8+ayZPd1WN3KW2tU=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAyEILZeLbl5PBW7RWEeOPBuMklEoG1gnX5m5e2DjHgnkgmNa6TzmaCgr1tDefEOPLdWlOQ5ONArZH+lJE5aTX4Sbuu78hhTRCzJvb7wLr/ykKbF3+rjIKsl6F0Y2kc1cxSr2M8AYepITdhyBmC9EArvHS/+Ws+W7TEhDAtDOA14DqfLBwM/nt8eMgZyOzjCRRSsgwfFW4zaPhgofXzoWDsu8Z8DHoRWW93CqyG6R7P9QuF2sM9KB9GMccAN2Iuuogzcg1hX9VEvnkCeTJYcEPAzIin4mMQWeKykWCPQCF0Tp6r2regw2E1GtOAmBcRpPNtdfTxW1fd2UbPbZJOVzt0QIDAQAB','signing',1795631251381,NULL);
INSERT INTO "dkim_keys" VALUES(4,4,'pr202611qeq8mj','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDcJao6qFHXnZmE
hgyrkqOl/wdP/plyWkz81AjRnlqPxeveIuPzg5B1Kwj1ASFT10HL26G62eKOtxXi
wCOPqnfCn+4Q4b8wdaJXbj/P7Ad5fIweR1YJHYi2YcoAYSH4dOlmYABojdPa450N
a3DhNjQ2XDhdlQz4/rze6e0NiG0eCI7tuLtku741AKrpdlcQF5WUPtrbXgX6BmFX
3obonVRTJzjc5Qp2mq0YKrZMfn0+gDx40AmY49zH+mRCWPIN7zgxAbuDZxDydqUs
iuhPxQWLRHjhHL4GcXhHnvKSfM9wRe8/CV3plNbcGOqgjWKuL4dcDQzsP4Y7uZh7
EJWSbC7HAgMBAAECggEAEZTDzK3EOiMgxKfMm5J5QENRiwQVrr9jFkPmtRA07PYi
TpoHDgZWmIzdyRc/Lp9qZpnn3MYUJPqeeakyOIHQJk+4ZvUTBuSLbk5kiTnbz59w
ieXU4KMmV7kP3/Th43eOwOQaKZS+CQ/payNxSdhsK1/fs9WN9NVUhxGJIsNfl34d
49CW3PsY2AVJP0wX5DitTfH0bIH6agJE5wpNlC/qxXyaxWEPRPB4IQCb3I3BoAWT
ILy14hjbnV3iQoUCCGBFK1MVYK7UE9NhxIDfniqZuuHYMOysm+GkXtDC00PPLCxh
jxOWQ5ukngkFt3ko1tzy80xMovV/hsGLWRyy0Vkt+QKBgQDxGmvurxjjaRB6m+u3
qRui0zlO7V1MHEiIm+aRC84xATIIIakOHBq6mWle/6sLkpdQMlT4sIpMtBh9qY9Q
xy2K8RPnKQbkf/Vy65yYhkO63pfaX0He/vDDxeFjYouv++13g406dpDVasnGHeiC
AmgewzDPbYv6Q9stLtFvNVIdzwKBgQDpv8baJhzJLq+vNeRV1rizTvgs6SpQTBqO
djWTghGFvriIzJcaP00IvER1K2efubGDmGzeDEnsxbALaIGJ3HJYuWg/Zr+lcwdE
5RlQ70NTGLGnUIyw6QSaCf8FmFbOkgAQMdzF4NQsqhb6jT9xNNeZf19xb3/Qd0hR
W7/qXsPViQKBgHx+WBz27LMAHTIyMJS1DUAWMRFAH1ydfhaL6ZIbtmw3Yc4xE0nl
2Sdg77fN7FQdbWRLmPSQs9jHZZ39X7MmJa4IrW4/EQAL0oF0h3d6XJ6xMVfgt/Kd
UVTFaIwY5mgIfaWol9QIRODuMyHJb7Ux6PF5eEqjFhQz1YiPFDWIIs6hAoGBALVp
aHxAHhEpkaIK0maoWfqXrFa2s2dUWTv9lEEiLlU9mtxY5GCzhibkbsD86dR1+sYm
E0AWC32eQ63m8ro7A+fGJZknNk/CwX5/y7EbsIWaYa53/mkCv9aJMYp3G9AAUdo/
yJcukZ0EeQcFfppup3FzAHD6VxlEqjSyX3UXDSf5AoGBAK6qSgDiXfE9R6AydZvc
eNgffi+gbVOAJdxPC6uz2NodE1P6AcZ3Ponp5hL1hyfSdvdSPCEgxSnDR9mdZajh
iapqcxDIFiRXTE6wPoaLRPMSGgBpo1VazF8rV86kjdSQd2LL9WmbLv+UjreNygOb
0hxh6Rb1dl/yStJbz0YlDvbM
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3CWqOqhR152ZhIYMq5Kjpf8HT/6ZclpM/NQI0Z5aj8Xr3iLj84OQdSsI9QEhU9dBy9uhutnijrcV4sAjj6p3wp/uEOG/MHWiV24/z+wHeXyMHkdWCR2ItmHKAGEh+HTpZmAAaI3T2uOdDWtw4TY0Nlw4XZUM+P683untDYhtHgiO7bi7ZLu+NQCq6XZXEBeVlD7a214F+gZhV96G6J1UUyc43OUKdpqtGCq2TH59PoA8eNAJmOPcx/pkQljyDe84MQG7g2cQ8nalLIroT8UFi0R44Ry+BnF4R57yknzPcEXvPwld6ZTW3BjqoI1iri+HXA0M7D+GO7mYexCVkmwuxwIDAQAB','signing',1795631251978,NULL);
INSERT INTO "dkim_keys" VALUES(5,5,'pr202611dmm0vw','-----BEGIN PRIVATE KEY-----
MIIEuwIBADANBgkqhkiG9w0BAQEFAASCBKUwggShAgEAAoIBAQCn5bofvuwFUDGp
TPzwJKJ03iNN/lUbzZMd49hIxyzT+XnhnqCr9D1M8kMAIEK6RwA54PXHy1+ikeDz
vm4qB75ehuZ8YTG+fpjCUfoyX5gEs145zCl917R7fPdpgksInam0LWnHvlMLf2UN
sJFDghAUM3J4peYcTSSv/qKZVHS54e3qOJbmrR8NlWmGA/LgPIPHyrphZw9UU8tg
Jj/tgp1tHJkH2Xb+vmTPFehV5JXeUNDtbr/uC5DZKspIYwuRlr+18URU8zcxOcZy
0o++RD3xbcqcNVLL94hQeFh55pZ10MdaMWchyJ1Or0tSLfluP86Q+ftDDjbEyq6H
N81uCKY7AgMBAAECgf8v4FIyuz6SRUvj+xAlakzpBm8Kznt2ciiBXXdPSXx+9aTL
sXAfmIXiazKv1oMwmw51crCjSFr9AJwk5SiE07B1RAJ1dUG6EF9/CeFOe/PdY0h7
MryiJeBRVlE2xPCghFTgDBMd4ifMH4exX6gMmAn9uK3ruWLkrxrHFNVI48xlNJC6
iDBDKkW1z4wydzxd0zPzJyi0gPJo9lRROsztvrrUBo6n8DrvD1wcusudUX68JKme
H4fErZWGPgZDJVJTdL2JcgQGheQRZMQTcK4WDqiVyMBXb5uf8P67yMOacEH0CIjl
ioVeGrmW3yB3xiObhv2gdhWXMFv5hmh49gPC/5ECgYEA5qA0AFC25/JViv47M2Rf
VHJYXvTuggRPnkRFMKo8VP78yKyWv4mdR2srqyNjD8ALvhk6IYDMMkIQ13pyh+JS
CCEUFESK2LAldvFkgWxLtFlHBZTDCGSjij5t2UzuO4kkMpko4ObyZW3yDXdSgm/L
B20FFCgT7B1+3IBX2qcX2QkCgYEAul63umAebCV6lNvmype0nNXzups+J+qi5f3d
I7+bpRrRT7g1FpcuHMlMwUAidGWs4pJTqVP3/zIC+444HFTeySP+UXs7Esm5txB8
8GtwqmkChXcCP6uJ7a0dyveoL3ftf/VeuyccB9sj74OIrcQCdfFGksJZJwLhRcLz
R+n2qiMCgYAJP3tWV+Y9vtX3UOKG2QuJk1w/0oqN5CZdLlen7+ujbOYuFd2lqJsJ
9h42KqEaTJUr9k8CcOu/SC7stRhKoqSvdsQbW/RFZCrcbimdlv4iKUJT0vdPKtnz
/TTidddHw+QTs1iUTC6EKrh+Gb7RRDJcBd8iQ8kourYPmYXsWq72IQKBgFgCCnj0
kuk2+Z/6CA57fUrirendDYkEAFDjhN4wyWs6MsWWk1tLoPbvCFPp2Vtl+DI2L1Oy
11WnZEkua8jVOy9408veiZLht9V+78EIu3d9hzdHb8RpWQTnzz3dnYps87aNRGLU
oSQEk/+y+YQ1H4Ran50GMdt+PKsY2JGJJnZJAoGBALk32lGvWy224FKwdZHhLnYi
WvJOUbXWPdS+DDntw2L+hQqYhUMYwVbJz4C07/6zsMRYSff6ZhXJE1ODzQVTTMql
Kvpr7ugACBgtP1MxtByqywG0PzY8KDyKjWk9g4kKuNIYR+IT5hgLQfPGxuSm+3XV
UGuco3hgte0iv1LP3JaZ
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAp+W6H77sBVAxqUz88CSidN4jTf5VG82THePYSMcs0/l54Z6gq/Q9TPJDACBCukcAOeD1x8tfopHg875uKge+XobmfGExvn6YwlH6Ml+YBLNeOcwpfde0e3z3aYJLCJ2ptC1px75TC39lDbCRQ4IQFDNyeKXmHE0kr/6imVR0ueHt6jiW5q0fDZVphgPy4DyDx8q6YWcPVFPLYCY/7YKdbRyZB9l2/r5kzxXoVeSV3lDQ7W6/7guQ2SrKSGMLkZa/tfFEVPM3MTnGctKPvkQ98W3KnDVSy/eIUHhYeeaWddDHWjFnIcidTq9LUi35bj/OkPn7Qw42xMquhzfNbgimOwIDAQAB','signing',1795631252105,NULL);
INSERT INTO "dkim_keys" VALUES(6,5,'pr202611n0jgap','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCVO1ZTFXoS9Ux5
wFsMOWbH6yaKokR9L7bKB2qfkprd8O2PrcPy/LkDQ0mPQw1Jm7PIlzfzhmKX38o6
zOoyteLsA7lWiyVPVlnGNNSke76iTfPrjJehA5rNJD0p2tIyabjSb6Ut9vfxFZ50
1ThOUlogCO12/l2FLI9zZeCGCeUNSAnMb9yJtMspWpImbiH4yW+WKxfeNW4ZEZo8
JreMeRM0d2annKXBE4rrTMh7YBHsOOXMZ7eCurXoUngFaFy+HotLyrDitNPyF07W
9UElRFGnbGRObWezW+dBWl/v9yfb9wChTLd2TuLggvo7OlbamMcUz4AoSysKVO4b
xRHEhyEZAgMBAAECggEAHZ0fEhE8vpbdhHqqxrf8YLdWGGQ/lZ0al6hVnRF1eI4H
QoAf1rAWkeJwLkUG1cDXcjqp8IJOPee7xKPl5MbJ336UsKsfrgkLeyUAPpzM1X4F
JczqSRpDRarHlW72T+lBc0cS/xZXmQiqf3JRgF9gwaMr5nVvPw568BI7NjYv9Uy0
5rkgliHHOb9HOSRRIFRF8KdnWXB+aSpzyhQglTYAlfbmqAAyEP8NB5LiRjaUfAQ0
ei0Tu4BfhK7hWW2vljFm09BQuHg1ICCwZDQEEVnEFqHAN1L/ki3nXjMz8JYkrLeG
0sL8mdhNbNSBCPCvvE4Z3FCLoD45Lp5JnDacpcMqxQKBgQDPzYNH/wVB2hcqBQ53
voUQrYjC9bOVby18UWSV9dfgWm66lpudYx0hy9kU1RV5hTdWxuBiitx+5aIgL2ay
/tt4JZXYuY0cmJCeB2plLlUkwSY/xLdyC7K4vE234TTb+qkmZtCH5wKMfhjqbXJa
ANLWdW+Yx7o+p4XSY9FDuaT53QKBgQC32B2pedLjKc3MWFJgrdX+yBbPEovWz2b+
fslNj7+SGFmSjXEOF2bSlFCVOvwneKeAu6v+7mhZd4R7FaZ3E7kP/FR/A7jJvjmh
hePqcKzrRhxG71O6E6PRGcNsSQrvtzwTodizNkmUy8a2t+wa46DhgHAFhKQCQ2m+
fQ6r/HLWbQKBgAbPkZH2hdGWuFOkPskl8W6OgYECVJR9RFxivo07tYug6ygqb4dF
DFtjNwY7xaxp9VpewlP4gSmXlSzA4PjU6ZSShsrHqhxZ08OaMp6GWjwOKJbGd8zB
HWZ4pYN1WiormQetLwCFTcwVBfQJCkpw5Hgq+TFkunH7Q6OVqfIyT3nxAoGBAJ9I
4jpKUMt9Fs/r3kPhmb2MAycafIp7XFM36pYG7AZajpEJd2CsKexdkIwbdQmF4isJ
b3YLfeG2SdSS543YSsls6JC72skAxdIKvXQMd+XI8wsKpNJd3dt3pPgXOSCE88pW
ufhcGtiOzfbV1/1cJ7H5pBVD3Q4Q9neSxrmAmsbpAoGBAJlR50NGEJkNUl2RDlEf
Ohcdn0tAzkuWkc7vSh2bBlAPKkteBON4n11l6XTw/YpqLyReT88CM475omuypjcH
osTtQx+4d3cR/lRzN8nzrAWvFY7NJjYG6b/Hw5WSwj73d3fKZUT6762ii+Ew3cRa
qDT3lUgUdo4AYMBXfJ+Sudg5
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlTtWUxV6EvVMecBbDDlmx+smiqJEfS+2ygdqn5Ka3fDtj63D8vy5A0NJj0MNSZuzyJc384Zil9/KOszqMrXi7AO5VoslT1ZZxjTUpHu+ok3z64yXoQOazSQ9KdrSMmm40m+lLfb38RWedNU4TlJaIAjtdv5dhSyPc2XghgnlDUgJzG/cibTLKVqSJm4h+MlvlisX3jVuGRGaPCa3jHkTNHdmp5ylwROK60zIe2AR7DjlzGe3grq16FJ4BWhcvh6LS8qw4rTT8hdO1vVBJURRp2xkTm1ns1vnQVpf7/cn2/cAoUy3dk7i4IL6OzpW2pjHFM+AKEsrClTuG8URxIchGQIDAQAB','next',1795631252133,1795631282133);
INSERT INTO "dkim_keys" VALUES(7,6,'pr2026115l8m7k','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCuA30HDKKiVypX
k7uZSer6KALi4sXwh1F4arnal7DpCAEaGajhFGdqz2r65zXDaRQcZmlVUBdj4CN7
dXFtt+TZ+Jvswc8vWVXuJJvQJ09kLMcXxbIsCEL8VqQGVBZKbYM6ICntqYxJcGfb
pJTbWoJbwWfkU0WvRFRXw8YjxAT2BzuojNcIZBCACBJ8mhfs6iu+/8cIs8pUiqeM
PpOyNuYFFfU2PC84RPVn+Ghxl08LahcF66e2yDhyp2kscpCr+dPuBkOshjnzMZST
yEwd0WPWcE1HmuCqlaE4+J3BnVcOk0kNVBLDMrDPpZxt4dnAVWpP9OQ+3NvUeJ1d
AV2lFhcjAgMBAAECggEACwEHeARRiIiQkecyts0uLHw5P9XCr0+EqbkTYFe1Wpck
qAeKtBO758zkC/0bsOwagc1Bc0v+8/7piitxbSnIMWHU97zYeDsNrGM+Qy8pMxbY
eZAJO1ruZCdVH11T54hTWGqjnCGGUI0+KW1CneMfA+Rlcyfc6+obQfg3Cxigjlo9
3zg7PIZ64ZHC01fo93w60HMaJxq3cLlvk6ahrUaUTo6EDqf7OjPbsTMsHpljCBRr
pEtgNTrOe9x+Ypkt4N5Y9T34FCSjx3GCrAzDA/mo/xFrOjmQ78UFzooPSdpclXKR
4uQU/LMr47+W5zy/NjFvk0/WEq8Ci1fWrx7r3/thMQKBgQDstAKOY0WIfd3Ebt8i
/1+V7rxxf8KJkZwGYsvkl2J3zo8EWcUXJQyZvzZ83JosdF9wo3TsvBOorwAUocMf
n8P6oCPn497MsY9df8NxAiZLbJ1y7Ax6QNynqb0xIMx1CjbD7ULBhKKsIK5fRF1z
eFz4Y3tsz3TzTaAE6VPoaaVhKQKBgQC8MyYqdDbNhLryymqIP4Uhf24vx7B2bxND
BHRvPT222O8sK+E+m9+EYiQTS1jTg8hDYheSZkS7f4WBcZJG2ucvDBo91qb6hZBg
c2htRlS9usenda11/+6JNFA17MugPhuegVvsfRXxWqOkmSi+o1oJfAFMSW6glTHK
kkIPEZsDawKBgQCSIoyVdep+2x5oYP7372wG9+51sCfdoP0P4Dz7Mw9C4k7fo8CP
inseDLRKIDQ7D9nAg9nzMiZ89RX6puf9hTiMagPg7YknHNRjKDb0dRxJYpROWDdX
3uWbyaqZQyOXeqfXDIszSHzaAg9Fl8KOQJg9bcXMpsQQVjNd9OOt0FOfCQKBgBOA
XVkS18buFQ0pimZ55oq1EK7ky1VKZz2PjZ0lRGrZCdeS6HE7Z6rpHIHfUeIBCtRo
qrah4EdpjGUAZr7u2fvXDjUQNBdLlc1YyB5ipk9OtneUyxeqIIaZJCKiWetN5EDF
eMgFoitzT/ezYzR16tOGxP+psEv1icZK54t2MJDnAoGBAOts7ly+yJ51Gx8+BUao
Sb6elJtRjXQFp7qxSvCro4yQniko4lZpsXGRq5DM0pNGXTPCe/f7fkW2XnPX8aX4
+lDowrmOgSFv4m7ve6qpG3xAcAt0YTCOUwvf4F1Nhxu77NM+rJPzdXJmzeKT4+mc
714/AFQyPG61Z79T5uD5uQuG
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArgN9BwyiolcqV5O7mUnq+igC4uLF8IdReGq52pew6QgBGhmo4RRnas9q+uc1w2kUHGZpVVAXY+Aje3Vxbbfk2fib7MHPL1lV7iSb0CdPZCzHF8WyLAhC/FakBlQWSm2DOiAp7amMSXBn26SU21qCW8Fn5FNFr0RUV8PGI8QE9gc7qIzXCGQQgAgSfJoX7Oorvv/HCLPKVIqnjD6TsjbmBRX1NjwvOET1Z/hocZdPC2oXBeuntsg4cqdpLHKQq/nT7gZDrIY58zGUk8hMHdFj1nBNR5rgqpWhOPidwZ1XDpNJDVQSwzKwz6WcbeHZwFVqT/TkPtzb1HidXQFdpRYXIwIDAQAB','signing',1795631253176,NULL);
INSERT INTO "dkim_keys" VALUES(8,7,'pr202611o6g90e','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC8AbzpYgccbJfc
RY6uZWYlYDNwVDbP5Byze8RReMFzbpslhfdF3DOVTrYyai3PbEmDlqKxRrGm30tD
BrekyhXLLPQCsKt8y7e16I8zjzxHvoi1hV9kkfQoXDM86pbdJlqo0Cq7ohnlcEwz
C6IiKfGXjphJ1HZ5gT/jldLRbnAhI+O8GPBxaFeMLvzh+alWrLhP9FODP4XxOWqW
cMi+inooYiJpwjGTv5yicVzP6ljqwtDJ/QEjpDdCfRT6vRT1wsa17DLP4sjZq0JY
zPfud85LdOE7BZj2tE9Ygb+5FBDHO4BO+EF1PAemxN3mA76geElRNnPgOaZ1L+Fb
uj0lvs/1AgMBAAECggEAAzKTb6b8/1+YgxOotjaujEyFVIMe9Yhn+cJvbQqjXcmY
fsjqeWtVLe3gniXj016aBEf1F2lgF6kb1hV/mNOJD0nOvUosZ2wx1oVuat9w8kEq
CZr6Z2Yun0GB65WcoEFEtP/YTOHtnKABfV5/UPAI0fdMQ5JCzKYJisVn3ausNr4v
F09mgebqA24L1HQP1nAEmJDkPhBZlAmqr5KIDtl/ehprbz77DjPIlYw0G4gQ0LLR
R8kxP9dG7ilKtHKadqSIIulx2UNDLsBpEryY8IQS5kOhiDmpAZP3k8e7cMZjbUyG
cV/LnTYp06/vSYOiHcb/STniEl0kkvB5yA4HgUf6xwKBgQDfoliLDYvYTN5WcpGS
RQiZ86SFxMAucYnoTEJQolP9ufscyJblKjDTmhD64dpQ86UXACNKn+9i/a20SyoO
HtMTOElXn6ghntshVI7v/Azk1C2YRwGehKPI1EVTRVt1xTcRE5So7LQ78LCQ2i9A
EpUaLMQrt4z4U5X2W9eIeo4lQwKBgQDXN2WAz/aD7iCsWmiooKE1mXQJTPb16AXa
PsFUanbrElXbWOFWDBKDTgf6Dnuu1IcUwsCORqVVOno3Ju7U6eSc35SMjf50FhMi
Rs7YO728XWz7jl9F+dRsRP1nkOfhE3fT0CloRR6HPAKD0cOo+ONz7nE7yLrEBegd
0aZvCZTGZwKBgEUIEhjqV46vO7qnpvPlx1/ua4y3TTOI7K7+S0IkuZSKwk8CREH9
IhFPb4piCUgPzZgp/LreX8DI2cPbp+Gv9ivqpgkcSYQHS1EgjvbZcQl5zZFB6egK
vZwSmku4DyFtfTASQUNbvc763yX3k7pNgiUQSIXOJP/KnXHsq71/Rz2NAoGAAIxk
ltJw1184+Bd24s8d+gv9DrUCgBfqQ+cbCQMIcIroaxmr4VNAjNMbFBkLWaOzAGuK
oBIwA6qVeyR/QU2jRn8PWthVyKfxvomdp1Fnp145k96GAaCkWO5IEwZ8gMdS69hA
8sISVNfjTcCwFfMkaTw3T6awSyWUtNa+7NOCbIsCgYAQCcerWu8sQxIUwuLXnLo4
7dhPm1YyiTQiVpuWMcmQBjEP9cr7Fb/NVqhzAZlpDzB3WYPgvDnT6I46ZEoYyMUO
NjrlmyhV20uHpWlMPke2cHwMi26UKuIb6KrIIA7EOrVJGHor890oKuWOYuyThhpM
4KuQfQSOYPVo7Xb/0M1Xcw==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvAG86WIHHGyX3EWOrmVmJWAzcFQ2z+Qcs3vEUXjBc26bJYX3RdwzlU62Mmotz2xJg5aisUaxpt9LQwa3pMoVyyz0ArCrfMu3teiPM488R76ItYVfZJH0KFwzPOqW3SZaqNAqu6IZ5XBMMwuiIinxl46YSdR2eYE/45XS0W5wISPjvBjwcWhXjC784fmpVqy4T/RTgz+F8TlqlnDIvop6KGIiacIxk7+conFcz+pY6sLQyf0BI6Q3Qn0U+r0U9cLGtewyz+LI2atCWMz37nfOS3ThOwWY9rRPWIG/uRQQxzuATvhBdTwHpsTd5gO+oHhJUTZz4DmmdS/hW7o9Jb7P9QIDAQAB','signing',1795631253532,NULL);
CREATE TABLE domain_checks (
  domain_id BIGINT PRIMARY KEY REFERENCES domains(id),
  due_at    BIGINT,            
  free_at   BIGINT NOT NULL,   
  failures  BIGINT NOT NULL    
);
INSERT INTO "domain_checks" VALUES(5,1795631282105,0,0);
INSERT INTO "domain_checks" VALUES(6,1795631283176,0,0);
CREATE TABLE domain_consents (
  parent_id  BIGINT NOT NULL REFERENCES domains(id),
  name       TEXT NOT NULL,   
  created_at BIGINT NOT NULL,
  PRIMARY KEY (parent_id, name)
);
INSERT INTO "domain_consents" VALUES(3,'shop.p1.test',1795631252134);
CREATE TABLE domain_names (
  name TEXT PRIMARY KEY
);
INSERT INTO "domain_names" VALUES('mail.postroom.test');
INSERT INTO "domain_names" VALUES('demo.test');
INSERT INTO "domain_names" VALUES('p1.test');
INSERT INTO "domain_names" VALUES('p2.test');
INSERT INTO "domain_names" VALUES('suspended.test');
CREATE TABLE domains (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT,                   
  name            TEXT NOT NULL,          
  status          TEXT NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
, token TEXT, activated_by TEXT, expires_at BIGINT, degraded_at BIGINT, degraded_reason TEXT, deleted_at BIGINT);
INSERT INTO "domains" VALUES(1,1,'operator','mail.postroom.test','active',1795631250539,1795631250539,'40b1ec2ee0418614300e333226cfa53a','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(2,2,NULL,'demo.test','active',1795631250539,1795631250539,'a7afe9dea634dc96bedbec85f1b02692','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(3,4,NULL,'p1.test','active',1795631251381,1795631251381,'ce1c479b212473217a1c1fd53c476a5a','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(4,6,'u 2','p2.test','active',1795631251978,1795631251978,'111eafb35ea7b8b5f941f92a38c5c822','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(5,4,'user_first','claim.example','pending',1795631252105,1795631252105,'b36b702a48135afd487e879c11608538',NULL,1796236052105,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(6,4,NULL,'pending.test','pending',1795631253176,1795631253176,'c17b4af8598f35a23e9fa3c09dba6355',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(7,4,NULL,'suspended.test','suspended',1795631253532,1795631253802,'633bf4d9089c392d23c42f9b6ad984e1','operator',NULL,NULL,NULL,NULL);
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
INSERT INTO "events" VALUES(1,1,'domain.created',NULL,1,'operator',NULL,NULL,NULL,'{"domain":"mail.postroom.test","status":"active"}',1795631250539);
INSERT INTO "events" VALUES(2,1,'account.created',1,1,'operator',NULL,NULL,NULL,'{"address":"postmaster@mail.postroom.test","status":"active"}',1795631250539);
INSERT INTO "events" VALUES(3,2,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":1,"prefix":"pr_b--tXPt","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795631250539);
INSERT INTO "events" VALUES(4,2,'domain.created',NULL,2,NULL,NULL,NULL,NULL,'{"domain":"demo.test","status":"active"}',1795631250539);
INSERT INTO "events" VALUES(5,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_4C2IPLH","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795631251092);
INSERT INTO "events" VALUES(6,4,'domain.created',NULL,3,NULL,NULL,NULL,NULL,'{"domain":"p1.test","status":"active"}',1795631251381);
INSERT INTO "events" VALUES(7,6,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":3,"prefix":"pr_339fDso","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795631251665);
INSERT INTO "events" VALUES(8,6,'domain.created',NULL,4,'u 2',NULL,NULL,NULL,'{"domain":"p2.test","status":"active"}',1795631251978);
INSERT INTO "events" VALUES(9,4,'account.created',2,3,'user_first',2,'ae44cb1bd3236b8111cac8ae','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795631252051);
INSERT INTO "events" VALUES(10,4,'account.created',3,3,'user_second',2,'a0f2c26e3992474efb68b9e8','127.0.0.1','{"address":"second@p1.test","status":"active"}',1795631252054);
INSERT INTO "events" VALUES(11,4,'account.created',4,3,'user_third',2,'763d9a92b46f01cb33f1250e','127.0.0.1','{"address":"third@p1.test","status":"active"}',1795631252055);
INSERT INTO "events" VALUES(12,4,'account.created',5,3,'user_fourth',2,'6f0fa0c8f6cab12f93917bc9','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795631252056);
INSERT INTO "events" VALUES(13,4,'account.created',6,3,'user_fifth',2,'59d65ebd6792e73b91f15356','127.0.0.1','{"address":"fifth@p1.test","status":"active"}',1795631252057);
INSERT INTO "events" VALUES(14,6,'account.created',7,4,'u 2',3,'6dbb395b2eba6b0faf48710e','127.0.0.1','{"address":"sixth@p2.test","status":"active"}',1795631252058);
INSERT INTO "events" VALUES(15,4,'account.password_reset',2,3,'user_first',2,'9eb9bf56e955ca81e885a544','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795631252060);
INSERT INTO "events" VALUES(16,4,'account.suspended',3,3,'user_second',2,'59c1edffee76472052b0f7c0','127.0.0.1','{"address":"second@p1.test","status":"suspended"}',1795631252061);
INSERT INTO "events" VALUES(17,4,'account.disabled',4,3,'user_third',2,'ee037927356984912c76cc66','127.0.0.1','{"address":"third@p1.test","status":"disabled"}',1795631252062);
INSERT INTO "events" VALUES(18,4,'account.deleted',5,3,'user_fourth',2,'91752c612b3b825576f39c8c','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795631252063);
INSERT INTO "events" VALUES(19,4,'domain.created',NULL,5,'user_first',2,'787409e14d1e7dca1deebf77','127.0.0.1','{"domain":"claim.example","status":"pending"}',1795631252105);
INSERT INTO "events" VALUES(20,4,'domain.dkim_rotated',NULL,5,'user_first',2,'fb283dc6829b768ad9849aff','127.0.0.1','{"domain":"claim.example","selector":"pr202611n0jgap"}',1795631252133);
INSERT INTO "events" VALUES(21,4,'domain.consented',NULL,3,NULL,2,'ec29ea6a5f1fd895b1290f08','127.0.0.1','{"domain":"p1.test","subdomain":"shop.p1.test"}',1795631252134);
INSERT INTO "events" VALUES(22,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":4,"prefix":"pr_NVFY1hS","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"],"domains":["p1.test"],"networks":["192.0.2.0/24"]}',1795631252372);
INSERT INTO "events" VALUES(23,4,'key.revoked',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_4C2IPLH"}',1795631252616);
INSERT INTO "events" VALUES(24,4,'limits.changed',NULL,NULL,'user_first',NULL,NULL,NULL,'{"domains":null,"accounts":100,"accounts_per_domain":null}',1795631252845);
INSERT INTO "events" VALUES(25,4,'domain.created',NULL,6,NULL,NULL,NULL,NULL,'{"domain":"pending.test","status":"pending"}',1795631253176);
INSERT INTO "events" VALUES(26,4,'domain.created',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","status":"active"}',1795631253532);
INSERT INTO "events" VALUES(27,4,'domain.suspended',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","from":"active","to":"suspended"}',1795631253802);
CREATE TABLE idempotent_answers (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  name            TEXT NOT NULL,     
  request         TEXT NOT NULL,     
  answer          TEXT NOT NULL,     
  expires_at      BIGINT NOT NULL,
  UNIQUE (key_id, name)
);
CREATE TABLE leases (
  kind     TEXT NOT NULL,
  item     BIGINT NOT NULL,    
  free_at  BIGINT NOT NULL,    
  failures BIGINT NOT NULL,    
  PRIMARY KEY (kind, item)
);
CREATE TABLE limits (
  organization_id     BIGINT NOT NULL REFERENCES organizations(id),
  user_id             TEXT NOT NULL,   
  domains             BIGINT,
  accounts            BIGINT,
  accounts_per_domain BIGINT,
  PRIMARY KEY (organization_id, user_id)
);
INSERT INTO "limits" VALUES(4,'user_first',NULL,100,NULL);
CREATE TABLE mail_host (
  id   BIGINT PRIMARY KEY CHECK (id = 1),
  name TEXT NOT NULL
);
INSERT INTO "mail_host" VALUES(1,'mail.postroom.test');
CREATE TABLE node_authority (
  id          BIGINT PRIMARY KEY CHECK (id = 1),
  certificate TEXT NOT NULL,
  private_key TEXT NOT NULL
);
CREATE TABLE node_loads (
  node_id  BIGINT NOT NULL REFERENCES nodes(id),
  shard    BIGINT NOT NULL,
  accounts BIGINT NOT NULL,
  PRIMARY KEY (node_id, shard)
);
CREATE TABLE nodes (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  address    TEXT NOT NULL,             
  port       BIGINT NOT NULL,           
  founder    BIGINT NOT NULL,           
  draining   BIGINT NOT NULL DEFAULT 0, 
  created_at BIGINT NOT NULL,
  
  folder     TEXT,                      
  imaps_port BIGINT,
  pop3s_port BIGINT,
  sieve_port BIGINT,
  seen_at    BIGINT
);
CREATE TABLE organizations (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);
INSERT INTO "organizations" VALUES(1,'operator',1795631250539);
INSERT INTO "organizations" VALUES(2,'demo',1795631250539);
INSERT INTO "organizations" VALUES(4,'platform 1',1795631251092);
INSERT INTO "organizations" VALUES(6,'platform 2',1795631251665);
CREATE TABLE schema_migrations (
  name       TEXT PRIMARY KEY,
  checksum   TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);
INSERT INTO "schema_migrations" VALUES('0001_start.sql','d4e9753357ca37cda2bc7c2aa4a992d6f1ba2a8841de8d585043786c718125e7',1795631250528);
INSERT INTO "schema_migrations" VALUES('0002_keys.sql','31c30996ac65af16edac359574f5b37cad674f93ec4c7f472a67022359dbe11a',1795631250528);
INSERT INTO "schema_migrations" VALUES('0003_limits.sql','79f21bd0dac65b24d1ef91daacf8d94c9ae00a902c870b4248d8764db0fbde8d',1795631250528);
INSERT INTO "schema_migrations" VALUES('0004_claims.sql','ca6b5ade06ec28a325a0efa7478657b2cdf9fe0e5ae78f25801e03c35e37499d',1795631250528);
INSERT INTO "schema_migrations" VALUES('0005_checks.sql','72a2b0e0f12f5bd28c06e24418fae44c97ed00cfebe6a3fca52c7c3b0d8e5e65',1795631250528);
INSERT INTO "schema_migrations" VALUES('0006_dkim.sql','129ea1b819dadd470088ade423f55ac7a7ce63da965b02a4ac16a678e1927aae',1795631250528);
INSERT INTO "schema_migrations" VALUES('0007_idempotency.sql','7c128d08a32c91e422f4f2d0df707420d2a434c9693e36d612374ba450e2f91c',1795631250528);
INSERT INTO "schema_migrations" VALUES('0008_purge.sql','70f79e0a9228af0a5de603a96be6e9ded3a9c88818ebda87690e8556ab48a8b9',1795631250528);
INSERT INTO "schema_migrations" VALUES('0010_console_sessions.sql','6e3849578e4d6392c33a09ddb976541c873388dfea23d3c7ee1c0356013244bb',1795631250528);
INSERT INTO "schema_migrations" VALUES('0012_leases.sql','8eda021a71b804308e8166d11ee8759fe6bec17a7fd658f055a29dc903b213e8',1795631250528);
INSERT INTO "schema_migrations" VALUES('0014_key_families.sql','7cc463395d45b10e1f5b7939d7ec79562cafce08ab2842b3dc3c27e97cb98512',1795631250528);
INSERT INTO "schema_migrations" VALUES('0015_nodes.sql','143f90d72e5fd0a931e237b7ab327a5ffa415dd8ae258ad1e390eece41850fcb',1795631250528);
INSERT INTO "schema_migrations" VALUES('0016_last_logins.sql','1a0c29c63933392e6890846a7c63e3a3e588c80b460f136da5215bfbdfb64eab',1795631250528);
INSERT INTO "schema_migrations" VALUES('mail_views.sql','45ebe12cedd6e550fc0fdf45f4644b33b7ca9ed50a27eb382d5b9c14c8e0e505',1795631250528);
CREATE TABLE session_endings (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  due_at     BIGINT NOT NULL
, late BIGINT NOT NULL DEFAULT 0);
INSERT INTO "session_endings" VALUES(1,2,1,1795631255060,0);
INSERT INTO "session_endings" VALUES(2,3,1,1795631255061,0);
INSERT INTO "session_endings" VALUES(3,4,1,1795631255062,0);
INSERT INTO "session_endings" VALUES(4,5,1,1795631255063,0);
CREATE INDEX api_keys_organization ON api_keys (organization_id, id);
CREATE UNIQUE INDEX domains_owner ON domains (name) WHERE status <> 'pending';
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
CREATE UNIQUE INDEX domains_claim ON domains (organization_id, name, COALESCE(user_id, '')) WHERE deleted_at IS NULL;
CREATE INDEX domains_user ON domains (organization_id, user_id, id) WHERE deleted_at IS NULL;
CREATE INDEX domains_expiry ON domains (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX domain_checks_due ON domain_checks (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX dkim_keys_state ON dkim_keys (domain_id, state) WHERE state <> 'retiring';
CREATE INDEX dkim_keys_domain ON dkim_keys (domain_id, id);
CREATE INDEX dkim_keys_due ON dkim_keys (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX idempotent_answers_expiry ON idempotent_answers (expires_at);
CREATE INDEX accounts_purge ON accounts (purge_at, id) WHERE purge_at IS NOT NULL;
CREATE INDEX accounts_deleted ON accounts (organization_id, id) WHERE purge_at IS NOT NULL;
CREATE INDEX session_endings_account ON session_endings (account_id, generation);
CREATE INDEX console_sessions_expiry ON console_sessions (expires_at);
CREATE INDEX console_sessions_key ON console_sessions (key_id);
CREATE INDEX console_links_expiry ON console_links (expires_at);
CREATE INDEX console_links_key ON console_links (key_id);
CREATE INDEX leases_free ON leases (free_at);
CREATE INDEX domains_pending ON domains (organization_id, user_id) WHERE status = 'pending' AND deleted_at IS NULL;
CREATE INDEX account_homes_node ON account_homes (node_id, account_id);
CREATE INDEX account_moves_source ON account_moves (source);
CREATE INDEX account_moves_target ON account_moves (target);
CREATE VIEW mail_domains AS
SELECT name FROM domains WHERE status <> 'pending';
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
CREATE VIEW mail_sessions AS
SELECT accounts.id, accounts.generation || '.acct.internal' AS domain
FROM accounts
JOIN domains ON domains.id = accounts.domain_id
WHERE accounts.status = 'active' AND accounts.deleted_at IS NULL AND domains.status <> 'pending';
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
CREATE VIEW mail_signing_keys AS
SELECT domains.name AS domain, dkim_keys.selector, dkim_keys.private_key
FROM domains
JOIN dkim_keys ON dkim_keys.domain_id = domains.id
WHERE domains.status <> 'pending' AND dkim_keys.state = 'signing';
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
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('dkim_keys',8);
INSERT INTO "sqlite_sequence" VALUES('organizations',10);
INSERT INTO "sqlite_sequence" VALUES('domains',7);
INSERT INTO "sqlite_sequence" VALUES('events',27);
INSERT INTO "sqlite_sequence" VALUES('accounts',7);
INSERT INTO "sqlite_sequence" VALUES('api_keys',4);
INSERT INTO "sqlite_sequence" VALUES('console_links',1);
INSERT INTO "sqlite_sequence" VALUES('session_endings',4);
COMMIT;
