-- What the nodes know each other by. Each node makes its own key, which never leaves its machine; the others believe the
-- certificates that stand here. More than one of a node: while it takes a new one into use.

CREATE TABLE node_certificates (
  id          {identity},
  node_id     BIGINT NOT NULL REFERENCES nodes(id),
  certificate TEXT NOT NULL,  -- PEM
  secret      TEXT,           -- what the nodes' doveadm asks for, sealed for the key of this certificate
  created_at  BIGINT NOT NULL
);
CREATE INDEX node_certificates_node ON node_certificates (node_id);

-- The last certificate that this node knows of, by number; 0 while it does not run.
ALTER TABLE nodes ADD COLUMN trusts BIGINT NOT NULL DEFAULT 0;

-- Whoever read this key could make certificates that all nodes believed.
DROP TABLE node_authority;
