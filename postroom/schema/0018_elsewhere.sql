-- Since when the DNS of an active domain leads elsewhere, without our proof: for long enough, the domain is lost. NULL: it
-- does not, or the DNS did not say.

ALTER TABLE domains ADD COLUMN elsewhere_at BIGINT;
