-- Who knows the password: Postroom generated it, a person chose it, or its hash came from another system (imported).
ALTER TABLE accounts ADD COLUMN password_scheme TEXT DEFAULT 'generated';
UPDATE accounts SET password_scheme = 'chosen' WHERE password LIKE '{ARGON2ID}%';

-- Accounts whose password was not generated. A new account with a generated password is in none of these indexes.
CREATE INDEX accounts_scheme_organization ON accounts (organization_id, password_scheme, id)
  WHERE deleted_at IS NULL AND password_scheme <> 'generated';
CREATE INDEX accounts_scheme_user ON accounts (organization_id, user_id, password_scheme, id)
  WHERE deleted_at IS NULL AND password_scheme <> 'generated';
CREATE INDEX accounts_scheme_domain ON accounts (domain_id, password_scheme, id)
  WHERE deleted_at IS NULL AND password_scheme <> 'generated';
