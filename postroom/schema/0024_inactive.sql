-- Accounts that are suspended or disabled: usually few, so that these indexes are small and a new account is in none of
-- them. They let a list of them be as fast among a million active accounts as among ten.
CREATE INDEX accounts_inactive_organization ON accounts (organization_id, status, id)
  WHERE deleted_at IS NULL AND status <> 'active';
CREATE INDEX accounts_inactive_user ON accounts (organization_id, user_id, status, id)
  WHERE deleted_at IS NULL AND status <> 'active';
CREATE INDEX accounts_inactive_domain ON accounts (domain_id, status, id)
  WHERE deleted_at IS NULL AND status <> 'active';
CREATE INDEX accounts_inactive_domain_user ON accounts (domain_id, user_id, status, id)
  WHERE deleted_at IS NULL AND status <> 'active';
CREATE INDEX accounts_inactive_address ON accounts (organization_id, status, address, id)
  WHERE deleted_at IS NULL AND status <> 'active';
