"""Webhooks: where an organization's events are sent, and the secret that signs them.

A key that is bound to a user or to domains makes and sees webhooks that are bound likewise. A
webhook belongs to the key that made it or last gave it its URL: when this key is revoked, the
webhook is disabled (decision 0289). Events about webhooks name the host of the URL only, because
the rest of a URL may be a secret.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.accounts import commands as accounts
from postroom.actor import Actor
from postroom.auth import keys
from postroom.cluster import digest_keys
from postroom.db import Row, Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError, LimitReached, Refused, invalid, not_found
from postroom.instance import digest_key
from postroom.webhooks import lanes, secrets, urls
from postroom.webhooks.received_messages import RECEIVED

Status = Literal["active", "disabled"]

# Largest number of webhooks of an organization, and of those for one user or one domain, so that
# the keys of a user or a domain leave room for others.
MOST, MOST_BOUND = 1000, 20
# How long a former secret signs beside the new one, in milliseconds.
FORMER_MS = 24 * 3600 * 1000

FIELDS = """
id, url, events, user_id, domain_id, (SELECT name FROM domains WHERE domains.id = webhooks.domain_id) AS domain,
  account_id, forward_mode, description, status, disabled_reason, former_until, last_success_at, failing_since,
  created_at, updated_at"""
# A webhook without a user gets the events of all, so a key that is bound to a user does not see it.
SEEN = """
organization_id = :organization AND COALESCE(user_id, '') = COALESCE(:user_id, user_id, '')
  AND (CAST(:bound AS BIGINT) IS NULL
    OR domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
COUNT = """
SELECT COUNT(*), COUNT(CASE WHEN user_id = :user_id THEN 1 END), COUNT(CASE WHEN domain_id = :domain_id THEN 1 END)
FROM webhooks WHERE organization_id = :organization"""
NEWEST_EVENT = "SELECT COALESCE(MAX(id), 0) FROM events WHERE organization_id = :organization"
INSERT = f"""
INSERT INTO webhooks (organization_id, key_id, url, events, user_id, domain_id, account_id, description, status,
  secret, after_event_id, messages_since, created_at, updated_at)
VALUES (:organization, :key_id, :url, :events, :user_id, :domain_id, :account_id, :description, 'active', :secret,
  :after_event_id, :messages_since, :now, :now)
RETURNING {FIELDS}"""
GET = f"SELECT {FIELDS} FROM webhooks WHERE id = :id AND {SEEN}"
PAGE = f"SELECT {FIELDS} FROM webhooks WHERE {SEEN} AND id > :after ORDER BY id LIMIT :limit OFFSET :offset"
# An update that changes nothing locks the webhook.
LOCK = f"UPDATE webhooks SET updated_at = updated_at WHERE id = :id AND {SEEN} RETURNING {FIELDS}"
UPDATE = f"""
UPDATE webhooks SET url = :url, events = :events, description = :description, updated_at = :now
WHERE id = :id AND organization_id = :organization RETURNING {FIELDS}"""
# As a new webhook, which belongs to this key.
RENEW = f"""
UPDATE webhooks SET key_id = :key_id, status = :status, disabled_reason = :disabled_reason, failures = 0,
  failing_since = NULL, probe_at = NULL
WHERE id = :id AND organization_id = :organization RETURNING {FIELDS}"""
# Mail that was delivered from now on, or no mail.
RECEIVE = "UPDATE webhooks SET messages_since = :messages_since WHERE id = :id AND organization_id = :organization"
SKIP = "UPDATE webhooks SET after_event_id = :after_event_id WHERE id = :id AND organization_id = :organization"
ROTATE = f"""
UPDATE webhooks SET former_secret = secret, former_until = :former_until, secret = :secret, updated_at = :now
WHERE id = :id AND {SEEN} RETURNING {FIELDS}"""
DELETE = f"DELETE FROM webhooks WHERE id = :id AND {SEEN} RETURNING {FIELDS}"
DISABLE = f"""
UPDATE webhooks SET status = 'disabled', disabled_reason = :disabled_reason, updated_at = :now
WHERE id = :id AND organization_id = :organization AND status = 'active' RETURNING {FIELDS}"""
OF_KEY = """
SELECT id FROM webhooks WHERE key_id = :key_id AND +organization_id = :organization AND status = 'active' ORDER BY id"""


class Webhook(msgspec.Struct, frozen=True):
    """A webhook, without its secrets. Times are in milliseconds since 1970 UTC. `user_id`, `domain`
    and `account_id` are None where it gets the events of all; `former_secret_ends_at` is None while
    no former secret signs. `forward_mode` is that of the route that made the webhook (routes.py),
    which alone changes its URL, its events and its secret."""

    id: int
    url: str
    events: tuple[str, ...]
    user_id: str | None
    domain_id: int | None
    domain: str | None
    account_id: int | None
    forward_mode: Literal["webhook", "webhook_then_store"] | None
    description: str | None
    status: Status
    disabled_reason: str | None
    former_secret_ends_at: int | None
    last_success_at: int | None
    failing_since: int | None
    created_at: int
    updated_at: int


class CreateWebhook(msgspec.Struct, frozen=True):
    """A parsed request: the URL and the patterns are valid, and the domain is in its canonical
    spelling."""

    url: str
    events: tuple[str, ...]
    domain: str | None = None
    account_id: int | None = None
    description: str | None = None


class UpdateWebhook(msgspec.Struct, frozen=True):
    """A parsed request: the URL and the patterns are valid. UNSET leaves a field as it is.
    `activate` ends a disabling."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    activate: bool = False


def create(tx: Tx, actor: Actor, user_id: str | None, command: CreateWebhook, key: str) -> tuple[Webhook, str]:
    """Makes a webhook, which gets the events and the mail from now on. Returns the webhook and its
    secret, which cannot be read again. `key` is that of the digests.

    Raises `forbidden` (the actor may not read events, or mail), not_found (a domain or an account
    that the actor does not see), `invalid_request` (an actor that is bound to domains names none),
    `unauthorized` (the actor's key has just ended), `limit_reached`, `not_available` (a host with
    another key).
    """
    _check_scopes(actor, command.events)
    lock_key(tx, actor)
    digest_keys.check(tx, digest_key.fingerprint(key))
    if actor.restricted_key_id is not None and command.domain is None:
        raise invalid(FieldError("domain", "required", "Your key is bound to domains: name one of them."))
    domain_id = None if command.domain is None else domains.get(tx, actor, command.domain, user_id).id
    if command.account_id is not None:
        account = accounts.get(tx, actor, command.account_id, user_id)
        if domain_id not in (None, account.domain_id):
            raise not_found()
    _check_room(tx, actor, user_id, domain_id)
    secret = secrets.make()
    made = _insert(tx, actor, user_id, domain_id, command, secrets.seal(key, secret))
    _record(tx, actor, "webhook.created", made, events=made.events)
    return made, secret


def _insert(
    tx: Tx, actor: Actor, user_id: str | None, domain_id: int | None, command: CreateWebhook, sealed: str
) -> Webhook:
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        key_id=actor.key_id,
        url=command.url,
        events=_encode(command.events),
        user_id=user_id,
        domain_id=domain_id,
        account_id=command.account_id,
        description=command.description,
        secret=sealed,
        after_event_id=newest_event(tx, actor),
        messages_since=tx.now if RECEIVED in command.events else None,
        now=tx.now,
    )
    return _one(row)


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Webhook:
    """Returns a webhook that the actor sees. Raises not_found."""
    return _as_of_now(tx, _one(tx.one(GET, **_seen(actor, user_id), id=id_)))


def page(tx: Tx, actor: Actor, user_id: str | None, *, after: int = 0, limit: int, offset: int = 0) -> list[Webhook]:
    """Returns webhooks ordered by id after a cursor (0: from the start)."""
    rows = tx.all(PAGE, **_seen(actor, user_id), after=after, limit=limit, offset=offset)
    return [_as_of_now(tx, _from_row(row)) for row in rows]


def update(tx: Tx, actor: Actor, id_: int, user_id: str | None, command: UpdateWebhook) -> Webhook:
    """Changes a webhook. With a new URL, or active again, it belongs to the actor's key and has not
    failed yet; active again, it gets the events from now on. Raises not_found, `forbidden` (as for
    create), `unauthorized`."""
    lock_key(tx, actor)
    old = _one(tx.one(LOCK, **_seen(actor, user_id), id=id_))
    if command.url is not UNSET or command.events is not UNSET:
        _check_made_alone(old)
    sent = {"url": command.url, "events": command.events, "description": command.description}
    new = msgspec.structs.replace(old, **{name: value for name, value in sent.items() if value is not UNSET})
    if command.activate:
        new = msgspec.structs.replace(new, status="active", disabled_reason=None)
    changed = [name for name in (*sent, "status") if getattr(new, name) != getattr(old, name)]
    if not changed:
        return _as_of_now(tx, old)
    key = {"id": id_, "organization": actor.organization_id}
    if "status" in changed:
        tx.run(SKIP, **key, after_event_id=newest_event(tx, actor))
    if changed != ["description"]:
        _check_scopes(actor, new.events)
    is_received = RECEIVED in new.events
    if is_received != (RECEIVED in old.events) or (is_received and "status" in changed):
        tx.run(RECEIVE, **key, messages_since=tx.now if is_received else None)
    if "url" in changed or "status" in changed:
        tx.run(RENEW, **key, key_id=actor.key_id, status=new.status, disabled_reason=new.disabled_reason)
        lanes.wake(tx, id_)
    written = {"url": new.url, "events": _encode(new.events), "description": new.description, "now": tx.now}
    made = _one(tx.one(UPDATE, **key, **written))
    _record(tx, actor, "webhook.updated", made, changed=changed, events=made.events)
    return _as_of_now(tx, made)


def rotate(tx: Tx, actor: Actor, id_: int, user_id: str | None, key: str) -> tuple[Webhook, str]:
    """Gives a webhook a new secret; the present one signs beside it for FORMER_MS, and one before
    that no more. Returns the webhook and the new secret, which cannot be read again. Raises
    not_found, `not_available` (a host with another key)."""
    digest_keys.check(tx, digest_key.fingerprint(key))
    secret = secrets.make()
    written = {"secret": secrets.seal(key, secret), "former_until": tx.now + FORMER_MS, "now": tx.now}
    made = _one(tx.one(ROTATE, **_seen(actor, user_id), id=id_, **written))
    _check_made_alone(made)
    _record(tx, actor, "webhook.secret_rotated", made)
    return made, secret


def delete(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> Webhook:
    """Deletes a webhook: nothing is sent to it any more. That of a route ends the route. Raises
    not_found."""
    gone = _one(tx.one(DELETE, **_seen(actor, user_id), id=id_))
    lanes.wake(tx, id_)
    _record(tx, actor, "webhook.deleted", gone)
    return gone


def disable(tx: Tx, actor: Actor, id_: int, reason: str) -> bool:
    """Disables a webhook of the actor's organization: nothing is sent to it any more. Returns False
    if there is no such webhook, or it was disabled before."""
    row = tx.one(DISABLE, id=id_, organization=actor.organization_id, disabled_reason=reason, now=tx.now)
    if row is None:
        return False
    lanes.wake(tx, id_)
    _record(tx, actor, "webhook.disabled", _from_row(row), reason=reason)
    return True


def disable_of_keys(tx: Tx, actor: Actor, key_ids: Iterable[int]) -> int:
    """Disables the webhooks of keys that are being revoked. Returns their number."""
    found = [row[0] for id_ in key_ids for row in tx.all(OF_KEY, key_id=id_, organization=actor.organization_id)]
    return sum(disable(tx, actor, id_, "key_revoked") for id_ in sorted(found))


def _check_scopes(actor: Actor, patterns: tuple[str, ...]) -> None:
    """Raises `forbidden` for a key that may not read what a webhook would send to its URL: the
    events, and the mail."""
    if "events:read" not in actor.scopes:
        raise Refused("forbidden", "A webhook sends events: use a key that also has the scope events:read.")
    if RECEIVED in patterns and "messages:read" not in actor.scopes:
        raise Refused("forbidden", f"{RECEIVED} sends mail: use a key that also has the scope messages:read.")


def _check_made_alone(webhook: Webhook) -> None:
    """Raises `webhook_of_route` for the webhook of a route."""
    if webhook.forward_mode is not None:
        detail = "The route of the domain made this webhook: PUT /v2/domains/:domain/route changes or ends it."
        raise Refused("webhook_of_route", detail)


def lock_key(tx: Tx, actor: Actor) -> None:
    """A key that is being revoked leaves no webhook behind."""
    if actor.key_id is not None:
        keys.lock(tx, actor)


def newest_event(tx: Tx, actor: Actor) -> int:
    """Returns the id of the organization's newest event: a webhook gets those after it."""
    row = tx.one(NEWEST_EVENT, organization=actor.organization_id)
    return int(row[0]) if row else 0


def _seen(actor: Actor, user_id: str | None) -> dict[str, int | str | None]:
    """The parameters of SEEN. If the actor is bound to a user, that user replaces `user_id`."""
    return {
        "organization": actor.organization_id,
        "user_id": actor.user_id or user_id,
        "bound": actor.restricted_key_id,
    }


def _one(row: Row | None) -> Webhook:
    if row is None:
        raise not_found()
    return _from_row(row)


def _as_of_now(tx: Tx, webhook: Webhook) -> Webhook:
    """The webhook without the end of a former secret that has passed."""
    if webhook.former_secret_ends_at is None or webhook.former_secret_ends_at > tx.now:
        return webhook
    return msgspec.structs.replace(webhook, former_secret_ends_at=None)


def _check_room(tx: Tx, actor: Actor, user_id: str | None, domain_id: int | None) -> None:
    found = tx.one(COUNT, organization=actor.organization_id, user_id=user_id, domain_id=domain_id)
    counts = found or (0, 0, 0)
    for name, count, most in zip(
        ("webhooks", "webhooks_of_a_user", "webhooks_of_a_domain"), counts, (MOST, MOST_BOUND, MOST_BOUND), strict=True
    ):
        if count >= most:
            raise LimitReached(name, most, "delete one")


_encode_events = msgspec.json.Encoder().encode


def _encode(patterns: tuple[str, ...]) -> str:
    return _encode_events(patterns).decode()


def _from_row(row: Row) -> Webhook:
    id_, url, patterns, *rest = row
    return Webhook(id_, url, tuple(msgspec.json.decode(patterns)), *rest)


def _record(tx: Tx, actor: Actor, type_: str, webhook: Webhook, **facts: object) -> None:
    data = {"webhook_id": webhook.id, "host": urls.host_of(webhook.url), **facts}
    events.record(
        tx,
        actor,
        type_,
        account_id=webhook.account_id,
        domain_id=webhook.domain_id,
        user_id=webhook.user_id,
        data=data,
    )
