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
, purge_at BIGINT, purged_at BIGINT);
INSERT INTO "accounts" VALUES(1,1,1,'operator','postmaster@mail.postroom.test','Postmaster','active',1,'{SSHA512}KKxILJQUswh2z6njGHTcPFsBvGKk4uGZ2l3BsduZIPMxVRHDPaBGnxLR/Dq0IpQg2u/UUd6yKDOTVQnjGIGHX+QBuFSfUiibbATIthnceRA=',1,1795618183389,1795618183389,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(2,4,3,'user_first','first@p1.test',NULL,'active',1,'{SSHA512}QDYLP2KbOnMrJLFiRLfOtSPFxXqSojtF64+LwRGh6vFqXgEuJkQE2efis9s3XiwA+PomlgjmjYZyB+8/9XCv/zQAvUX45x1EKJCLX7Bxtsg=',2,1795618190496,1795618190545,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(3,4,3,'user_second','second@p1.test',NULL,'suspended',1,'{SSHA512}uyPIykfBhXZOw1G+17Y/isNwzjKQ6UQZaWLe4sy4c3o6YVrCTTz4or3OnatuyYeIsh3xTq6Fy+qtCj2naOjMr2XYRUpKJFVxQ2vhLxONaQ0=',2,1795618190504,1795618190548,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(4,4,3,'user_third','third@p1.test',NULL,'disabled',1,'{SSHA512}DJE8185lLXeCBzHxalwo3pMQarV8lc11upPnXPHBoEq4tMgJ0PPfa1be21Hk0UEb3DaWcIUzyGydtg8sHXOGaZ8+2KNz1aN8CbjPit2HMUE=',2,1795618190517,1795618190552,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(5,4,3,'user_fourth','fourth@p1.test',NULL,'active',0,'{SSHA512}SQqUtPG6TadWcgRfi/6+GtyvrnVtY28k/BZ3giWZy4M/eu2UbwtIftk7dh2kL1cBUm3gNv0/K9q0ELkUCQ4I+ITPv1/VTuuTJe9q8vvfrcc=',2,1795618190521,1795618190556,1795618190556,1796222990556,NULL);
INSERT INTO "accounts" VALUES(6,4,3,'user_fifth','fifth@p1.test',NULL,'active',1,'{SSHA512}7OBJAXjAo6600/HjKRw99s+xQ8ASE5wTyhcW6Wllw4m9z9IWs5pmQpAUU8WtcXV1oKZzEHHyqnUKdXKUu75rGQXDaAs7Y354Lx0TdDuISiM=',1,1795618190529,1795618190529,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(7,6,4,'u 2','sixth@p2.test','Zoë ''x''; -- 雪','active',1,'{SSHA512}nphPMJM84ZkLPjHyot35IKaVtfINFTT2ZgiGhRHUdoASV77LmbseZ1QBNiENRbLDXZhSpEP1gKiuFkjpf6qdDMPdW4uI/nMK564X/m274yA=',1,1795618190541,1795618190541,NULL,NULL,NULL);
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
INSERT INTO "addresses" VALUES(3,'fourth',NULL,'user_fourth',1798210190556);
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
INSERT INTO "api_keys" VALUES(1,2,'pr_btv4BPP','46b8a1cc583cbbe1f558915ed963cc2953749841306d6b352b4bd0f0db533ab1',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795618183389,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,4,'pr_Y4l4R6x','82fde89dc793d33fb067ff291aaca70d56cd45e9dea493eb7b9385cfe1dbef27',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795618187794,NULL,1795618192608,NULL,NULL,0,NULL,1795618190504,NULL);
INSERT INTO "api_keys" VALUES(3,6,'pr_0ISl6gk','0f0b6c640cab8d3870121774f497c78869064c0a4033bf389d8efb7296386ee6',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795618190295,NULL,NULL,NULL,NULL,0,NULL,1795618190541,NULL);
INSERT INTO "api_keys" VALUES(4,4,'pr_s2d9QuE','332ef3730c24f6e60b513a1e38479dde56721dabdf62bdfbef61ad98471718c4',NULL,'accounts:read accounts:write domains:read domains:write keys:read keys:write events:read stats:read metrics:read limits:write',1795618191681,NULL,NULL,'narrow',NULL,1,'192.0.2.0/24',NULL,NULL);
CREATE TABLE console_links (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  digest          TEXT NOT NULL UNIQUE,
  expires_at      BIGINT NOT NULL
);
INSERT INTO "console_links" VALUES(1,2,1,'7a111ca45a9f75144b0d8333cb0f6d8e3d53a993bc4fd4047e9f6dfa3cb06e3b',1795619083389);
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
INSERT INTO "dkim_keys" VALUES(1,1,'pr202611lqgvqe','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDoKPQjAlWkp96g
Cn3BhllqTzDzgJhu3Qly2Ah0HnwdWmA4TmdnbEp+64wnIokX4nutRSu6tPm+NzCS
x2JshwWZt09HtleKr0z03hHxSORdIPj4Pm2dm7548fjwEf6ZBXuqGF4oSqbD+Ymv
U/VEsuVCxAoBfrEhIZIKiVTw2cN/wQhikM1/T4Fn4lOyKp+3pQSm++mGTS169PlS
HYZ7SnAT0w1bGZnj6GiMfXHvuUjVjHPnJy0uNcFB0SjUdgGgs6WgAhvqax2nJnL0
EfMcjK6/axBz+Hy15pOH8x+qZBDflBPaQoS2y11eWFSl5pVebHiFRyVwN+jhaq/q
XGItf37jAgMBAAECggEAafZ7S9lebqtiLOjs8h4YhLHFdXa93GgNznm1Dg719k3Q
OhLrFmTycZCgJSKZsSmh6nl2Vp8QmFXHWU8g6MkN8NWenWwn87hEZ0VOqjLrbGhG
ysNvs66o1roWtbh43K4Ifh/mJfzAthUY10n6WhNPGdSxfnItdaJFboK1HsM9/Hon
fnqUPTasbUhh4levfQBvx/e+lXgPFG3vmlTZOMQM2MpJ/IymwXSXfSOG06XHyMFF
+VnKnhpZPNmccbJOgQRZVIm15ihYKVdvebFJC+5pc3ik6kutNcJd4D0NSWdexu6E
P9tkAJSrmjYIpJWv+EhgzAfM3DtPw+NzrcKWp9+HGQKBgQD3+2lz8Z9T8Ag8fvFp
Uff2xUuHudOulzw1xlsyivsj6WVJRdEncF5ss6yrUxyS5EuVS7kzIyJ7qww82OVH
hY5JzxVvYjCmpLQAJzcUHcq5tyJ+B7hhn+w+THIToHSBI+iPLjwlBEi2ouqaj+w5
1LJGghL38RdrWkYK8l3SQrR0OwKBgQDvqpRhcRQckxCMxrvRWzkBbzM/GOhSJZlc
+gzdq6/gfayU2waHSjQoSt8uAvfr2/59TXPkCnE3tKf1QMHLU6uipUFlt7h2Lp2X
pZiIn3uXhFFq/bO+1Q7qG3vdYR4n0ekVx2kFr4jtX5I/E5MUcuL0HHRI2T+iTjLb
8gXOt9+9eQKBgQDv8u+I5wWaPKpbjyGdHVloCGQbQq4XQ/NYvURFVcHIb/A3xDyr
gsl7OSgc5uDBKfIQ1iKv3pFhRJMk1WKVoB+cP6qoCkS1Gq2pcEiVSHZ+2Tug42t/
2zTG20WOxDW3N72xvbUoxEpvnpiPUi/rjWmrW/VqwHg+wi0ALqCl8TGXPQKBgHFz
LwAdVibcmvX40UmeRBLgv8J7mOXh9IIlv9djAUNkWkCwmZuLTbtRDeqq7w8QOZy5
AEYPh16WPveCqvoD5nh8f8OVv1T6ZhE2C0mJLSkhMqVR6TdJheDeF7lI0syIuixc
E+PkHw42snT3YCVK6RIjMgyWAmBjYgHpxEQBmIEJAoGAJcM+ZFZG8dP9d7odgPsI
N5O1wcHR9Lcw/hv1e5s76dmFP9im1FI19fSSfB2CNqIXsZuQBAGf4vc82o4TjhBf
VZvjvOAEJ4Cx5A2J+ifEkOpLp1CsETU8EiLRoFEIuy/SkzaO96Azto0rrhNTeUyg
NfOIxjg0/PfHh/JBYmTGUao=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA6Cj0IwJVpKfeoAp9wYZZak8w84CYbt0JctgIdB58HVpgOE5nZ2xKfuuMJyKJF+J7rUUrurT5vjcwksdibIcFmbdPR7ZXiq9M9N4R8UjkXSD4+D5tnZu+ePH48BH+mQV7qhheKEqmw/mJr1P1RLLlQsQKAX6xISGSColU8NnDf8EIYpDNf0+BZ+JTsiqft6UEpvvphk0tevT5Uh2Ge0pwE9MNWxmZ4+hojH1x77lI1Yxz5yctLjXBQdEo1HYBoLOloAIb6msdpyZy9BHzHIyuv2sQc/h8teaTh/MfqmQQ35QT2kKEtstdXlhUpeaVXmx4hUclcDfo4Wqv6lxiLX9+4wIDAQAB','signing',1795618183983,NULL);
INSERT INTO "dkim_keys" VALUES(2,2,'pr2026110udo1y','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCttvSzT1iwcito
08m8zmEhVhEsyzwjK9oK2xFkP5AKR6E754kLSNm4ieR4u33j6xfU7IpklldEBSVv
76HL5ugSpLzD+l1t0h55yt60AEbMT2JrOwRD8Z+J2lh0v/W3jPnSKqCJhXIjeIqh
RTIiGZMoDpOOjZSMydLQQAYqP9fUPQTdsHk0lSkzC0ixnuyRGkDHHI8pfE/2bULZ
qlCe6My76OE0uNKi2o+sAwFdSyMZvSkFgL0QKvvLiZSzP/zkGOJj8020hpygyVNw
fxJd1+SQ1OQNA6YR+tnkJKZrsoS6IjyFLwHEW8VCZaszEXOXCJt969JoT8Nc/3+X
J9HHi6LLAgMBAAECggEAGGuY2MA1ypAyNAlZ2dX1Z5dO0Mo9SQB4JYCIYFxjJl7N
drtk05ZJLR0NZj+NQgYhkogyKFPOLry+d47rYtuyEjTgaHiAu9iG+j4fspQ7X6tl
PYfNYLPN5rYwKzF1HHmQARCHAu4kjoH6kxNEKfEIc+AgtDCJCoWwwh/N/hB9idNS
zrGQ16YYt43PF6WgAM+b2Z/r5NU7OsnebCH6MKN5zd6HHQ7DMojfeKCWZezrvDnW
ODVq0kuYkYrrCSLj0D2HmZANTITmd5hjmgsMLCIK/6w6ZqXW80oDgdNthULsjsZv
bHAWelf3SOhSc016g1g0SOZijcXy+hmdGu60AfDPkQKBgQDbSGjW+x4WSSkNCXaG
G5jTiPEQSIOnWzR8cjn5//dw+S6WnZAUBo9pKLmUZuiy7rWUkMm00FlPemLPlYOA
GQY6bSWv3mclyOCdAaGSNlvbcSxZxJsQGlISX0nKTF4CAW/NKTOpZ251nn3LSahG
c7UTdg2yR7moLxQ3aKZCpFGK0wKBgQDKzUKIp5YEqy6Z3oti+TnUWm95vrwGqgeH
6VTDzlQg188FVFXV4zs6ekhCBH3KMXzwZrhy0drf1HVc4uLHc+yCXa3/vcaviuNR
BuWNg8IxltRp2+wOco+4qFAOF3tclBoaJAFEH0iSxtg/nrjKapReSsJ+J0v6VX+2
pZsRsKOdKQKBgBh/vIbYQ4JF5jo4pm9RQf/QOu6Qy3S1MeX9dRDDUkfi7xuQuvoh
yX/8Ns+nt7PWC59vlbmH1ZKVn9iFYc27/gAlFaLSfD+yc7XW6tBFFnor6MKWvqRL
7IN09e+OHKqosm7/fXAdyC+H55IAxrYoU0C7XchfTxTFPcL7BChJ53pVAoGACEcW
hyNoASrHjSpDQDfx/1Ptpud9HzyDcC268v8R+gE1Bv+pPUC4IyvolSE/zSf19I4M
y0r7hxVR8QelwARgS/Xs6zpgyLt/icghSIRvQbzpUKTUXsaYTS45jkmxFFdLNXPw
xUoNmUgafYZJ/qEZCzw78hBCjqY8v0TFLpSqKPkCgYB0UMb+r6wFwHQgfIF2NRZ6
7iyz3fJoIDUCELqmf98jB/hp3/XrKsH0In+tQy1NU/8EEhHkx94a4sl8sxf/IbYz
ittgyevcapmYY6kh78HaffQAg8HkMkktWmCwjZXZ8UcNI/FB47KLIfIZT7SPR+NT
91cLOPxp6pMLw67zbvWJbQ==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEArbb0s09YsHIraNPJvM5hIVYRLMs8IyvaCtsRZD+QCkehO+eJC0jZuInkeLt94+sX1OyKZJZXRAUlb++hy+boEqS8w/pdbdIeecretABGzE9iazsEQ/GfidpYdL/1t4z50iqgiYVyI3iKoUUyIhmTKA6Tjo2UjMnS0EAGKj/X1D0E3bB5NJUpMwtIsZ7skRpAxxyPKXxP9m1C2apQnujMu+jhNLjSotqPrAMBXUsjGb0pBYC9ECr7y4mUsz/85BjiY/NNtIacoMlTcH8SXdfkkNTkDQOmEfrZ5CSma7KEuiI8hS8BxFvFQmWrMxFzlwibfevSaE/DXP9/lyfRx4uiywIDAQAB','signing',1795618184067,NULL);
INSERT INTO "dkim_keys" VALUES(3,3,'pr202611lqhyi0','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCndmSXGBdOjqHT
lQ3/JHK5qmLcg5OPJtH2JI3+jdxfZgTSZtNdWJxnDvSjw7/LWKCWNVRxoNRB+bab
phu1wRO/GA5HV5w2HA/PXXk4svNcR95oIcNNUnoO344W39X6TIOpvoFTXI07XcA9
1FjUWqHSIjfo3Ux+j7XzDSfkB/yn+tH1zC2Os7+Oenttskk42WBnC/gw9OBqVJgN
uQQB6qaM4QjPCBvrcH1ajPoNuiuxHcccneps5ZnnQpgHb+tkr9WgTipCbgQ99IhN
v7TH6T+5DSA3THnIuLbFkFjFqt3iUyEuc8Sl84ZKmjyNYj7vl7EHr/k1shc2Dxxc
/rxinvoNAgMBAAECggEAFFC+EkBnb23JPwBJoua6jkCX3rWNnKOyfABiQ3vVPLOF
KTs1MBFUZAJB9m4EYfhd/ur4VBKVPW28U/SaTvnd2eRisw/zUPMljdwCnTjEYjEL
z6ks5r/3M7+2HptH+6X1oQ2N5d2H+qg8bqPIpPZbxEDHdJYINiBcC+DQMo8vfPcz
0dsM5rlr5PuYuUgQsc1qVNthCXHODLmxSlPVRQkMZc9E3g1RVuy/lvySwOZE2+eR
r48yfLg93PtYlvoIdiUq3IuFdA+X1f6SAGc24ZdIrbyxTpna8169SqWbc97KIzDJ
e2RaHSmxOPGWFAbey90HIm4Uiuwl1EHtSPqyeXQtsQKBgQDdKDyxdvLsUbZiHohM
sJqwz04XUc8UxFCziln9KAESGkIDDBW9qhOmjBnl53xVAX5Q/bScKLJZACVLScFW
KgXLbZXjEOqzKDmbbjdErUAUCEY285x0aEAQyg1vZMN3u68iIP2r4q+uAdCAQQKC
lMnA9FytHiIu/3mBAX4/b9XL2QKBgQDB2IdMQIHOs0qrPXYS8ndy546MiA3Gakcf
xnROrQQ19rJy9HJ10T35xGoKAeuLj0PV6MnH+3BM9Eb2mPyrBbVbjwnvdsWiZrba
KpD6Rv5s8Q0B62h9HlgS2gsktNLKkJxX6qzmTlsYraykkFkj/xtQB9LGXliUqMVP
BB0fa7zDVQKBgDm/nQGWFt7Ag4hhgqPL5cjPiQur0BATJyOKt+7T+Fuawav8Bt1M
wO7XXJfc92lXB33skbHJKrD0ycg8DSELvhGdnur46uA3W7uLbyEewEG622LUAAGh
i0EXEaUJwcTNHHEj/jlY6xjb3m7vCtHAOmKJLH4EBVcSXM7j7exwrnoZAoGAZB2p
A0DtygvfrMF5kh+YgcgGX56FPsz1HvwoZdoGKrjXQXfvBdqj37QJ8FE9jj7YEkrA
rIC4Z4ZigEpTdSDlofwmbX8yY8YY+mSxrBGupiV5SlyDAtwBMPtcdgDOPcCifuW9
ltUxR3WrjPLgly7StGrV+Y4QwfbIsR62y9uhCmECgYAruUPuQS1ok/enI72FPskt
n273IO8UYPD5czNuuDqy+2+m9dORLwWuG8rAL+sAN4eEbwkRUGvng5q5Cda4ncor
fPXlL+RlX13MfSki9gma+HGdNG8/BSDN/olIyw5pCy15OCYog8ibBcyEdfJfnWY1
kOjrqTDoAMf9xEw7LENDZQ==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAp3ZklxgXTo6h05UN/yRyuapi3IOTjybR9iSN/o3cX2YE0mbTXVicZw70o8O/y1igljVUcaDUQfm2m6YbtcETvxgOR1ecNhwPz115OLLzXEfeaCHDTVJ6Dt+OFt/V+kyDqb6BU1yNO13APdRY1Fqh0iI36N1Mfo+18w0n5Af8p/rR9cwtjrO/jnp7bbJJONlgZwv4MPTgalSYDbkEAeqmjOEIzwgb63B9Woz6DborsR3HHJ3qbOWZ50KYB2/rZK/VoE4qQm4EPfSITb+0x+k/uQ0gN0x5yLi2xZBYxard4lMhLnPEpfOGSpo8jWI+75exB6/5NbIXNg8cXP68Yp76DQIDAQAB','signing',1795618185487,NULL);
INSERT INTO "dkim_keys" VALUES(4,4,'pr202611r1xfup','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQCTAAhM2NKUFOje
n/cNJu0uItVUgjxfgh8LAIpeyG4NULdhbYdFuGHFceLpPPRsRrHo3vHIRPifWKQE
TUd8zLl2mp4LKcymHzaMjGqJ4x0bGGMMWCXDXTpRZLzdh7Tk1lRpMcdIxEKLPTWs
vKhUf38oYZx1cuGU3PBdL3wCqSJYnlqrxoEmDZax4sZeYVGd8FFTl08g887wMrrG
tdzeXLO1dgbh7AYLf7qhJXa3dtUHQIYvbZcaXIHNeAYXjpDaUz5lfNMXOxF6VV24
erevKSwFTkbtTNTssZVQEU4AY7d0RLeqAez4VhsuVsANvlND597Im+F2dKT/Sf6n
wdes9nMtAgMBAAECggEAGm/ujjeOg7BRAzzctyJRlLMSD91OU1T5FUb3G73LQRzL
pjuHEQxslRB64Tyjrtd2Bq4V6NEyr6HG+bkWSsUc884x70sIsbW6X0Ofo4XThbx4
j89Il16sbtgBuYu/Bkrfqn2X3Cfj2dvby+GwGmZFrbMEawEKvfWQSwoPsQDPGwW1
/OTzFj4BQnNVrDNAa0KMWbgvaLWDcZE0WsgKDrNF0rSXNd7VUe6AGXaYDVCqF8xL
XBwmRKgUUu68FVLDABImyFfvQLO4WEDYxTLAxKyJ46FX+ZmXANAGJEafxrpbgsWY
CRpA0xG+/6w56+h0Fn4+32tusF+SW8cjRkzFBdqiMQKBgQDCKeDvh7nETmFHxb9u
Pg3JuCLxjQhJPOO525DjcJpUmxTI7vLCXZzz0e4qQNAXwpe1xno0b68py5+GQ36d
elOhsVgJ/atDLjW/rb4zSjbgZygKpsH45V71fTvSJMpzHpRamgAwEHwufJvTGiHh
DWc2J+a+NMieIfZEbhcUGijamQKBgQDB0Ozr3uuGAxnCHIFs52JkPd0CMbc9ToPL
kHHri2vZrdOLSH6LJzoqV07PXA/HMegoB5Ho5ij2VUqwziAU2UoJv3R5KERArJk5
zeNR+/1qHphQ9DkdawbYVPZNHr4Q3e9KNJvzJ5YdL3YEgPdPlPcnXq8IODqlBTGa
w/pAVD8ttQKBgEcWAg5wSKkAcUlPsuhvu6iQy+pX0iLOMinHo2JBxZ8YMCHoqeRT
VbVGtMWveQBZ9CVPB0rPYPgSXtNPPrn1IU1fmnX984fjETaeK7angzPhUJ2ls/qm
L3/9W7tyUNSY64PIQi1Wu8BhSsOdG65Ds/f139rfhFuw33LqQ3TOpwpxAoGADZ8f
Z5xtNSf2oXvbZMoGUkE+zS6tUDO6c44dU46i79OVsI5RxnnlTqCAO3ae7UMGq/mM
ObAjZNytuStjedOjrne0OeeolFsNEdD0jwiE0PaBgf8IHJcvDfk6rkTg2tKeRLrZ
0wcPN9HkG4Ds4Lz5edzftFYvWPW6fMQVTHwfTJkCgYAfqbGelAR4fM777pCA7B4m
Ut68wdRhd/8bY10KLrBpzHEFeqmSqCu5jmqW71S/FijtgYdl8yIzIf0bz3G36xmj
fGZK8zMGUkGSA1QAqpN4IqNgDreKPAbJH2OnQhGhiWBgwWqShhLFusmUHzEfZjb6
pEx44Zx70YshMO+A2PSp5w==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAkwAITNjSlBTo3p/3DSbtLiLVVII8X4IfCwCKXshuDVC3YW2HRbhhxXHi6Tz0bEax6N7xyET4n1ikBE1HfMy5dpqeCynMph82jIxqieMdGxhjDFglw106UWS83Ye05NZUaTHHSMRCiz01rLyoVH9/KGGcdXLhlNzwXS98AqkiWJ5aq8aBJg2WseLGXmFRnfBRU5dPIPPO8DK6xrXc3lyztXYG4ewGC3+6oSV2t3bVB0CGL22XGlyBzXgGF46Q2lM+ZXzTFzsRelVduHq3ryksBU5G7UzU7LGVUBFOAGO3dES3qgHs+FYbLlbADb5TQ+feyJvhdnSk/0n+p8HXrPZzLQIDAQAB','signing',1795618189274,NULL);
INSERT INTO "dkim_keys" VALUES(5,5,'pr202611x8je28','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC3KMpKZqpwPJZr
xZy/bD7xsK0zUTGRII32IpsJ/UzVnR3R0BH4rjGpbFRYk9jV1XKGLOlhesUVP9vQ
a9jGZF27tEbPfn4QOac4BvASW7cuv5sbrk5dEBNg7tVW2TGUadKyrCTUnzVQkYfT
1abKEWL10IqufRA2lYf05dNrLQQTC45r3Z5ran3NUza0UNOnJ4xxircWuMKOJwu9
QfA0Ogv3Ucu3buAHWPfNoRSGyFJ+fx5lxQ4D9D/dU6jAv0hSgFxlbRj6x0Vi/xgf
i4RbcfxaxgYFCDvVMNRSFo6z7dp3Fn2VyaukzYSe3N7f73qHse31ixV8wk3cNGhl
hiFQVRSRAgMBAAECggEAJTgTP2I0cUFGmdjavOVctxVdZMeziFeysVkf4zxHUEMw
q5GaDUwsiE6cpzFIB0/sCUr4E9h0UxiabPR1ZP9BMuLz3rdIG7jze4WhZEGh7EyA
UvQtNWkOXwy5aoARPKTybV9gzpoZpekkzk2kqnw0/VmmzMVaNZVWPtQzDZzkro+6
07yqNnqWf8PQ6DvBJ//ju53oMebsD94fL2CgUQs14AB0MR6ebTpiS+wvhSOJJKLm
Mm6t9nf+FMo3Kf1QOoAje7qRYZFh+znuGtAtulGkK7jgtIVTMLVp0rzIf4U+CgCL
7EgdJewDaTcFEGjdYEH6M6PKBk7USvkP1HX2FNMnKQKBgQDqpnD1MSyt+ZwFIM8K
vrs5ZuC7xSfUO5HTFeqsw2lHp425i0ijJKxyznWTyz1XZXsZ41uEEDPbE1A5Hbkv
LpkgXYjlfAETaE8xWSvzzBIPfLcMwgTIkY7K8HjL7tBbUlhz6tio+jztq1STZjuV
dVZrqkAEJ3YWH8m88xXUJPw0TQKBgQDH0wFq+LvgI/IUWNEK6gl3bisTg6OshGyV
TsZ7pRxVVYk555XOZUSP3vjXmpp/dAQHykd36xU5HAMmDEJ2mu79wFy+0dS6C8I5
XHDCO10l08hv2W54IvPAlOGpMqH1w0zYeGAGCggoqmGagHX9575G0QHkkitr8HwI
Hq3hho4TVQKBgEYIdx43Fwa1wQMmz6R9WJPBSMHCDikhvlwp5mi5yepA7+O41m0a
vP1m8WCzABPdjegkG2RHEbMJCKCDZonWdo1aXUlgwVFxiHFKE/wnpBxLNLbyEUtr
ZhrburHjDPy0jwHJzfBg/15QDGYR1Sa+ZpSrs3+J54yi4Csswg8XGs7hAoGAEy2r
SysITSDmERHdLmD7+5x1QfA2e05SZZoj7qYQLBiDjS0u8ZpClFRgKcFK5sSpxl2h
sl67sLmBi9tNXbjNC0m1HRNiiWCriXnX0KyF6iWDbUi/E4S3RFqFtgmIBeBytawH
+0xnMA/6QivmJzJgzscsmVV2GWwBW34mTijt5ekCgYBNOX1QkFutTnYOL9/E0Vfn
67l9dqNTVyXFhhlshL1K3eTRj8+T/qGc2cQzj7MM4KOPoM0yBjUT4nRaj0QPfss5
EZ3Hj63eAXA2aRunUKOEJfq14UyApNucvGKo0xXYGwJzZ0dKKPGEuqwgAxKdeHRB
DxRlfXnqKHqxgjWtRW/9Pg==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtyjKSmaqcDyWa8Wcv2w+8bCtM1ExkSCN9iKbCf1M1Z0d0dAR+K4xqWxUWJPY1dVyhizpYXrFFT/b0GvYxmRdu7RGz35+EDmnOAbwElu3Lr+bG65OXRATYO7VVtkxlGnSsqwk1J81UJGH09WmyhFi9dCKrn0QNpWH9OXTay0EEwuOa92ea2p9zVM2tFDTpyeMcYq3FrjCjicLvUHwNDoL91HLt27gB1j3zaEUhshSfn8eZcUOA/Q/3VOowL9IUoBcZW0Y+sdFYv8YH4uEW3H8WsYGBQg71TDUUhaOs+3adxZ9lcmrpM2Entze3+96h7Ht9YsVfMJN3DRoZYYhUFUUkQIDAQAB','signing',1795618190702,NULL);
INSERT INTO "dkim_keys" VALUES(6,5,'pr202611itk8al','-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQCeMOYQu9Ja/LjA
sAKs847oh8a0Chr+94Zaug5KlH+ZnWqLXoIRR3Ac74RO3adOBC/o7iacLn8x9Ly6
xrXuk9tzzFdp5OqHEAf93iB678yew/pSwRUa+D92/eiy8gcfmesGKie/SqMN1Gni
B0xKEaS+EqB+bzYhx0/AqpRNGa3P45C1BbKKpzU/xeQ2QrExbWviJUXlMWrLT6+a
aY0KiYdz080wVxZ8LdxDGtRsxCuTlZWyueKlJKDKJEM/bkNZfXbUEq7oh91JmP3v
hsLgZbZMZrL7hglf856At9TfW4UDJ9FZATB7A5feZqiZagCgspgx9MCzM4CQlYrb
4vXhaWg1AgMBAAECggEAFv0cMgpZg4d+geISQXgTqI8yvS9KxQrLp5uqQARclsJd
nWtak5BCJrJYE+36Rkgtfjg9vCy1p1jdpHcEMWujVKy5d1YhDwexYZ9KMRNwNRJd
6nDM1GKHNo+npXmut1Ty5q5xoEcEcxoPWR2eZJUzz7t9P2KCB16jpGglrR6yN6er
4bmYim6TkxYHYhpj7T0vamCK9bN0fvDXyr7VmfSfI3FjTj8fhYxOLDgKbXcYy4uk
pBfmSrYVI1RQVpGbtnrw2tM71REJ0kfFen36uSqhgLZqvtG7L8zYlV2TsfQWejeE
A/nMO9uTZQvfEB4tSylcNq8MNB0Hf961m6qdeLPD8QKBgQDWGtHkuSHUxj+VUhlB
EeswWj4RwWWOQjOrrb+WCv9JmmKp+A5ftDjWXI2HWvOiOYimaNx8dQIoC11jj4DS
Q1a6oG1KdQEuzUP+zvBvbMz0wYooBv1v1rRogIZH1q0owCJ0qqUmPzmg/nsEJS2m
o9KCMjALGW7cF2y764qv92k3HwKBgQC9JS7nnznz8ctErGuBxBaydRawzNtkezQi
JeZ88bfMvSaNx6XG5AYgOnbCOTuQRPcahI4YKtsw/ixhKzK6u99cdqCXFYg3e1JQ
rCjymdYvOnC3irkk1o0mrHyR4oShw48ISxJidhGXYdJfbYlL3fJF82x3ld1GQ3LZ
MlrSrFwaKwKBgQDSLmH+dv+PMU8Z9w5zonOPdAeaxpA7pyGyV07MrN8QEk7pLGpv
6Swiw5jsV4z0pCZRtn88bmE/jmiPZEDCKPjrHLItdc9Dcp5ddijyOYy6eYR25uXE
9LEGJaWswEIczwEEJsEZWtfoA+ofl5/JBumQhlRDkSQTS6uijwgG1oqjYQKBgQCo
scgitsWGR+omJq1/wDcKFRoWt68Y8DVwG2N1nlRym2UOYLj/KZI5HkubMFZqdsf4
866T6W0zRg6o31FQcI1nNzpFZePmr+ubneCrdv8rgjDT0jsMmvqrOn2j02a9q+Ae
4m3UOT+5R3rMt7ITYzFYqCHeimAe8bs18g5FBYrjnwKBgDU7eXeW25zip65UK1y2
i5xBji/wYIDRhfc7nX/EPSmljURVrvbfW4zWCwwWCDFkegSl61igeESojUxlC/bn
KOZoY3wd/W8L6bUqjxj3Z+i2zH1ItAaKaiiqBgGCyg0JjygtpQ9ifi8Bl4rFNP7Y
gY1wahE3fxgTaZivZYl85J7W
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnjDmELvSWvy4wLACrPOO6IfGtAoa/veGWroOSpR/mZ1qi16CEUdwHO+ETt2nTgQv6O4mnC5/MfS8usa17pPbc8xXaeTqhxAH/d4geu/MnsP6UsEVGvg/dv3osvIHH5nrBionv0qjDdRp4gdMShGkvhKgfm82IcdPwKqUTRmtz+OQtQWyiqc1P8XkNkKxMW1r4iVF5TFqy0+vmmmNComHc9PNMFcWfC3cQxrUbMQrk5WVsrnipSSgyiRDP25DWX121BKu6IfdSZj974bC4GW2TGay+4YJX/OegLfU31uFAyfRWQEwewOX3maomWoAoLKYMfTAszOAkJWK2+L14WloNQIDAQAB','next',1795618190737,1795618220737);
INSERT INTO "dkim_keys" VALUES(7,6,'pr202611v13ces','-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC1nvvFKmSLDa2j
Pa6mWa1wloLv6qGJGoZ6ZSH4NA8271+QpWbsF6vxeFGPKl2ccPNaW0I4r8HbiNq+
HfsBVKbROUN+9XEMr7ZoL5vapicint5yic9yDR29uKD5iu18GM79H/9vwzevbBPO
Dc+r32GEAL9mgbc7I5gqfHeSeD+015+Yh/bEmtzMcHTNmCdHzcGSGF+HwFZFGje9
4WknMLI5tbovdKfYv69uNbwLmA9CxzBhXWYYqASaab3z5wjoaTeMRjWLIggueimZ
6E9eFh4rcUxqH0tXG+a1J5i18xr5scrtcPy6aURp6zySb6cM5Z31uTD08q8QFxrC
Lwl9SovvAgMBAAECggEAQJutQZ7KhILZpYvwQKH/JmGMc69aRm0GsKygUGyoiujN
bKXCPrNPCce877po8ZlmoFp9bK/tPNzqv53nqDoGW8BMp/HFBPfO4jIpdbcMje7J
ACLRBmfvEAoJTawjvjUPERGcaxQdj4xZYUAdg60jwfMII316gpGvdFGxsYuQUhKW
UjzI3wHik12FJpO5nDUYvlJpHgIoHNjhFRU1vwDodrrjhG3WT/fbx4YEWh+oZ8S5
IyeVQLtQZLgnPFED3L5d9hQY4dRRO1v2cIaRcWgArvooIZ6tlNt7ylYj0fVV0Id7
WVOAH3YDWuEfcU+yBD4v6E9FzwmMGDH9PNxNg7mnqQKBgQDsqLZ4sKZzec2bc/qm
VPqVAMdwkrFL9ToouPp+KJSAPJqw004qjJaJ3H9TKuCSiGefMXesVBPSSZf7rAc+
9l0TGmWo2+gllG3TwJcGxQo9tH3LBrBSWosnpkJcvEJ9JAP4igKierSDGMe/qIkk
aOhDWFe9yhKEMUOBTdbfIg081wKBgQDEdsmGVnfHYwHkkNr3akx+3o2aUYTtrJSV
StXVcUZp9ixB1gWdqloRnlIYpps/938ONbyZJWVCBffvHCxpIBIef9VDAoYj8Nq+
MZd+s0kX9Maopw+Dvp3iGCLzLsvx1WEW8Bt1lfxlSdH3/gVq5TaRTIs2wketGX7w
QOj5wr9uqQKBgQCpR6zt+320j+WwUm9x1ss/FcWTEnrbmFe3lUkoQKKob7E+1obN
DK8Jgb1ZogvtBMEKL/ooPCPJgXbDQLQWJ2dAKNuaw2H0r403sETXRM4kgRyRwwEQ
h0+OVvCVINx2YvKsLxvfWOIR/AG1aDpg3uF0epaYXRiNkid1MFaIWPUbFQKBgCt5
NaLaY2rlh7eyLiHtjbvNN3xcaZPGSqK2ipbOmAw+gxCWcWuwFHotlHEL/PKsq5rT
XUZuNffkJjbs/w7MH/ZLxz8qwdAWLfFEPAe3WIdKjOMpBI/ckEdFnAY/5rU+yFsx
CoJ8i/tF2IaN2VkMG4UPcQbO+tlc+O/lDSinZYDxAoGAFPYM5LIANn73Vef1M0oV
HLrCUE0qZCpf0cphxghY82n+y/jcMOlgQ4wXCclWNsenU5wDq4Jj0kuaMvWTz9CP
nCxGWZrfr4EdBJ86IkqDDgV4kJXpp3m+9B4gJsYxgpfwoNg6e/tnZBvt5W38rZWW
+bkjX/wAKCs477A+sZU/Fak=
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtZ77xSpkiw2toz2uplmtcJaC7+qhiRqGemUh+DQPNu9fkKVm7Ber8XhRjypdnHDzWltCOK/B24javh37AVSm0TlDfvVxDK+2aC+b2qYnIp7econPcg0dvbig+YrtfBjO/R//b8M3r2wTzg3Pq99hhAC/ZoG3OyOYKnx3kng/tNefmIf2xJrczHB0zZgnR83Bkhhfh8BWRRo3veFpJzCyObW6L3Sn2L+vbjW8C5gPQscwYV1mGKgEmmm98+cI6Gk3jEY1iyIILnopmehPXhYeK3FMah9LVxvmtSeYtfMa+bHK7XD8umlEaes8km+nDOWd9bkw9PKvEBcawi8JfUqL7wIDAQAB','signing',1795618194680,NULL);
INSERT INTO "dkim_keys" VALUES(8,7,'pr202611pn9hf7','-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC8jelKrmS+s5Na
2JzBm4QvCiPo/FEPtF1gxX6ZzRAJX/bQyVo9TZejPFydmrajPDJZay+b+mAHqwIW
vMlNzZhDzp/W8M59E835k2prYu5ApwJCkW+mviOp6YBxT/SyJfSbJG9pCasEUyac
H5T6i6G1r3ONynIDsu1EP3Wx0DgZ12ehwaIF85OpKGJONasyl9cCYsLlaXADUH0X
qrQzhhiirQXjZD/Y9KdHjktgmbB72hfvb+7QKqTu3fJvBl85G2j9xKvlfwslmUj2
daVYk7d0xV3EFVZbGskySZ0VsXS5XjFt27nXyySvu5DHQr5zxMsIHXmsahBH7Zs/
xgW4y5aRAgMBAAECggEAQoK2d6rzi5dRk7qT9PFUG7myeBVEzMrdI20W3s7IaN4q
dHSKOdSceC6rJsbzxLnPst4N0bHsXNgUKQwX4DN1EfoZRNr1o4YwYmh/IfkoPLMM
p4mgvksUznM45P+Eu7CKy4z7JayM4D4qgOjdBtHpTWrh0nLGbAqaCjhuXjYqC+bk
nCb+l1FZVVsrGGU66cocWcNzIt7Z/enAQ9zv+s2pER9AA9T6N1oaR19X2cnY3QZM
TK1vUhuWosrcpGvoQR4xefJdqLS+jfwOztVHYh8N4qCe9ax4DynXliSVDdSwaS0c
E5Crv0peA29o4xBT7JTnWmuKPDnIAZgrga61WMt8vwKBgQD9/USB8MkyrHAVqKKg
/aO7PVFCaCvgWi69BFTl5AElCCENlLIozd8FfGb68O8YRCB/kVL2yxI2ZxbmkQKy
EC64Au7qPiqzZF68tD5jqLBrX0GXOt62yWYfe9dkNRXRY275L29DDSKxQuEwWW6k
CIJxiEiH9FNm7s2FdOZUTLcVcwKBgQC+DAikaAVVygvAp+VyuMP1MJpyq8i3gzfA
iKkWr8yq1vqV0jQRpYzeTSo2jLG/I1/+NACQe/8aZ1CEm6MYAXgPdHYBUQPr6NJx
3vAOB1J+zOGXoopC+T3rskqnMMvwhaEc6sqIdHJc3rRKQ9WFUk5e+jGR3zODC4dh
iKZUgzAC6wKBgCcucOkSuhcFHu1YbG4lcqKp3OU/qLUddGRYTLiCKeMKk/7CV5GP
4L256TEBBgFaUSEczA2iWhbmZFQBPsc1U9+zJCQinve5nhvCOnWpSj3mHfo0bLMJ
8qUct6ePwOPiUPZD6QgQ+K8bwB1zTmwjm+vjuDyw5kTUxgO2eum6Q+wdAoGAChjl
lKaaMfasLS4+eJvsfWh5rEIIRgfIvIgGQ9hPTXxij/c9IPrkwyLibUeIYhllDkKB
DSwpX6PBmWoTfkEFufx8EJHXXX9fPwGTS4uEDIyiJ8ZRBkHr0kwEv2FOVJck+j5X
SGy3bsu+VHvKKm03EMDGRXPQbtP7+2ihPbhCosUCgYAg3+fdPdCoVD4LJwEJY2kr
eJrU+cHCMHiktlR3jN0eDTAK4pL/J2tI0LkuaskpqBfxr05ggKT4tUfaeEDO2dXA
htNvdvs5c+P5P8fM/SblQ4bh6SlMJUR+GTgUnlqZY7OjpRfwWXMBXaF6czMC5Efs
M8BdT06dcdh9X5fhE320PA==
-----END PRIVATE KEY-----
','v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvI3pSq5kvrOTWticwZuELwoj6PxRD7RdYMV+mc0QCV/20MlaPU2XozxcnZq2ozwyWWsvm/pgB6sCFrzJTc2YQ86f1vDOfRPN+ZNqa2LuQKcCQpFvpr4jqemAcU/0siX0myRvaQmrBFMmnB+U+ouhta9zjcpyA7LtRD91sdA4GddnocGiBfOTqShiTjWrMpfXAmLC5WlwA1B9F6q0M4YYoq0F42Q/2PSnR45LYJmwe9oX72/u0Cqk7t3ybwZfORto/cSr5X8LJZlI9nWlWJO3dMVdxBVWWxrJMkmdFbF0uV4xbdu518skr7uQx0K+c8TLCB15rGoQR+2bP8YFuMuWkQIDAQAB','signing',1795618195838,NULL);
CREATE TABLE domain_checks (
  domain_id BIGINT PRIMARY KEY REFERENCES domains(id),
  due_at    BIGINT,            
  free_at   BIGINT NOT NULL,   
  failures  BIGINT NOT NULL    
);
INSERT INTO "domain_checks" VALUES(5,1795618220702,0,0);
INSERT INTO "domain_checks" VALUES(6,1795618224680,0,0);
CREATE TABLE domain_consents (
  parent_id  BIGINT NOT NULL REFERENCES domains(id),
  name       TEXT NOT NULL,   
  created_at BIGINT NOT NULL,
  PRIMARY KEY (parent_id, name)
);
INSERT INTO "domain_consents" VALUES(3,'shop.p1.test',1795618190739);
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
INSERT INTO "domains" VALUES(1,1,'operator','mail.postroom.test','active',1795618183389,1795618183389,'a6f53dca73aa67f9b845d7e8bc35c54f','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(2,2,NULL,'demo.test','active',1795618183389,1795618183389,'831d95a1206ab0f0f5f16646e2818b99','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(3,4,NULL,'p1.test','active',1795618185487,1795618185487,'17b5d54da4e77e055286736e2253ce66','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(4,6,'u 2','p2.test','active',1795618189274,1795618189274,'18bfd9fdb0c90f2ee5e9f3cc7fa775a6','operator',NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(5,4,'user_first','claim.example','pending',1795618190702,1795618190702,'b2f1cc954b2edb63c4f0069eb11d4648',NULL,1796222990702,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(6,4,NULL,'pending.test','pending',1795618194680,1795618194680,'62030e944495fdad396c8dc87aea3015',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "domains" VALUES(7,4,NULL,'suspended.test','suspended',1795618195838,1795618196930,'a337f9d4b51e258d06f55d22e4b927da','operator',NULL,NULL,NULL,NULL);
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
INSERT INTO "events" VALUES(1,1,'domain.created',NULL,1,'operator',NULL,NULL,NULL,'{"domain":"mail.postroom.test","status":"active"}',1795618183389);
INSERT INTO "events" VALUES(2,1,'account.created',1,1,'operator',NULL,NULL,NULL,'{"address":"postmaster@mail.postroom.test","status":"active"}',1795618183389);
INSERT INTO "events" VALUES(3,2,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":1,"prefix":"pr_btv4BPP","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795618183389);
INSERT INTO "events" VALUES(4,2,'domain.created',NULL,2,NULL,NULL,NULL,NULL,'{"domain":"demo.test","status":"active"}',1795618183389);
INSERT INTO "events" VALUES(5,4,'domain.created',NULL,3,NULL,NULL,NULL,NULL,'{"domain":"p1.test","status":"active"}',1795618185487);
INSERT INTO "events" VALUES(6,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_Y4l4R6x","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795618187794);
INSERT INTO "events" VALUES(7,6,'domain.created',NULL,4,'u 2',NULL,NULL,NULL,'{"domain":"p2.test","status":"active"}',1795618189274);
INSERT INTO "events" VALUES(8,6,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":3,"prefix":"pr_0ISl6gk","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"]}',1795618190295);
INSERT INTO "events" VALUES(9,4,'account.created',2,3,'user_first',2,'ff47967077109c31a4f4860a','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795618190496);
INSERT INTO "events" VALUES(10,4,'account.created',3,3,'user_second',2,'714556b428189524e5cffe70','127.0.0.1','{"address":"second@p1.test","status":"active"}',1795618190504);
INSERT INTO "events" VALUES(11,4,'account.created',4,3,'user_third',2,'0da815b4b849f0441d6e2ad8','127.0.0.1','{"address":"third@p1.test","status":"active"}',1795618190517);
INSERT INTO "events" VALUES(12,4,'account.created',5,3,'user_fourth',2,'c00721969367e7d0426779b1','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795618190521);
INSERT INTO "events" VALUES(13,4,'account.created',6,3,'user_fifth',2,'dee6b2f8a25ec10ad53c3fbc','127.0.0.1','{"address":"fifth@p1.test","status":"active"}',1795618190529);
INSERT INTO "events" VALUES(14,6,'account.created',7,4,'u 2',3,'1cde8f390fb9bbd7f23e384f','127.0.0.1','{"address":"sixth@p2.test","status":"active"}',1795618190541);
INSERT INTO "events" VALUES(15,4,'account.password_reset',2,3,'user_first',2,'58bd5961ab1c5366f6b128ec','127.0.0.1','{"address":"first@p1.test","status":"active"}',1795618190545);
INSERT INTO "events" VALUES(16,4,'account.suspended',3,3,'user_second',2,'63bef7d27f7e56f478bb0557','127.0.0.1','{"address":"second@p1.test","status":"suspended"}',1795618190548);
INSERT INTO "events" VALUES(17,4,'account.disabled',4,3,'user_third',2,'b1d8901a2c85fddf9d573fbe','127.0.0.1','{"address":"third@p1.test","status":"disabled"}',1795618190552);
INSERT INTO "events" VALUES(18,4,'account.deleted',5,3,'user_fourth',2,'60feac48c8956bb917378f6e','127.0.0.1','{"address":"fourth@p1.test","status":"active"}',1795618190556);
INSERT INTO "events" VALUES(19,4,'domain.created',NULL,5,'user_first',2,'c451acc8bc667a322b8ab4be','127.0.0.1','{"domain":"claim.example","status":"pending"}',1795618190702);
INSERT INTO "events" VALUES(20,4,'domain.dkim_rotated',NULL,5,'user_first',2,'bc007cad436f3c88e2b0ed2c','127.0.0.1','{"domain":"claim.example","selector":"pr202611itk8al"}',1795618190737);
INSERT INTO "events" VALUES(21,4,'domain.consented',NULL,3,NULL,2,'1b79a04643a59882ce19e918','127.0.0.1','{"domain":"p1.test","subdomain":"shop.p1.test"}',1795618190739);
INSERT INTO "events" VALUES(22,4,'key.created',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":4,"prefix":"pr_s2d9QuE","scopes":["accounts:read","accounts:write","domains:read","domains:write","keys:read","keys:write","events:read","stats:read","metrics:read","limits:write"],"domains":["p1.test"],"networks":["192.0.2.0/24"]}',1795618191681);
INSERT INTO "events" VALUES(23,4,'key.revoked',NULL,NULL,NULL,NULL,NULL,NULL,'{"key_id":2,"prefix":"pr_Y4l4R6x"}',1795618192608);
INSERT INTO "events" VALUES(24,4,'limits.changed',NULL,NULL,'user_first',NULL,NULL,NULL,'{"domains":null,"accounts":100,"accounts_per_domain":null}',1795618193624);
INSERT INTO "events" VALUES(25,4,'domain.created',NULL,6,NULL,NULL,NULL,NULL,'{"domain":"pending.test","status":"pending"}',1795618194680);
INSERT INTO "events" VALUES(26,4,'domain.created',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","status":"active"}',1795618195838);
INSERT INTO "events" VALUES(27,4,'domain.suspended',NULL,7,NULL,NULL,NULL,NULL,'{"domain":"suspended.test","from":"active","to":"suspended"}',1795618196930);
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
CREATE TABLE organizations (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);
INSERT INTO "organizations" VALUES(1,'operator',1795618183389);
INSERT INTO "organizations" VALUES(2,'demo',1795618183389);
INSERT INTO "organizations" VALUES(4,'platform 1',1795618185487);
INSERT INTO "organizations" VALUES(6,'platform 2',1795618189274);
CREATE TABLE schema_migrations (
  name       TEXT PRIMARY KEY,
  checksum   TEXT NOT NULL,
  applied_at BIGINT NOT NULL
);
INSERT INTO "schema_migrations" VALUES('0001_start.sql','d4e9753357ca37cda2bc7c2aa4a992d6f1ba2a8841de8d585043786c718125e7',1795618183377);
INSERT INTO "schema_migrations" VALUES('0002_keys.sql','31c30996ac65af16edac359574f5b37cad674f93ec4c7f472a67022359dbe11a',1795618183377);
INSERT INTO "schema_migrations" VALUES('0003_limits.sql','79f21bd0dac65b24d1ef91daacf8d94c9ae00a902c870b4248d8764db0fbde8d',1795618183377);
INSERT INTO "schema_migrations" VALUES('0004_claims.sql','ca6b5ade06ec28a325a0efa7478657b2cdf9fe0e5ae78f25801e03c35e37499d',1795618183377);
INSERT INTO "schema_migrations" VALUES('0005_checks.sql','72a2b0e0f12f5bd28c06e24418fae44c97ed00cfebe6a3fca52c7c3b0d8e5e65',1795618183377);
INSERT INTO "schema_migrations" VALUES('0006_dkim.sql','129ea1b819dadd470088ade423f55ac7a7ce63da965b02a4ac16a678e1927aae',1795618183377);
INSERT INTO "schema_migrations" VALUES('0007_idempotency.sql','7c128d08a32c91e422f4f2d0df707420d2a434c9693e36d612374ba450e2f91c',1795618183377);
INSERT INTO "schema_migrations" VALUES('0008_purge.sql','70f79e0a9228af0a5de603a96be6e9ded3a9c88818ebda87690e8556ab48a8b9',1795618183377);
INSERT INTO "schema_migrations" VALUES('0010_console_sessions.sql','6e3849578e4d6392c33a09ddb976541c873388dfea23d3c7ee1c0356013244bb',1795618183377);
INSERT INTO "schema_migrations" VALUES('0012_leases.sql','8eda021a71b804308e8166d11ee8759fe6bec17a7fd658f055a29dc903b213e8',1795618183377);
INSERT INTO "schema_migrations" VALUES('0014_key_families.sql','7cc463395d45b10e1f5b7939d7ec79562cafce08ab2842b3dc3c27e97cb98512',1795618183377);
INSERT INTO "schema_migrations" VALUES('mail_views.sql','2bed767e09559a8c9c1ae46df07f554a49d46be78d8f2c17d0cf520720a9f5d3',1795618183377);
CREATE TABLE session_endings (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  due_at     BIGINT NOT NULL
, late BIGINT NOT NULL DEFAULT 0);
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
