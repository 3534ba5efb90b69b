-- A move that is to end where it began: the source takes it back, and the target erases what it has got of it, each
-- when it is there.

ALTER TABLE account_moves ADD COLUMN cancelled BIGINT NOT NULL DEFAULT 0;

CREATE TABLE node_leftovers (
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  node_id    BIGINT NOT NULL REFERENCES nodes(id),
  PRIMARY KEY (node_id, account_id)
);

-- Until now a phase, in which the account could not move anywhere before the target was back.
INSERT INTO node_leftovers (account_id, node_id)
SELECT account_id, target FROM account_moves WHERE phase = 'cancelled';
DELETE FROM account_moves WHERE phase = 'cancelled';
