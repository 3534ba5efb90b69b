-- What is sent to webhooks. No table here refers to `webhooks` by a foreign key: a webhook is
-- deleted at once, and the worker then removes these rows in steps (decision 0296).

-- An event for a webhook. A delivery that failed for good, and one that arrived, stay for some days.
CREATE TABLE webhook_deliveries (
  id               {identity},
  organization_id  BIGINT NOT NULL REFERENCES organizations(id),
  webhook_id       BIGINT NOT NULL,
  source_kind      TEXT NOT NULL,          -- the table that source_id is of: 'event'
  source_id        BIGINT NOT NULL,
  type             TEXT NOT NULL,
  status           TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
  attempts         BIGINT NOT NULL DEFAULT 0,
  retry            BIGINT NOT NULL DEFAULT 0,   -- the retries of the schedule that are used up
  next_at          BIGINT,                 -- when the next attempt is due; NULL unless pending
  last_status_code BIGINT,
  last_error       TEXT,
  duration_ms      BIGINT,
  created_at       BIGINT NOT NULL,
  ended_at         BIGINT                  -- NULL while pending
);
CREATE UNIQUE INDEX webhook_deliveries_source ON webhook_deliveries (webhook_id, source_kind, source_id);
CREATE INDEX webhook_deliveries_page ON webhook_deliveries (webhook_id, status, id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, next_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_needed ON webhook_deliveries (source_kind, source_id) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (status, ended_at) WHERE ended_at IS NOT NULL;

-- One row per webhook that has had a delivery: when a worker must look at the webhook, and which
-- lanes a worker has at the moment.
CREATE TABLE webhook_lanes (
  webhook_id   BIGINT PRIMARY KEY,
  failing      BIGINT NOT NULL DEFAULT 0,  -- 1: the last attempt failed; such lanes have slots of their own
  due_at       BIGINT,                     -- NULL: nothing is pending; of a leased lane, the end of the lease
  leased_until BIGINT NOT NULL DEFAULT 0,
  node_id      BIGINT NOT NULL DEFAULT 0   -- whose worker leased the lane last (0: an installation of one machine)
);
CREATE INDEX webhook_lanes_due ON webhook_lanes (failing, due_at);

-- Up to which event deliveries were made (id 1).
CREATE TABLE webhook_cursors (
  id       BIGINT PRIMARY KEY,
  event_id BIGINT NOT NULL
);

CREATE INDEX webhooks_active ON webhooks (after_event_id) WHERE status = 'active';
