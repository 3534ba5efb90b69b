"""Routes: how inbound mail to a domain is handled. Mail is always stored; a route may also send
each message to a URL, with a webhook of its own (decision 0312), and in the mode `webhook` it keeps
no message that has arrived there (decision 0313).

Only a PUT of the route changes the URL of its webhook. While the domain is pending, as after
another organization has proven it, nothing is sent.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.accounts import hidden_accounts
from postroom.actor import Actor
from postroom.cluster import digest_keys
from postroom.db import Tx
from postroom.domains.commands import Domain
from postroom.errors import FieldError, Refused, invalid
from postroom.instance import digest_key
from postroom.webhooks import lanes, secrets, urls, webhooks
from postroom.webhooks.received_messages import RECEIVED

ForwardMode = Literal["store", "webhook", "webhook_then_store"]

GET = """
SELECT id, forward_mode, url, status FROM webhooks
WHERE domain_id = :domain_id AND organization_id = :organization AND forward_mode IS NOT NULL"""
# A PUT of the route makes the webhook as new: its key is that of the PUT, and nothing has failed.
PUT = """
INSERT INTO webhooks (organization_id, key_id, url, events, user_id, domain_id, status, secret, after_event_id,
  messages_since, forward_mode, created_at, updated_at)
VALUES (:organization, :key_id, :url, :events, :user_id, :domain_id, 'active', :secret, :after_event_id, :now,
  :forward_mode, :now, :now)
ON CONFLICT (domain_id) WHERE forward_mode IS NOT NULL DO UPDATE
SET key_id = excluded.key_id, url = excluded.url, secret = COALESCE(:new_secret, webhooks.secret),
  former_secret = CASE WHEN CAST(:new_secret AS TEXT) IS NULL THEN webhooks.former_secret END,
  forward_mode = excluded.forward_mode, status = 'active', disabled_reason = NULL, failures = 0, failing_since = NULL,
  probe_at = NULL, updated_at = excluded.updated_at,
  messages_since = CASE webhooks.status WHEN 'active' THEN webhooks.messages_since ELSE excluded.messages_since END,
  after_event_id = CASE webhooks.status WHEN 'active' THEN webhooks.after_event_id ELSE excluded.after_event_id END
RETURNING id"""
DELETE = """
DELETE FROM webhooks WHERE domain_id = :domain_id AND organization_id = :organization AND forward_mode IS NOT NULL
RETURNING id, url"""


class Route(msgspec.Struct, frozen=True):
    """How mail to a domain is handled. `webhook_url` is None for `store`."""

    forward_mode: ForwardMode = "store"
    webhook_url: str | None = None


class SetRoute(msgspec.Struct, frozen=True):
    """A parsed request: the URL is valid, and the secret has the form of one. UNSET leaves them as
    they are."""

    forward_mode: ForwardMode
    webhook_url: str | UnsetType = UNSET
    webhook_secret: str | UnsetType = UNSET


def get(tx: Tx, domain: Domain) -> Route:
    """Returns the route of a domain."""
    row = tx.one(GET, domain_id=domain.id, organization=domain.organization_id)
    return Route() if row is None else Route(row[1], row[2])


def change(tx: Tx, actor: Actor, domain: Domain, command: SetRoute, key: str) -> tuple[Route, str | None]:
    """Sets the route of a domain that the actor may change. Returns the route, and the secret of
    its webhook if one was made, which cannot be read again. `key` is that of the digests.

    Raises `forbidden` (the actor may not read mail), `invalid_request` (no URL), `unauthorized`
    (the actor's key has just ended), `not_available` (a host with another key), Busy (no node takes
    accounts).
    """
    old = get(tx, domain)
    if command.forward_mode == "store":
        _end(tx, actor, domain)
        return Route(), None
    if "messages:read" not in actor.scopes:
        raise Refused("forbidden", "A webhook gets the mail: use a key that also has the scope messages:read.")
    url = old.webhook_url if command.webhook_url is UNSET else command.webhook_url
    if url is None:
        raise invalid(FieldError("webhook_url", "required", "Send the URL that gets the mail."))
    webhooks.lock_key(tx, actor)
    digest_keys.check(tx, digest_key.fingerprint(key))
    secret = None if command.webhook_secret is UNSET else command.webhook_secret
    made = secrets.make() if secret is None and old.webhook_url is None else None
    _put(tx, actor, domain, command.forward_mode, url, secrets.seal(key, found) if (found := secret or made) else None)
    if command.forward_mode == "webhook":
        hidden_accounts.ensure(tx, domain)
    new = Route(command.forward_mode, url)
    if new != old or secret is not None:
        _record(tx, actor, domain, new)
    return new, made


def _put(tx: Tx, actor: Actor, domain: Domain, forward_mode: ForwardMode, url: str, sealed: str | None) -> None:
    row = tx.one(
        PUT,
        organization=domain.organization_id,
        key_id=actor.key_id,
        url=url,
        events=f'["{RECEIVED}"]',
        user_id=domain.user_id,
        domain_id=domain.id,
        secret=sealed or "",  # an update without a new secret keeps the present one
        new_secret=sealed,
        after_event_id=webhooks.newest_event(tx, actor),
        forward_mode=forward_mode,
        now=tx.now,
    )
    if row is not None:
        lanes.wake(tx, row[0])


def _end(tx: Tx, actor: Actor, domain: Domain) -> None:
    row = tx.one(DELETE, domain_id=domain.id, organization=domain.organization_id)
    if row is not None:
        lanes.wake(tx, row[0])
        _record(tx, actor, domain, Route())


def _record(tx: Tx, actor: Actor, domain: Domain, route: Route) -> None:
    """Events name the host only, because the rest of a URL may be a secret."""
    data = {"domain": domain.name, "forward_mode": route.forward_mode}
    if route.webhook_url is not None:
        data["host"] = urls.host_of(route.webhook_url)
    events.record(tx, actor, "domain.route_changed", domain_id=domain.id, user_id=domain.user_id, data=data)
