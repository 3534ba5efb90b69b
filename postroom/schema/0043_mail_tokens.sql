-- Mail tokens, each stored as the SHA-256 of its secret. A token stands for its key and one user, and never for more.
CREATE TABLE mail_tokens (
  id              {identity},
  organization_id BIGINT NOT NULL REFERENCES organizations(id),
  key_id          BIGINT NOT NULL REFERENCES api_keys(id),
  user_id         TEXT NOT NULL,
  account_id      BIGINT REFERENCES accounts(id),  -- the only account that the token opens; NULL: those of the user
  digest          TEXT NOT NULL UNIQUE,
  scopes          TEXT NOT NULL,
  created_at      BIGINT NOT NULL,
  expires_at      BIGINT NOT NULL
);
CREATE INDEX mail_tokens_user ON mail_tokens (organization_id, user_id, id);
CREATE INDEX mail_tokens_key ON mail_tokens (key_id);
CREATE INDEX mail_tokens_expiry ON mail_tokens (expires_at);

-- The accounts that a token opens, each as long as the account has this generation.
CREATE TABLE mail_token_accounts (
  token_id   BIGINT NOT NULL REFERENCES mail_tokens(id) ON DELETE CASCADE,
  account_id BIGINT NOT NULL REFERENCES accounts(id),
  generation BIGINT NOT NULL,
  PRIMARY KEY (token_id, account_id)
);
CREATE INDEX mail_token_accounts_account ON mail_token_accounts (account_id);
