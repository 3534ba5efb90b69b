-- Several machines on one database. Without a row in `nodes` there is one machine, and the other tables are empty.

CREATE TABLE nodes (
  id         {identity},
  name       TEXT NOT NULL UNIQUE,
  address    TEXT NOT NULL,             -- at which the other nodes reach it
  port       BIGINT NOT NULL,           -- the first of three there: mail, the ending of sessions, copies
  founder    BIGINT NOT NULL,           -- 1: the machine that was there before there were nodes
  draining   BIGINT NOT NULL DEFAULT 0, -- 1: takes no new accounts
  created_at BIGINT NOT NULL,
  -- What the node itself writes down when it starts, and while it runs.
  folder     TEXT,                      -- the data directory that has its mail, by a number that stands in it
  imaps_port BIGINT,
  pop3s_port BIGINT,
  sieve_port BIGINT,
  seen_at    BIGINT
);

-- Where the mail of an account is, for as long as there is any.
CREATE TABLE account_homes (
  account_id BIGINT PRIMARY KEY REFERENCES accounts(id),
  node_id    BIGINT NOT NULL REFERENCES nodes(id)
);
CREATE INDEX account_homes_node ON account_homes (node_id, account_id);

-- How many accounts a node has, in shards: whoever makes an account holds one of them until the commit.
CREATE TABLE node_loads (
  node_id  BIGINT NOT NULL REFERENCES nodes(id),
  shard    BIGINT NOT NULL,
  accounts BIGINT NOT NULL,
  PRIMARY KEY (node_id, shard)
);

-- The authority that the nodes know each other by. The role of the mail daemons cannot read it.
CREATE TABLE node_authority (
  id          BIGINT PRIMARY KEY CHECK (id = 1),
  certificate TEXT NOT NULL,
  private_key TEXT NOT NULL
);

-- Accounts on their way to another node.
CREATE TABLE account_moves (
  account_id  BIGINT PRIMARY KEY REFERENCES accounts(id),
  source      BIGINT NOT NULL REFERENCES nodes(id),
  target      BIGINT NOT NULL REFERENCES nodes(id),
  phase       TEXT NOT NULL CHECK (phase IN ('copy', 'frozen', 'clean', 'cancelled')),
  messages    BIGINT NOT NULL DEFAULT 0,
  copied      BIGINT NOT NULL DEFAULT 0,
  reason      TEXT,                     -- why it has not gone on, the last time
  created_at  BIGINT NOT NULL
);
CREATE INDEX account_moves_source ON account_moves (source);
CREATE INDEX account_moves_target ON account_moves (target);
