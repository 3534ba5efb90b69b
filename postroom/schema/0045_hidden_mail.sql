-- A link to a message names the place to which the message was delivered.
DROP INDEX received_messages_account;
CREATE INDEX received_messages_place ON received_messages (account_id, uidvalidity, uid);

-- Bytes of mail that a hidden account holds.
UPDATE accounts SET quota_bytes = 20000000000 WHERE id IN (SELECT account_id FROM hidden_accounts);
