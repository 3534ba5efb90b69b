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
, purge_at BIGINT, purged_at BIGINT);
INSERT INTO "accounts" VALUES(1,1,1,'operator','postmaster@mail.postroom.test','Postmaster','active',1,'{SSHA512}ybegOeTRJCdj+j8/1jHqZHbSlyhutXJNN46tLYivUB43Xwmkc4Yd13pH+kDbroHpmPVvzmlEwxASFNO/eLk3+q3uvn6tZUE2+l+dVg3fBKM=',1,1795488564756,1795488564756,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(2,4,3,'user_first','first@p1.test',NULL,'active',1,'{SSHA512}UZ+vFkECJr8JvPri5v8G1ZkTs4TsCJSiOd2QH61WBJN2OTG7gX/bZyaTPfSuARNuUJb40DYIcSsuSjDJTANc70fZwVPoI7mHSVTYl74fuoM=',2,1795488566938,1795488566960,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(3,4,3,'user_second','second@p1.test',NULL,'suspended',1,'{SSHA512}cdsM1sqdqLcArQdu4tMLrLGk4VevlGjkv5g5fXf2SMt3Q/VQsJZu4vtexuKubdQp5zVcuwm1Xd5I1dVcxUqf8Jt8ZQOmYygUcXQZxE1xRoI=',2,1795488566943,1795488566963,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(4,4,3,'user_third','third@p1.test',NULL,'disabled',1,'{SSHA512}USVseG3AS9thdRC5QnTN3S1XBD+fP0N9X7toZJSB7mK9nkbbrqFYqA5HpQF20+J1ssxjg1Qe83n1s4efaezWVFqqXk1eHbzIcvWY/FTxiTI=',2,1795488566947,1795488566965,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(5,4,3,'user_fourth','fourth@p1.test',NULL,'active',0,'{SSHA512}mbBxCfRzrGe1EK9YgwqvcQdoXkdC134fckCZxWlndxXMuhT66hbKA0tSEqPj31AhgigNAuiJxJ9mPBZvsbbDgw5k8BXSc0/KZi0vFW+66zU=',2,1795488566950,1795488566967,1795488566967,1796093366967,NULL);
INSERT INTO "accounts" VALUES(6,4,3,'user_fifth','fifth@p1.test',NULL,'active',1,'{SSHA512}GMBGniq4oi88tlSi/XyW2boX+MsGbcsu3ogiwQBFXcodPr/hJj6IKD3UKuRjX9KDNzVO2N5pXs89csZlO4EhGb5W9Bdj4sOfXKHRV8xex3w=',1,1795488566953,1795488566953,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(7,6,4,'u 2','sixth@p2.test','Zoë ''x''; -- 雪','active',1,'{SSHA512}2n5bTVyT8bg28qa7ekEHZXlNtf6iyejMxW2EfCwoZzK5abgT3EO489O/4h5kcVVQ3xM3D00UeJOJHonLAMkKXbjsR2k+vW8GbEwVaLClZJY=',1,1795488566958,1795488566958,NULL,NULL,NULL);
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
INSERT INTO "addresses" VALUES(3,'fourth',NULL,'user_fourth',1798080566967);
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
INSERT INTO "api_keys" VALUES(1,2,'pr_EgO4pvc','8c14029722bc9298cb496ea67d9eff892babdc68a2de54ace7861e950cc9fe27',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795488564756,NULL,NULL,NULL,NULL,0,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,4,'pr_dKlgzds','ab64b46c637d237f4207a0b55b20577b7c3ae574cb0408336529cc83bd975424',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795488565989,NULL,1795488567794,NULL,NULL,0,NULL,1795488566939);
INSERT INTO "api_keys" VALUES(3,6,'pr_wQJrnSd','8da4943de1bb347d8bc2cec18e343d9081715598757e977a541c4103b0d6fc13',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795488566825,NULL,NULL,NULL,NULL,0,NULL,1795488566958);
INSERT INTO "api_keys" VALUES(4,4,'pr_UqzNpPR','d6329e1f54ba4e6286d977f25714b3125ac857f3d052c45edc100334e5c48169',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795488567430,NULL,NULL,'narrow',NULL,1,'192.0.2.0/24',NULL);
CREATE TABLE console_links (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  expires_at      BIGINT NOT NULL
);
INSERT INTO "console_links" VALUES(1,2,1,'a69b07f49d4ae45addeceaf724be03fe2f93348a50c8bd63be274828775af3ed',1795489464756);
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
INSERT INTO "dkim_keys" VALUES(1,1,'pr202611wt4b71','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC6Pu5eJ304TzO+
fbXEXoXFiJwSAwsoQRIkQacVv0bt+yOVzwh9TCKHhPGQb4n+PCM7QuIxqVjJV5vW
l9MMsZfNAhLoL+aiB4p0Hlu7O5idY48RRcvnuglk4/bUyN9e+rnluoIimRjGAedn
k5gHO8A5sb1fO11PtgygVq0w8iFgdivBT889d934MjYGoSwdCi/rV7ikMqTf0/jJ
g45OS1CYjHUSbIRTDHYojgjOoxrEuZGZTrVQyZIYbOZUtRsPFGTrflrmVK+1Vlqc
6q6qohkYGH/Et9XM8j5L4mPLcffew389lvRjgrQhMQRh8CVdsmlIBgsDR6wVl8zo
FaBVGqEVAgMBAAECggEABLBk6/XujyZfVSJxGxqOH6UK2OE+vKq2vDby7/c63+78
vF7UBeOO0v6j3lEQllgJQwqyCzIKTDdqcwKri5xFCCJPO41JLzclYzsIcDRV6VCC
X5r0QUdLyUB8DGtqREfnukLx19Em8IVHwDHVGAmHE2zIKcei18jrlHXaMmtGL9l+
wtnbfexRcwWYagscgZdpp7tMKUVb9pL5ckocluzmQPpd9IZsHNM/7UDoZxbDWMd5
VN/bgyprZTyK5G+f78xaRhoyolvgRbKF45Fe1Ssn5wXVdP8kNsYkvmTCYncIYndS
1B/GRayIz6AoJGKehiXiyYAKi4sxoABBp3yBMd/RGQKBgQDueGpXM04fhwvgf1cz
uqBFIxKu30yNfwUbIibT3GRGGGFoki4KSuDsPdI8ePTQwFWjtjAI5qjps6h1cZjS
EyAwOg+cjh/taO3mc8EsxycLejR8B/BHDbPF/cetkqqq+omi/OdC15mwjUf7uiBY
QSi7dojSDWqidAFjgtMi7sOprwKBgQDH775RSS8dzrL9Je1qKBbfbxCdEytoYKmg
U/WSQUOjf8Lz2T4RRChRrIsiSgTLy3pA/o1kQ/iKqGxLf7u5F9YYYord6Lpm00Q2
ZXnQT8c4uJ4fOb0hOSM89DGNsUQ4fUAtBGTZWdOHHxYQVDjaVeFZgtqd34/msR7/
n0MBOEIGewKBgFFl5NZy+r2kOReeH8PWdhJjUGNEcTrzGmkSlTJHzipm9AjfrLty
p6e7ymE94ELJA/Jno6nGIe3zlxLPfZxnTttnViDYGmnNITdCV7PTHq66PeQASbHX
KX/xihDjOUI3Vne936pfMWSkNOfltliplR+37CfW0Ik3E6pF44/O9BadAoGAXaq8
n7pIf49pnV1aZ6RWauDOiLgFWwYGEd2jq5w1wvBE9hatlEs5FGJgYHUK4Cr4oGBg
/zs0wkj7SzeRS7qWC6CG7EVupmONjmpl8iid7b3YHkrfhyQMlS7V1Era6hgLq8tm
L8l8Zs4yeP3sEKWxSE0cfF/TO8F5A0qqinS/wecCgYA22lSREUJk0EFxo4xaexMa
0xQ6t9JZ22CQeANqbJkHJeagmVjE6qF8g9lWBhyOUvg1WYj0QC1dsuIVt40uRGf3
UFUUchU+V57qjCIac5Jyf+3GbknRphxo6EXVBT8RflIKxYjb3Cv2c6KdUrc3cfDn
JuZJbd7lsgISFRBVu1z9iw==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuj7uXid9OE8zvn21xF6FxYicEgMLKEESJEGnFb9G7fsjlc8IfUwih4TxkG+J/jwjO0LiMalYyVeb1pfTDLGXzQIS6C/mogeKdB5buzuYnWOPEUXL57oJZOP21MjfXvq55bqCIpkYxgHnZ5OYBzvAObG9XztdT7YMoFatMPIhYHYrwU/PPXfd+DI2BqEsHQov61e4pDKk39P4yYOOTktQmIx1EmyEUwx2KI4IzqMaxLmRmU61UMmSGGzmVLUbDxRk635a5lSvtVZanOquqqIZGBh/xLfVzPI+S+Jjy3H33sN/PZb0Y4K0ITEEYfAlXbJpSAYLA0esFZfM6BWgVRqhFQIDAQAB','signing',1795488565130,NULL);
INSERT INTO "dkim_keys" VALUES(2,2,'pr202611t04jkt','-----BEGIN PRIVATE KEY-----
MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQDalmy+A181kn8e
0V5Kszttcg2A9VX6UQ+AOjL2fAnIq76j99mgMgkOifmAUAflVvirICwn2iaWW/bI
u0pETPZShWyaUeqy0w1glsKnqcnsIvBfnOj/1lKVax9MyaV0Klz4ZaLmYDe0P9an
3OBEt2JPGFKKiE7i31YSVw4qXtcpJShqoxpyGJG7Uok3S6kMTCk0K8ti1Aohkek6
1NVb+iK0PZKHZMhQDCLNUK5em6ZiqNV7C0I00a1CaJ38nXwdkxk39DMPrIXd+JUA
SPEs4WpTZqq1eaczl1kuLjFFVtxtF99QupU4RkE3cTxeey9KUc/QpffneXLgqg/n
Q5ExCw2XAgMBAAECggEANTeFLvecMOtDJqobdj1PnRQ05G4WahRdHT9OFANb0G67
wajAY4d6+/6sb0hMu9GiRetVxLgQR/AI05MBgEJqf+m66JFD/hhy+86IgpBMOEDD
W8vUUCEKRxVm7+dx8Ce2LcV01Pic5zXZmVGliiVJem81/UM1TXfJOTrXmIoxgPL3
I/YCN80nxJzCHHzVGqOOY+lT5QT6tJ6B29KE86dFziQcP1o/kgAr6xObDvB7zM1W
MUQeyHLTMImXRpB286Dadncf7X36AwW9dnyWLfiTglbfJ7gEsu/dAmPIQjvcPPIg
6URdWpru50C/8daPJoh72WsRa8tPjNUfZDzPktQi3QKBgQD4Qxn9OSvVhqO3GbHd
21zHuhHgZG2K9ssf7w2cjnA/Gup7XgEpBQcaJe+SYx2KT68eQzXaYk/Ly5uNHRno
jqfy2wjTE6KjQyB0mpfjWIjX+4y0rKYCEDhOnABtnonJCkYvjP8BLLYBIQNjNMVm
D5TEdAVgkPYGF7pNM/qTj942FQKBgQDhZoxokBz/DSogzXNjsh2lHRQ7tWxlxl+1
PjLJ5lDiF5TBQFdPKYXLEAOTM4UPqLWvw4NaQWXljLSZ0cq9+ILoDnvf4eMtbdGp
Kn6CwwOA3Sj7HoIdmheq6rt9+DGMMGi1emeEwU/3qMDsl3Bw/ZUMCYqi/RGjkzNJ
7Toe0tyr+wKBgQDxHSqGlxoNfYBPenMXB8+qYvqttpv1VQ+eaiwMGwLFJz0IqBn0
Xt+w85sjz4OHKzDm8VvCR608PvlKKjNZfAN9iGGfrvhMHAvPc72Enh35tmPHrc5l
Pp+RKU35KPqk+IeF8yhPWb9ChW+m0D/Pid5wlkYKrX9kF3NnO85ntliYqQKBgQCU
NK2WA0xNmAZfUzfQEcnUS26GZCBGO02rCp6yirIcN40kFH5UGuVSQ9FV9MZFKZVt
YIz5x46MhRwrF/rLNqA8nWluKEUMFe2J4dsVd8zR6pmLpN/BPxTY2Uc26P8LQrlW
uolejQ1btqZD6r+QS+y44X069lOmzp8muMlCgzt+CQKBgQDQsF3hlJU6YSiFjyyB
XxgFestufeIh62oZEHzijbzScK1+xYz2YUrFywlb8s+v71lkpOrbQ9D2M/8JL871
W5UFWbmse5e7kP4AsgD8Ac+WSnxIfCIKILv3q+qnp1VfnlvuGOY1pAaLjFCwpCLy
9UCAnprpA6NpP1RHKmpzXS/XDw==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2pZsvgNfNZJ/HtFeSrM7bXINgPVV+lEPgDoy9nwJyKu+o/fZoDIJDon5gFAH5Vb4qyAsJ9omllv2yLtKREz2UoVsmlHqstMNYJbCp6nJ7CLwX5zo/9ZSlWsfTMmldCpc+GWi5mA3tD/Wp9zgRLdiTxhSiohO4t9WElcOKl7XKSUoaqMachiRu1KJN0upDEwpNCvLYtQKIZHpOtTVW/oitD2Sh2TIUAwizVCuXpumYqjVewtCNNGtQmid/J18HZMZN/QzD6yF3fiVAEjxLOFqU2aqtXmnM5dZLi4xRVbcbRffULqVOEZBN3E8XnsvSlHP0KX353ly4KoP50ORMQsNlwIDAQAB','signing',1795488565148,NULL);
INSERT INTO "dkim_keys" VALUES(3,3,'pr202611x1ye8r','-----BEGIN PRIVATE KEY-----
MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQCtTDysZ9xUU0pN
bLauPhaxUGeTGZRjMIVCjLckQ7CotBasdAMybrN4kqsQ+ZLjcXKZvG867kbo19Bm
T4zzhqphPzsC100H1ZBS8dtriBshmb9fOZaB3+9OlWwP1Sz5bs8RQhaoRZ6U4OIy
LWquxCI8K3j2ikqsb8D2bHqzjD/MhkALTqeCSduYcADbkUEM+m4OjV1UWFp1eZb3
IILyD/3UywAkGl/pKMc6L/FoozMhndvpnfG2iw77q4e8gla7ZcYCbH97/RWzY7LD
zVyuvSC/YPK8Zc3CT0uHamkimhuqzw1hzbrcJGjHXW4XJ2Av6NY4a421yTeIseqw
746tRRxjAgMBAAECggEAEH34j89W758SxQyE1BwF8wjvJz4gQFJK4Rr2h0wT1CV5
u1HtFFyzPFT4IUztcDMiacQKvj9H3nsPX6hpbKsseSwlAW+1t0c/pwBSVkjx80Ao
Lx4SMNKIk5Ny+ozAhqct3vtJoBwqa9bjX+Z9+4GgRz0IRxPBG7W+iOHcL+ZRRs7f
ansE4Eop/804Fb4T5shzNL6XsqH6FsMycuS2xZlUWxmUTlK8ugYMd8K94GvjnCqn
LzXhXW0ctQJ5RDqbJDnRDE4ie2+EvqZcxr4NsXry26l4IQGGm5D+b/NR3xUGxHpJ
bV/W6FpRL+CGK1nSq0C18xM4Awk13TFW+Qb7UqadJQKBgQDW9SdeY6RWQ74HmaS3
3aUTOXIgxHP8YYb4ZfO1M6C6MuSF5HOID6VqRAVxMt/8YyRnbkfEZaOjSGekCsWi
H0RJ6V4ODgDF+mO1UlAXXOwf08w3Ws+MlPJh1sdx5U4oabV2TjBwWh+3eeWSpdFw
7b9zDK1z3Ih9Z2fvba8nWwpcTwKBgQDOYs40h9mZuVKqUs7HoTz3ON94yKW/LL+R
6sajLscOKAyzCSUaUjsEB+bQeyw8rl2JmfmOwlCraTgMcuN5hdcluUv2oRu/11hR
64J/ouvx08G6HBsnI059Nz+x7uHm0j+yc6nbIToGsvl9sMS+6lk/OSyUvPvINGAP
wy+LP1nVrQKBgQCSRo88vweUoFKPL3GUoSJ1G5FbVPQsmV1UaWRXOUO1kW5K4rPv
sd35m0Isztb3E6wxKi1yK0wYj+vfCGmGskoxFbooTEUgdAwn1lSkIVqZKfJ89LHp
023BQHvGOKlf/Nc8I2b4/Ys5upyLl4UXmOG/86+Q+VB0Lcrfdj9Lw7sgJwKBgQCv
TcffYOEZLQwldo8DjFaPm7ReEPiQiT7zf5tX8pzLzoLy9Dqav+w3AUsyHN23cVgs
UChk9XK2FnqwQEot59yWw2zdwX0jl5QCiWvgZI/LalXscoEx3lCGFY654bHqcP3/
4zUM141FMXKwK50CmWZTSIowkNHA/ZP275EL0zTIRQKBgQDWh/8xu58AN1adJTtt
xEYMvTu543T7iFUj05k5H6XKMC+SkEtQGALOdwAsm96A854PvZO7Ru6jO0b26z5Y
HSkfG6NaLnbZRwM58OYx2852mEnbRdbj7oLn8DKvGUHnyLrB9aGtRrtKzDlulTda
qdEDP7mSr3rRjCRiEvzvYmvK1Q==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArUw8rGfcVFNKTWy2rj4WsVBnkxmUYzCFQoy3JEOwqLQWrHQDMm6zeJKrEPmS43FymbxvOu5G6NfQZk+M84aqYT87AtdNB9WQUvHba4gbIZm/XzmWgd/vTpVsD9Us+W7PEUIWqEWelODiMi1qrsQiPCt49opKrG/A9mx6s4w/zIZAC06ngknbmHAA25FBDPpuDo1dVFhadXmW9yCC8g/91MsAJBpf6SjHOi/xaKMzIZ3b6Z3xtosO+6uHvIJWu2XGAmx/e/0Vs2Oyw81crr0gv2DyvGXNwk9Lh2ppIpobqs8NYc263CRox11uFydgL+jWOGuNtck3iLHqsO+OrUUcYwIDAQAB','signing',1795488565613,NULL);
INSERT INTO "dkim_keys" VALUES(4,4,'pr202611wk245a','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDHfkx797LmFVEW
nja9vwKOfJRcdIZWJa8dNTnUlBYAbartYUIkUFl13tA1XYp57MYwBi7S0GNuFF1I
IzoZFx7RpJePEk5GPBWWgJ5EBrv9ThmCMk1fRBGA4XCAzP6fTd9dh1W0A7nuEETT
YW0txFfxsrkOd3f6PQ3mQtDW0VHmWmY9HeNwtEJyUkXQJrFoHQhC+rluLMPpv0Me
zxCWYiyvuHgdNY0BHW+7kJhUmUZGW6kMwcKojdDQhrK8I6R1hCWvTdZpaPdBvGVi
GtK/lfog4CvdQ33zFxWM5AgBT52LWZCRZe+jRhGVe9WC9YOMbP/orfs9mPnZDfRI
Qc9Ng5r5AgMBAAECggEAAV5+onF26cc+WcTQh1VnoRKBx0YhoXrBSc8Smn0EzxuP
sNKymWhKaOMM5NmSgvlDZQBdJ9+OwUDtylDKSEU9xwJKTbJ2kXGB22vvlWxgWYeP
/xuXLrsXjZoTMKk5YwRbFKFY/AmZ3MKJNL2IPfOJNK717UNFFDdE2P1uIyqUr8xj
TvhtxzZw6uwfXTGRYzaT0QYAKNOirwxd9syjbHCZx+zHgwcX0DE4FeWiaqgIFcIh
vrsQUeZeppcKyszE6kGjO6JeiadeTQnRMHdj0iG9O/BoRGOoUE04ZItmOt2oSBCR
X2muxQ587UA7eXxV+ExIvhsro/cGwzapqA00FMADRQKBgQDnJKA1qTPX/8pZtNhN
EqM1HqsVcN8V8bxgJjw1f7YXoSXr9MvXBiarlUJlBfISddyS/EJvKrFOzji2uQOF
Brkr5963czwnwaH3bl4IunM0xq933xEtoEn8q2jS+9fk2mkIv2NpUqu5r2XNJ0m1
2BdN7uVOLjy0Vk1Z6hS3XPD/9QKBgQDc8lsE21btIeU+v8AyMAOyeXbEZ57DZobG
nmcWTfFnR1q/F02nFigiUpvdLj1zbgHmm9n4hVQQGQ/esITz0XrjXBq+juhk1aMg
Tv5bL/cL4LwVAnMZoZpsNIoCH1Y9pk2d4vg7/GdLjQEjWEWfDpQ6+SfHeW6W+5nM
PZh/qeAgdQKBgQDIAQUv6Y0WphrtrHJNnobie/sFvnkKf/XELNGEaVGi+KnbliKb
mJL1fV3KFG72Uk3eUbEaiBKMYhzo3waQoNSxjR1GF8xBimcftrxfSRZO4G0MiFRQ
6pWasKcviQOy3tpr20+l3wcA0SiBcDFzy9u+b6yzDYcxdEvSNZ5fW2id0QKBgDvi
iF75oEbnj/4A9PPlZasjFtjHCRYHHPKKjoBSIeMPSP5QL6Dg9YHQCCTb2pYFtAgw
J9UfNhii4lVGXNLE7VzgYvNRQpXJ/cvM/U3z4y7Z+8BqCI5i6br4RouquLI+9/ya
PxPrJogosK1GyKAC0JRnYavEMwBDM31TGJlJjtDdAoGBAKB1/5oimN4I7uanrfsI
4aW5SI1pGCsnqO/2lVR2vCvAoEMY097gdENXtcIxJjw19gxY39gC4yKkc+F9IIUJ
XLn1fdc+ZGHG65MfU3stVoEQEMUYi5NfoAMfnY/+g0VQoJ4VoG8y4Tgy4upKBZ2t
vV/9iatC3rt4EFmzM36s2w6+
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx35Me/ey5hVRFp42vb8CjnyUXHSGViWvHTU51JQWAG2q7WFCJFBZdd7QNV2KeezGMAYu0tBjbhRdSCM6GRce0aSXjxJORjwVloCeRAa7/U4ZgjJNX0QRgOFwgMz+n03fXYdVtAO57hBE02FtLcRX8bK5Dnd3+j0N5kLQ1tFR5lpmPR3jcLRCclJF0CaxaB0IQvq5bizD6b9DHs8QlmIsr7h4HTWNAR1vu5CYVJlGRlupDMHCqI3Q0IayvCOkdYQlr03WaWj3QbxlYhrSv5X6IOAr3UN98xcVjOQIAU+di1mQkWXvo0YRlXvVgvWDjGz/6K37PZj52Q30SEHPTYOa+QIDAQAB','signing',1795488566454,NULL);
INSERT INTO "dkim_keys" VALUES(5,5,'pr202611guvhkz','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDdXtdEkE1h0yGN
p7Bsdwy6b8pkufMiU0jVqFGWaSpnlhoQlq8krKeOWhRyOHU2eqKjTOr4g/3Oe/qy
ypx1wbN0tw+VlJ1ZwhYDihe+3fWrwF2+r3e1xUxnP4Z4ufIxPASFhWalTSaO9BiX
zFESKRNERhfdtqxAssssbV+BA2p2u6ZtAsgDJYXR7R8lrim5ERwfhOXLE6oUcOn/
xbxTLsGysqaVFocBZvDlgDQ+Sjt7+FyVLXPgNPY+SISO62UhJx8dwDofsAclalOr
I7+3wnOfrhD/utvSFD/i6Q+GeOLgEN2iLCtORGriIMhtQWmXsVz4RJn17xcgS9EA
Cj6T4ON7AgMBAAECggEAQz5RbrLUxq/vI8v50+DP3XwiwzkW6WjaGYixC9rzNhcK
4Noc5quJlDy5tD6BIGTdLXSqdYYGnWfcrd3M7BpETGJlGf9UUtUZgca7Us+ylhLv
hwJe/zio7j4GN3roXltIVlTA6tqGKWttYwL952HRx+3wxvj71wVYoSyyE4r5lon1
7DKIh4ab44V/tvlE3asz4lpPQdyhCUGmyhRBiYjnTEtDzKCw4XqTs7lGuq9sJAdQ
l9stSXjW0kPhzoYsG1N7wmOGB4A0B37UnKbXZKWmnz+bPWHVBxOTfi12n7Btdry7
QoIfLn8TcbF5U2/xJ/1yZiv7nBG1MOPzgk6nm7fAaQKBgQD9JXKJZXMmIm9PG03R
SI8N/TsejPB+iY3kuq/Hj2QIBlK9vk9nNAeXZLx6nnWg2DWHYq8a5KpCB2v89mk1
8lgUB/9geXFiuQpW5D/h67uJqMv3h5qX0Q+jryrCX4zrakjXy+YSNGgxrzoy5eNm
gqf3c7B8PC+YQwiEk8aSy04uGQKBgQDf3bEkhFYLOQmwRYRsvtJD+CvBpYq46iW6
gH1RrwMBxhyxHSN5dND0TtM3BiUbSv4gU5ch5AOHHwe8kKvDhFRc4RpdtZ8jr0Cg
0axiNGgkFYY+kahYhBmIGXjWSJSsr8F6NKuaFHz0bELvJck9VH2OwBFqS/F9Z0tu
9ctYk/DoswKBgQDXiCWv09+pjVIGIXItCUE7oOrQBSHSKt3T7BszpuN9bZzPDpTe
gs8f2FYddIMkUlGpFp2OITjRBS6tb0N++fqB+5k0k9G1Q2UJPEcj3KiM+VnIQ/2c
2xQcwkx+uAnsek7Q5TrbLyGzg8TihxcJNZ87MZYHANtpIVHER2mfnFfRKQKBgCum
w8LWFx0LGyuG8qJttvxP6OBSkjEqXv71zPnfgVuYMMIMZ31oXNI2iJLjHNssjU7q
Xb7bAiEX2N9Y6lUueXC+5/A72PMRWi3BlLZ1d5UJqWqL5mKUJ5JVPS2za2Icx0I4
APoDYrYaYhbVrF7MGct7AipS8py8RoY1YVg9SK1nAoGAMnfTHSBcPW793vVBSIHl
abNokaKj5ObPct/Y+VzHoUHH6KOGOoi2cFHDwGi5/nQwHic7mP2uEoPokBgZfNwI
/b8kEbUof7y76URMZrMBAn3lM1zobeZd9Ad1aQS6kue+N9SUZzZve51FN7OObr3K
lLxt/SMlB9I9t38YSSZCZlE=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3V7XRJBNYdMhjaewbHcMum/KZLnzIlNI1ahRlmkqZ5YaEJavJKynjloUcjh1Nnqio0zq+IP9znv6ssqcdcGzdLcPlZSdWcIWA4oXvt31q8Bdvq93tcVMZz+GeLnyMTwEhYVmpU0mjvQYl8xREikTREYX3basQLLLLG1fgQNqdrumbQLIAyWF0e0fJa4puREcH4TlyxOqFHDp/8W8Uy7BsrKmlRaHAWbw5YA0Pko7e/hclS1z4DT2PkiEjutlIScfHcA6H7AHJWpTqyO/t8Jzn64Q/7rb0hQ/4ukPhnji4BDdoiwrTkRq4iDIbUFpl7Fc+ESZ9e8XIEvRAAo+k+DjewIDAQAB','signing',1795488567060,NULL);
INSERT INTO "dkim_keys" VALUES(6,5,'pr202611brfxv0','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC2rjqcYdRdvWNz
9AHPNeWIq/XtwU4v5t57bkciG26coWnDDIkzG1JTLj0y7GfRaO5Rv5aFUD5HnPvM
ArfVfKhXI9QF0fN9+pi1YwnyDoTVwrQWfLO5HtzvXqO7fn9DR/HbdqD4QESxkkjd
cdWa/PeLR4AGbXsN/ZIcGLN9THb9b4SFs2yaIgKYQ7VKMtH/SNGlIiKpuVNpanDh
BHI2iDQPkyLgCRbU//rkfUys4q+vPo30O7gcUdda92wb0KyCfd65ltYyukgdUQCh
KwltoxzGJA1Eusn6f4uEH97w0K2CJ13dtMLfz3Jr8qaEbTyyTIUluoiufXsDNJtr
54X4aroBAgMBAAECggEADGxy7fm1QJ7FqbgZe2cV8iKHuiCgWZ+g19IbIlWtQxez
IqGynvgntCJ75P+w28wAES0vZmebpLEnaqtwpyMwK6TzIWYy4glt40AWCBE2tXbl
WnYmnttbeSf9iJ3Et+WnrB44Okncohrpu62nMkAr8ZvuOAGwEbaB/kkrw8S0fu29
5aDmt13cVQY9iEZdE+OKTl3yoVnZuX4hPG9YlLNxEbvuimhWv4IlIDGfbOJvomoM
xtpiYhTVn9KFNrPjBhJVpk1acex0kPcufEuHFbaEtTthbHzndLHvXzpl6iBOt9ai
86yHPBzGHoSG3sbuAJQukY3vwPL0+FPa78GtiFumMQKBgQD5bKbM/8sXmQbZPPdw
v4305JoIcEXk5KmZ3MWhSwsP16msMaaTlkNVN5+a4cOw25ngf8xbjjVDi/6Wmj0v
y7x60xY/jwiYDACNDZzPecy4pIUPEWxgfyusx1JyfNGsfOwMxt5Y34qYixCioXhY
djhvk0jFBb/tI2uepjtXFc6gfQKBgQC7fyC09E+ytvK7oJDTtTZI6aR6EiLI5+Yw
pPrsfL9hYSb2sL8mm1UqVkOrGf21i3ZQd/ylEn49Ci6X+j894R+4EUsSLA6YCNP1
PlE0p4aHTC1moTkpzmrmFIXnzJwa6p4fKHGATrp4Y83GWnBHzXFazLb1hYw4Ro0f
QdFUKQSa1QKBgBrQ6aYEokspMqlMerXugk6f/UeG+py/UNSv/bd3n/rWDvHqbKRV
dWvGDSzTtPxgv8x5MPlu8p8OgBKlBosK9nqmEzBGKoBeWfjQS9mqmK4JUhzqnKJL
SeDLlTul280VqTM+dk1Ly1TXLrStc4jfPPYR+bLlCVtvgXSPHrYgLBTpAoGAVDhQ
erfbLM2czsbbBx242puIdAS9dz0jWupgg+WtGZLIK7tMwYy4fqHtF2g/XFLevFqJ
M6TQ654tO7r+uU7sLoQmEm2TyJr+ioSJeXtepFuFcTouMSc1QVAqrepsnHKSwDAs
e5Phkr5R6i0pjjcsGbsm27Y3O/gE3+tymbkrBlkCgYEA9DVDZSSB4oPe2M23Pq6C
sfqJg0IKE5+3o3shOTli9LUiasAMZ1rWUIzOBY/Qfuzy7JacHtkG79ViDYDK4bpi
66Nd9NoksbM71KT8GWzfRcalBEn7KItTSbv9MEeHUoKPgme0wJlIc7b02ruquG5v
O9ansGiVQwVqwcDC8Iba618=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtq46nGHUXb1jc/QBzzXliKv17cFOL+bee25HIhtunKFpwwyJMxtSUy49Muxn0WjuUb+WhVA+R5z7zAK31XyoVyPUBdHzffqYtWMJ8g6E1cK0FnyzuR7c716ju35/Q0fx23ag+EBEsZJI3XHVmvz3i0eABm17Df2SHBizfUx2/W+EhbNsmiICmEO1SjLR/0jRpSIiqblTaWpw4QRyNog0D5Mi4AkW1P/65H1MrOKvrz6N9Du4HFHXWvdsG9Csgn3euZbWMrpIHVEAoSsJbaMcxiQNRLrJ+n+LhB/e8NCtgidd3bTC389ya/KmhG08skyFJbqIrn17AzSba+eF+Gq6AQIDAQAB','next',1795488567115,1795488597115);
INSERT INTO "dkim_keys" VALUES(7,6,'pr202611ngmv12','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCgiY2aPbNcfhjn
MHQcTHAvEX9kz4WhgQp2xZQrnwzhWQC/+rCIWqesLvDC6xobiG+rBwtUPtkAwxcQ
N3NxVSYRW5rTbgfugq9sV8hxpDTorn3AJDO0E2/e9SMeqAe33CQYhaWahlZnT6+m
vOD+hlzkbWknb2niIhBJkgOiiIDucIsg8dcpqujgjykvYsQTAAtP37HT2mdZ6HtF
Y4LW+KhNHgOMcJqwx3LhzBxvLRiRQBhwdUlMGqGNm9YlobsZs8dLFDOoMPu70/Bb
za5lJCauWWQEbhZPuVKRGv4hNW5FuP2AadwQ2C5+sCT8PcjBfoxXMoDTDPZt+iVF
sqg3D6kjAgMBAAECggEAKkN8VYZ34VpLKRYvA0I2aJXVMY+WsSmdPR6P/xns1KjP
Uztm3UbsjJ6BAPfPFD+Lkn2UxHWVQKebu0e16zjNAFXbAV2e1fJux3mmyhA+Y6GI
dpyxRe+2DH8B43C+M2/PyuroabGDLsiiSCXCoA90hiitvdWNjRyFqDC6J0CDnQH1
unMIZol8GWR1NYHVWO4p5lXPhQ/d/IAVqQlzkhfNi6SCcNHoD+YZ4Y+jHx7hRPKS
gCoIYgvGC6qgNark0zFdY/xRONr33n9JgBHwXkSrTergozg/S8W5abJzw1477ufi
8260zRXSogF22ld6jij2+0w8jTlEkbcv+9ZaGmhY0QKBgQDggdWJpxLQLBy3dLpa
dfuXlj1+rvkYpzqs176+CITa+M4ESmIkOCaSJRWJa9q0U5yin0oVMAXNDAx+WMt1
3QefvnEohA8oimNz8UMjFGHQ9aGLoTiBu+LS9xJ024IkEUrYQA2BBO4Uz4Jh3g+5
dFIjhPZc6je8NOp4n+TzNJ4VUwKBgQC3DoeHWI+dZEOUCqG5FFdJCZcS4bRmmm7s
H7cN8pVt6stXMCCnx4KLtUOy+CJg+qROhg98fHbBtxdiEDpKZjFOO64WRjBesGUN
vq+aGRhtw7mUl96aMXbpfb13VDJataNznH4IkU1nqmoZ66kWRecbxfQe9jYvxSOP
q2ZVqNNS8QKBgQCnHf5mSQeoDi4SIcHWNJzjaeK8umKSB2mV38MMkirTFQHGD9ie
PW34u8IcWTyjntmp9AihXO30hFOIeXB6e92A+7IgBq2B8AG3/I+NPU7SzQVDeu8l
I0bk4yXJ9twZHQYpkwR6VcEjnJPhZfsugXfjGMaKw45ZespOoDc9Ep3aIQKBgE4R
xj80x9sKHcAPYLV8NVWS33lQBQ4VIuVVCU7LfGsqTZpbjjG/5q8KmVrEdHUDr/tF
NWmT81neafyKizGbr797uF0Lhil79T0Na/q+ZSq65HS46Fi+a8Zct+ciY29IM/Nk
dGPXBDoH9cQkOzKikVPI8roZqzZoTyhAox45KBchAoGBAI+JJeDqJb8bKobB2g7s
/BuScedUALM5ElU807oopVa8D+3hvY94BKr0G/ke9fuBNO5KaX35WXtvHWrQDtu/
aDDWg7/hxHICr6jv7MWwTkxE2kxWNRqBvcvrpgv7KTppODxFKe7Tqh5migq9w/T/
6isZGmkXtKY5jrpWcMSHEP4b
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAoImNmj2zXH4Y5zB0HExwLxF/ZM+FoYEKdsWUK58M4VkAv/qwiFqnrC7wwusaG4hvqwcLVD7ZAMMXEDdzcVUmEVua024H7oKvbFfIcaQ06K59wCQztBNv3vUjHqgHt9wkGIWlmoZWZ0+vprzg/oZc5G1pJ29p4iIQSZIDooiA7nCLIPHXKaro4I8pL2LEEwALT9+x09pnWeh7RWOC1vioTR4DjHCasMdy4cwcby0YkUAYcHVJTBqhjZvWJaG7GbPHSxQzqDD7u9PwW82uZSQmrllkBG4WT7lSkRr+ITVuRbj9gGncENgufrAk/D3IwX6MVzKA0wz2bfolRbKoNw+pIwIDAQAB','signing',1795488568637,NULL);
INSERT INTO "dkim_keys" VALUES(8,7,'pr202611f0rml2','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCf6QW+euc8PJoX
FnLaYjiGGDZVa8gxEQL55hdIMcGPKsraSwB7B0NRsE6u4IPM12MQ8obNpprX70pl
2sNkvfPU5MvrZ9nZC6bR6qhcItkSDjTRVRfaZxI21LrwcB8HWS3VJk0NXiroTGRY
U/18bSdiDBv0yIBCIz/hBXgSq0d8aJW/P5GpLh8cxZRZgo9MGOWdjlT7fTe7sc9n
Tvet+wlnxQ55r1boDot8YuhHx1a6jD+ND1xQg2GMQei3lU7C+SWqVrfRyc3APhDW
ux05VySC/tP00N1xYRII1BiRYG/y5gfMLlEzEo7kzt3gOUfy4GXPDCWjcqlr4kjk
kIrhq1ijAgMBAAECggEAEIQVRfX/XF8tUmrM+arrspyH6W0ElAjGmWqUh1jYPddf
dIoK5n9lX70JdhIV8CS42dRqwY0jxgoJfEP1gA9cbTsk/U8lwWns1MEwmrTgsvbe
VAE+wZ3OqZ9xdV7nMtpDm8BlH0HVcFZfhiiamuzShKkX2Ww8pFgWrhY4r25Fp7Qj
H79eTozoVB2Jnk1D3sjAk/SoegFJc8eUROyvIPdY/LK8nFhkHROyhpD0LG7LfM/W
sYe7RDZJwjiMJubkgAoQnEa5Z8NZIwHOZgZ7uG9l79hwAGTyogYvBYg/LsOWHgMn
rnpIV0vuwWcdSOCO8fJ9Q+34/Bjl2NtmuS0AM2X8wQKBgQDP/iK4jA0g7XWt/87z
qTWtuEz7nBeCtEL/lvO2I1vF7vskFpe1xKCPZkrlKDG8k75b1FH1MIF5WQQtQZDE
SRDdZ4a4NsNeNsJAtufL9yaW/ppBquyuwJvR5KLzABocDyvvYq3V1p56A8QYvNf7
IJeCZxPNLTL7blODWWZ07kCI4wKBgQDE0cqxnqfYnAAaPv4AH4uX+6YMaiDZtLzD
mqQCAph7nU73+vw66Tsuhb8oHbNrlZY3u2V8AQfNQ/Cb0eG+WXYXK3iQPNFKCYux
39Z6jiKFHJ/uF2csHQ0LZ797ZOhSweySbAmGUD760H6H/tuZXQgGSs7Q0P83hWFa
RPlO8zO9QQKBgHmcn1KGWNrK3Qbaznd7lW44l5J6RujeW1o0OdViQTOvMtp790KJ
cFPIPLxWTxZy0FfDAhS5wspf+Og5MNsD2b+K26N0KbE5lUTfbRK+NKsOvMTumqrm
5XTJGVm50opbeJXkfb3NWiX/c7X/HM2x1cSiXlqWNfv7Gwtux1BRShx/AoGAZcWV
agMAB6Gi6+9mp+mn5Q7a7dBy7B/o+7wa0m9FKaZODyxZAJ1ZXNUL41J4VEklQ+xC
rbxarGlVIT2F3UelKJXx4aORFReahH+aCAU3FF2Y1SSE1OqwtBURjly/RQvBqHT0
997GsirdQrUmGEdivt4v0wo+7haqIGNKBuj6+AECgYBo4qKdSGe+g2GrTQ5YuAd/
pjrWjtO2AFMhmCCveFmJ/1EFLQa3lnx50CQcf8wZmDhcr2ZD6nmE36WGtHEOzg2S
64862/Z6ygAa9eEL2scsS/ieqpr6QvZ+zqJ/A+Q5bXB0ygDZMq5l8C2gxP/N6vzG
GwyV8zpTVSc50Dm+1ABkBQ==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAn+kFvnrnPDyaFxZy2mI4hhg2VWvIMREC+eYXSDHBjyrK2ksAewdDUbBOruCDzNdjEPKGzaaa1+9KZdrDZL3z1OTL62fZ2Qum0eqoXCLZEg400VUX2mcSNtS68HAfB1kt1SZNDV4q6ExkWFP9fG0nYgwb9MiAQiM/4QV4EqtHfGiVvz+RqS4fHMWUWYKPTBjlnY5U+303u7HPZ073rfsJZ8UOea9W6A6LfGLoR8dWuow/jQ9cUINhjEHot5VOwvklqla30cnNwD4Q1rsdOVckgv7T9NDdcWESCNQYkWBv8uYHzC5RMxKO5M7d4DlH8uBlzwwlo3Kpa+JI5JCK4atYowIDAQAB','signing',1795488569115,NULL);
CREATE TABLE domain_checks (
  domain_id BIGINT PRIMARY KEY REFERENCES domains(id),
  due_at    BIGINT,            
  free_at   BIGINT NOT NULL,   
  failures  BIGINT NOT NULL    
);
INSERT INTO "domain_checks" VALUES(5,1795488597060,0,0);
INSERT INTO "domain_checks" VALUES(6,1795488598637,0,0);
CREATE TABLE domain_consents (
  parent_id  BIGINT NOT NULL REFERENCES domains(id),
  name       TEXT NOT NULL,   
  created_at BIGINT NOT NULL,
  PRIMARY KEY (parent_id, name)
);
INSERT INTO "domain_consents" VALUES(3,'shop.p1.test',1795488567119);
CREATE TABLE domain_names (
  name TEXT PRIMARY KEY
);
CREATE TABLE domains (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  user_id         TEXT,                   
  name            TEXT NOT NULL,          
  status          TEXT NOT NULL CHECK (status IN ('pending', 'active', 'suspended')),
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL
, token TEXT, activated_by TEXT, expires_at BIGINT, degraded_at BIGINT, degraded_reason TEXT, deleted_at BIGINT);
INSERT INTO "domains" VALUES(1,1,'operator','mail.postroom.test','active',1795488564756,1795488564756,'069c135efae39c4430b79289fbb86121','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(2,2,NULL,'demo.test','active',1795488564756,1795488564756,'de38f6748523e6e1df59dcb20855830a','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(3,4,NULL,'p1.test','active',1795488565613,1795488565613,'075f418301c13eac5adefe7cf010773a','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(4,6,'u 2','p2.test','active',1795488566454,1795488566454,'832fa7c58f19b3812d25c15378eae0a1','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(5,4,'user_first','claim.example','pending',1795488567060,1795488567060,'db06b24f8e221a51de78e67b29491a2a',NULL,1796093367060,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(6,4,NULL,'pending.test','pending',1795488568637,1795488568637,'607f241f1492ec7d62d1b7706f284080',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(7,4,NULL,'suspended.test','suspended',1795488569115,1795488569513,'bf3e32fcc49d8d83b3dad4aeaab00c83','operator',NULL,NULL,NULL,NULL);
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
INSERT INTO "events" VALUES(1,1,'domain.created',NULL,1,'operator',NULL,NULL,NULL,'{"domain":"mail.postroom.test","status":"active"}',1795488564756);
INSERT INTO "events" VALUES(2,1,'account.created',1,1,'operator',NULL,NULL,NULL,'{"address":"postmaster@mail.postroom.test","status":"active"}',1795488564756);
INSERT INTO "events" VALUES(3,2,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":1,"prefix":"pr_EgO4pvc","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795488564756);
INSERT INTO "events" VALUES(4,2,'domain.created',NULL,2,NULL,NULL,NULL,NULL,'{"domain":"demo.test","status":"active"}',1795488564756);
INSERT INTO "events" VALUES(5,4,'domain.created',NULL,3,NULL,NULL,NULL,NULL,'{"domain":"p1.test","status":"active"}',1795488565613);
INSERT INTO "events" VALUES(6,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_dKlgzds","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795488565989);
INSERT INTO "events" VALUES(7,6,'domain.created',NULL,4,'u 2',NULL,NULL,NULL,'{"domain":"p2.test","status":"active"}',1795488566454);
INSERT INTO "events" VALUES(8,6,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":3,"prefix":"pr_wQJrnSd","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795488566825);
INSERT INTO "events" VALUES(9,4,'account.created',2,3,'user_first',2,'404f0ba38978c1e381e09e64','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795488566938);
INSERT INTO "events" VALUES(10,4,'account.created',3,3,'user_second',2,'d9e09918c666677e4103b581','127.0.0.1','{"address":"second@p1.test","status":"active"}',1795488566943);
INSERT INTO "events" VALUES(11,4,'account.created',4,3,'user_third',2,'10a0eef17d9e63a6912c88bb','127.0.0.1','{"address":"third@p1.test","status":"active"}',1795488566947);
INSERT INTO "events" VALUES(12,4,'account.created',5,3,'user_fourth',2,'bc9cc455b5533f16c708ea30','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795488566950);
INSERT INTO "events" VALUES(13,4,'account.created',6,3,'user_fifth',2,'d17e5dabbbd8cb64755179c8','127.0.0.1','{"address":"fifth@p1.test","status":"active"}',1795488566953);
INSERT INTO "events" VALUES(14,6,'account.created',7,4,'u 2',3,'f36cd0cee3e2984f79e94db4','127.0.0.1','{"address":"sixth@p2.test","status":"active"}',1795488566958);
INSERT INTO "events" VALUES(15,4,'account.password_reset',2,3,'user_first',2,'0fa1d9db73b01f5fb061c587','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795488566960);
INSERT INTO "events" VALUES(16,4,'account.suspended',3,3,'user_second',2,'e6c9da246614e86c30a2f77b','127.0.0.1','{"address":"second@p1.test","status":"suspended"}',1795488566963);
INSERT INTO "events" VALUES(17,4,'account.disabled',4,3,'user_third',2,'1cdba643cc72620e43146cf8','127.0.0.1','{"address":"third@p1.test","status":"disabled"}',1795488566965);
INSERT INTO "events" VALUES(18,4,'account.deleted',5,3,'user_fourth',2,'c629a1674e2d371d6c39b15e','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795488566967);
INSERT INTO "events" VALUES(19,4,'domain.created',NULL,5,'user_first',2,'4b92a887e2454beeeea41586','127.0.0.1','{"domain":"claim.example","status":"pending"}',1795488567060);
INSERT INTO "events" VALUES(20,4,'domain.dkim_rotated',NULL,5,'user_first',2,'becc67cc74a25eb6987a3f45','127.0.0.1','{"domain":"claim.example","selector":"pr202611brfxv0"}',1795488567115);
INSERT INTO "events" VALUES(21,4,'domain.consented',NULL,3,NULL,2,'d274d822a0f9b9c6fa2fa492','127.0.0.1','{"domain":"p1.test","subdomain":"shop.p1.test"}',1795488567119);
INSERT INTO "events" VALUES(22,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":4,"prefix":"pr_UqzNpPR","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"],"domains":["p1.test"],"networks":["192.0.2.0/24"]}',1795488567430);
INSERT INTO "events" VALUES(23,4,'key.revoked',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_dKlgzds"}',1795488567794);
INSERT INTO "events" VALUES(24,4,'limits.changed',NULL,NULL,'user_first',NULL,NULL,NULL,'{"domains":null,"accounts":100,"accounts_per_domain":null}',1795488568188);
INSERT INTO "events" VALUES(25,4,'domain.created',NULL,6,NULL,NULL,NULL,NULL,'{"domain":"pending.test","status":"pending"}',1795488568637);
INSERT INTO "events" VALUES(26,4,'domain.created',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","status":"active"}',1795488569115);
INSERT INTO "events" VALUES(27,4,'domain.suspended',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","from":"active","to":"suspended"}',1795488569513);
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
CREATE TABLE organizations (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);
INSERT INTO "organizations" VALUES(1,'operator',1795488564756);
INSERT INTO "organizations" VALUES(2,'demo',1795488564756);
INSERT INTO "organizations" VALUES(4,'platform 1',1795488565613);
INSERT INTO "organizations" VALUES(6,'platform 2',1795488566454);
CREATE TABLE schema_migrations (
  name       TEXT PRIMARY KEY,
  checksum   TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);
INSERT INTO "schema_migrations" VALUES('0001_start.sql','d4e9753357ca37cda2bc7c2aa4a992d6f1ba2a8841de8d585043786c718125e7',1795488564744);
INSERT INTO "schema_migrations" VALUES('0002_keys.sql','31c30996ac65af16edac359574f5b37cad674f93ec4c7f472a67022359dbe11a',1795488564744);
INSERT INTO "schema_migrations" VALUES('0003_limits.sql','79f21bd0dac65b24d1ef91daacf8d94c9ae00a902c870b4248d8764db0fbde8d',1795488564744);
INSERT INTO "schema_migrations" VALUES('0004_claims.sql','ca6b5ade06ec28a325a0efa7478657b2cdf9fe0e5ae78f25801e03c35e37499d',1795488564744);
INSERT INTO "schema_migrations" VALUES('0005_checks.sql','72a2b0e0f12f5bd28c06e24418fae44c97ed00cfebe6a3fca52c7c3b0d8e5e65',1795488564744);
INSERT INTO "schema_migrations" VALUES('0006_dkim.sql','129ea1b819dadd470088ade423f55ac7a7ce63da965b02a4ac16a678e1927aae',1795488564744);
INSERT INTO "schema_migrations" VALUES('0007_idempotency.sql','7c128d08a32c91e422f4f2d0df707420d2a434c9693e36d612374ba450e2f91c',1795488564744);
INSERT INTO "schema_migrations" VALUES('0008_purge.sql','70f79e0a9228af0a5de603a96be6e9ded3a9c88818ebda87690e8556ab48a8b9',1795488564744);
INSERT INTO "schema_migrations" VALUES('0010_console_sessions.sql','6e3849578e4d6392c33a09ddb976541c873388dfea23d3c7ee1c0356013244bb',1795488564744);
INSERT INTO "schema_migrations" VALUES('mail_views.sql','2bed767e09559a8c9c1ae46df07f554a49d46be78d8f2c17d0cf520720a9f5d3',1795488564744);
CREATE TABLE session_endings (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  due_at     BIGINT NOT NULL
, late BIGINT NOT NULL DEFAULT 0);
INSERT INTO "session_endings" VALUES(1,2,1,1795488569960,0);
INSERT INTO "session_endings" VALUES(2,3,1,1795488569963,0);
INSERT INTO "session_endings" VALUES(3,4,1,1795488569965,0);
INSERT INTO "session_endings" VALUES(4,5,1,1795488569967,0);
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
