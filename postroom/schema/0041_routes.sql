-- How the route of a domain handles mail, of the webhook that the route made; NULL: no route made it.
ALTER TABLE webhooks ADD COLUMN forward_mode TEXT CHECK (forward_mode IN ('webhook', 'webhook_then_store'));
CREATE UNIQUE INDEX webhooks_route ON webhooks (domain_id) WHERE forward_mode IS NOT NULL;
