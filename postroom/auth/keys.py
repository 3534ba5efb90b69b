"""API keys: `pr_` and 256 random bits, stored as SHA-256, shown once.

Every request looks its key up without a cache, so that every process refuses a revoked key at once
(decision 0015). A key that was made with another key is never wider than its parent and is revoked
with it (decision 0028).
"""

import functools

import msgspec

from postroom import events
from postroom.actor import BY_NAME, DEFAULT_SCOPES, Actor
from postroom.auth import networks
from postroom.auth.tokens import digest, new_token
from postroom.db import Row, Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError, LimitReached, Refused, invalid, not_found

MARK = "pr_"
# Minimum interval between two writes of a key's last use, in milliseconds.
USE_MS = 60_000

COLUMNS = """id, prefix, name, user_id, scopes, domain_bound, networks, parent_id, created_at, expires_at,
  last_used_at, revoked_at"""
WHO = "id, COALESCE(root_id, id), organization_id, user_id, scopes, domain_bound, networks, last_used_at"
INSERT = f"""
INSERT INTO api_keys (organization_id, prefix, digest, name, user_id, scopes, domain_bound, networks, parent_id,
  root_id, created_at, expires_at)
VALUES (:organization, :prefix, :digest, :name, :user_id, :scopes, :domain_bound, :networks, :parent,
  :root, :now, :expires_at) RETURNING {COLUMNS}"""
FIND = f"""
SELECT {WHO} FROM api_keys
WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"""
FIND_ID = f"""
SELECT {WHO} FROM api_keys
WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"""
GET = f"SELECT {COLUMNS} FROM api_keys WHERE id = :id AND organization_id = :organization"
# For the operator: the oldest key that may do everything in its organization.
WIDEST = """
SELECT id FROM api_keys
WHERE organization_id = :organization AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
  AND user_id IS NULL AND domain_bound = 0 AND networks IS NULL AND parent_id IS NULL ORDER BY id LIMIT 1"""
# An update that changes nothing locks the key. A revocation then waits for the new child, or comes
# first and keeps the child from being made.
LOCK = f"""
UPDATE api_keys SET revoked_at = NULL
WHERE id = :id AND organization_id = :organization AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > :now) RETURNING {COLUMNS}"""
BIND = "INSERT INTO api_key_domains (key_id, domain_id) VALUES (:id, :domain_id)"
BIND_AS_PARENT = """
INSERT INTO api_key_domains (key_id, domain_id)
SELECT :id, domain_id FROM api_key_domains WHERE key_id = :parent"""
DOMAINS = """
SELECT domains.name FROM api_key_domains JOIN domains ON domains.id = api_key_domains.domain_id
WHERE api_key_domains.key_id = :id AND domains.organization_id = :organization AND domains.deleted_at IS NULL
ORDER BY domains.name, domains.id"""
# An actor that is bound to domains sees only keys that are bound to some of these domains and to no
# others.
OWNED_LIVE = """
organization_id = :organization AND COALESCE(user_id, '') = COALESCE(:user_id, user_id, '') AND revoked_at IS NULL
  AND (CAST(:bound AS BIGINT) IS NULL OR (domain_bound = 1
    AND EXISTS (SELECT 1 FROM api_key_domains AS theirs WHERE theirs.key_id = api_keys.id)
    AND NOT EXISTS (SELECT 1 FROM api_key_domains AS theirs WHERE theirs.key_id = api_keys.id
      AND theirs.domain_id NOT IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))))"""
PAGE = f"SELECT {COLUMNS} FROM api_keys WHERE {OWNED_LIVE} AND id > :after ORDER BY id LIMIT :limit OFFSET :offset"
LIST = f"SELECT {COLUMNS} FROM api_keys WHERE organization_id = :organization ORDER BY id"
REVOKE = f"UPDATE api_keys SET revoked_at = :now WHERE id = :id AND {OWNED_LIVE} RETURNING {COLUMNS}"
MAKER = "SELECT parent_id FROM api_keys WHERE id = :id AND organization_id = :organization"
REVOKE_CHILDREN = f"""
UPDATE api_keys SET revoked_at = :now
WHERE parent_id = :parent AND organization_id = :organization AND revoked_at IS NULL RETURNING {COLUMNS}"""
USE = """
UPDATE api_keys SET last_used_at = :now
WHERE id = :id AND organization_id = :organization AND (last_used_at IS NULL OR last_used_at <= :until)"""

# Maximum number of live keys of an organization, except for keys that the operator makes.
MOST = 10_000
FULL = """
SELECT id FROM api_keys
WHERE organization_id = :organization AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now) AND id > 0
ORDER BY id LIMIT 1 OFFSET :most"""
# Maximum number of keys that one transaction deletes. A key is deleted only after the keys that
# were made with it.
STEP = 200
WITHOUT_TRACES = """
  AND NOT EXISTS (SELECT 1 FROM api_keys AS child WHERE child.parent_id = api_keys.id)
  AND NOT EXISTS (SELECT 1 FROM idempotent_answers WHERE key_id = api_keys.id)
  AND NOT EXISTS (SELECT 1 FROM console_sessions WHERE key_id = api_keys.id)
  AND NOT EXISTS (SELECT 1 FROM console_links WHERE key_id = api_keys.id)
  AND NOT EXISTS (SELECT 1 FROM mail_tokens WHERE key_id = api_keys.id)"""
REVOKED_LONG_AGO = f"""
SELECT id FROM api_keys WHERE revoked_at <= :before {WITHOUT_TRACES} ORDER BY revoked_at LIMIT :limit"""
EXPIRED_LONG_AGO = f"""
SELECT id FROM api_keys WHERE expires_at <= :before {WITHOUT_TRACES} ORDER BY expires_at LIMIT :limit"""
UNBIND = "DELETE FROM api_key_domains WHERE key_id = :id"
FORGET = "DELETE FROM api_keys WHERE id = :id AND (revoked_at <= :before OR expires_at <= :before)"


class KeyTraits(msgspec.Struct, frozen=True):
    """The fields of a key that never change. `domains` and `networks` are None where the key is not
    bound to any."""

    id: int
    prefix: str
    name: str | None
    user_id: str | None
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    parent_id: int | None


class ApiKey(KeyTraits, frozen=True):
    """The public fields of a key, with its times in milliseconds since 1970 UTC."""

    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


class CreateKey(msgspec.Struct, frozen=True):
    """A parsed request: domains and networks are canonical. None takes the value of the parent, or
    no restriction if there is no parent."""

    name: str | None = None
    user_id: str | None = None
    scopes: tuple[str, ...] | None = None
    domains: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at: int | None = None


def authenticate(tx: Tx, key: str, client_address: str) -> tuple[Actor, bool] | None:
    """Returns the actor of a key, and whether to record the use of the key (see `use`). None if the
    key is unknown, revoked, expired or used from a network that it does not allow."""
    return _authenticated(tx, tx.one(FIND, digest=digest(key), now=tx.now), client_address)


def authenticate_id(tx: Tx, key_id: int, client_address: str) -> tuple[Actor, bool] | None:
    """As `authenticate`, by the id of a key that was shown before (console_sessions.py)."""
    return _authenticated(tx, tx.one(FIND_ID, id=key_id, now=tx.now), client_address)


def _authenticated(tx: Tx, row: Row | None, client_address: str) -> tuple[Actor, bool] | None:
    if row is None:
        return None
    key_id, root_id, organization_id, user_id, scopes, domain_bound, allowed, last_used_at = row
    if allowed is not None and not networks.holds(allowed.split(), client_address):
        return None
    bound = key_id if domain_bound else None
    actor = Actor(organization_id, _scopes(scopes), user_id, key_id, root_id, bound)
    return actor, last_used_at is None or last_used_at <= tx.now - USE_MS


@functools.lru_cache(maxsize=1024)
def _scopes(text: str) -> frozenset[str]:
    return frozenset(text.split())


def get(tx: Tx, organization_id: int, key_id: int) -> ApiKey:
    """Returns a key of the organization. Raises not_found."""
    row = tx.one(GET, id=key_id, organization=organization_id)
    if row is None:
        raise not_found()
    return _from_row(tx, organization_id, row)


def widest(tx: Tx, organization_id: int) -> int | None:
    """Returns the id of the organization's oldest live key that is bound to nothing; None if there
    is none."""
    row = tx.one(WIDEST, organization=organization_id, now=tx.now)
    return int(row[0]) if row else None


def use(tx: Tx, actor: Actor) -> None:
    """Records the use of the actor's key, unless a use within the last USE_MS is recorded
    already."""
    tx.run(USE, id=actor.key_id, organization=actor.organization_id, now=tx.now, until=tx.now - USE_MS)


def create(tx: Tx, actor: Actor, command: CreateKey) -> tuple[ApiKey, str]:
    """Makes a key of the actor's organization. Returns the key and its secret, which cannot be read
    again.

    Raises not_found (a user or a domain that the actor does not see), `forbidden` (wider than the
    actor's key), `invalid_request` (the expiry is in the past), `unauthorized` (the actor's key has
    just ended), LimitReached.
    """
    command = _narrowed(tx, actor, command)
    if actor.key_id is not None and tx.one(FULL, organization=actor.organization_id, most=MOST - 1, now=tx.now):
        raise LimitReached("keys", MOST, "delete one")
    bound = {domains.get(tx, actor, name, command.user_id).id for name in command.domains or ()}
    secret = MARK + new_token()
    row = _insert(tx, actor, command, secret, is_bound=bool(bound) or actor.restricted_key_id is not None)
    for domain_id in sorted(bound):
        tx.run(BIND, id=row[0], domain_id=domain_id)
    if not bound and actor.restricted_key_id is not None:
        tx.run(BIND_AS_PARENT, id=row[0], parent=actor.restricted_key_id)
    made = _from_row(tx, actor.organization_id, row)
    data = {"key_id": made.id, "prefix": made.prefix, "scopes": made.scopes}
    limits = {"domains": made.domains, "networks": made.networks}
    data |= {name: limit for name, limit in limits.items() if limit is not None}
    events.record(tx, actor, "key.created", user_id=made.user_id, data=data)
    return made, secret


def lock(tx: Tx, actor: Actor) -> ApiKey:
    """Returns the actor's key, which nobody revokes until the end of the transaction. Raises
    `unauthorized` if the key has just ended."""
    row = tx.one(LOCK, id=actor.key_id, organization=actor.organization_id, now=tx.now)
    if row is None:
        raise Refused("unauthorized", "Send a valid API key in the x-api-key header.")
    return _from_row(tx, actor.organization_id, row)


def page(tx: Tx, actor: Actor, user_id: str | None, *, after: int, limit: int, offset: int) -> list[ApiKey]:
    """Returns keys that are live or expired, ordered by id. An actor with a restricted key sees
    only keys that are at least as narrow."""
    rows = tx.all(PAGE, **_owned(actor, user_id), after=after, limit=limit, offset=offset)
    return [_from_row(tx, actor.organization_id, row) for row in rows]


def get_all(tx: Tx, organization_id: int) -> list[ApiKey]:
    """Returns every key of the organization, including revoked keys."""
    return [_from_row(tx, organization_id, row) for row in tx.all(LIST, organization=organization_id)]


def revoke(tx: Tx, actor: Actor, key_id: int, user_id: str | None = None) -> list[ApiKey]:
    """Revokes a key and every key that was made with it. Returns the keys, this one first.

    Raises not_found if the key is foreign, unknown or already revoked, and `key_too_wide` if the
    key may do more than the actor's key and was not made with it (decision 0165).
    """
    row = tx.one(REVOKE, **_owned(actor, user_id), id=key_id, now=tx.now)
    if row is None:
        raise not_found()
    _refuse_to_end_wider(tx, actor, _from_row(tx, actor.organization_id, row))
    ended = [row]
    for parent in ended:  # grows: one generation of keys is locked before the next one is looked up
        children = tx.all(REVOKE_CHILDREN, parent=parent[0], organization=actor.organization_id, now=tx.now)
        ended += sorted(children, key=lambda row: int(row[0]))  # RETURNING has no order
    found = [_from_row(tx, actor.organization_id, row) for row in ended]
    for key in found:
        events.record(tx, actor, "key.revoked", user_id=key.user_id, data={"key_id": key.id, "prefix": key.prefix})
    return found


def forget(tx: Tx, before: int) -> int:
    """Deletes up to STEP keys that ended before this time (milliseconds since 1970), when no event
    refers to them any more. Returns the number of keys deleted."""
    found = [*tx.all(REVOKED_LONG_AGO, before=before, limit=STEP), *tx.all(EXPIRED_LONG_AGO, before=before, limit=STEP)]
    ids = sorted({row[0] for row in found})[:STEP]
    for id_ in ids:
        tx.run(UNBIND, id=id_)
        tx.run(FORGET, id=id_, before=before)
    return len(ids)


def _narrowed(tx: Tx, actor: Actor, command: CreateKey) -> CreateKey:
    """Returns the command within the limits of the actor's key. The operator has no limits."""
    if actor.key_id is None:
        return command if command.scopes is not None else msgspec.structs.replace(command, scopes=DEFAULT_SCOPES)
    parent = lock(tx, actor)
    if command.expires_at is not None and command.expires_at <= tx.now:
        raise invalid(FieldError("expires_at", "invalid", "This time is in the past."))
    if parent.user_id is not None and command.user_id not in (None, parent.user_id):
        raise not_found()
    _refuse_wider(parent, command)
    return msgspec.structs.replace(
        command,
        user_id=command.user_id or parent.user_id,
        scopes=_without_by_name(parent.scopes) if command.scopes is None else command.scopes,
        networks=parent.networks if command.networks is None else command.networks,
        expires_at=parent.expires_at if command.expires_at is None else command.expires_at,
    )


def _without_by_name(scopes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(scope for scope in scopes if scope not in BY_NAME)


def _refuse_wider(parent: ApiKey, command: CreateKey) -> None:
    """Raises `forbidden` with every field that asks for more than the parent has. Domains are not
    checked here, because a domain that the parent does not see is not found (decision 0029)."""
    wider = []
    if not set(command.scopes or ()) <= set(parent.scopes):
        wider.append(FieldError("scopes", "too_wide", "Your key lacks one of these scopes."))
    if parent.networks is not None and not networks.within(command.networks or (), parent.networks):
        wider.append(FieldError("networks", "too_wide", "Your key is not valid from all of these networks."))
    if parent.expires_at is not None and (command.expires_at or 0) > parent.expires_at:
        wider.append(FieldError("expires_at", "too_wide", "Your key expires before this time."))
    if wider:
        raise Refused("forbidden", "A key cannot make a wider key: ask for less, or use a wider key.", *wider)


def _refuse_to_end_wider(tx: Tx, actor: Actor, key: ApiKey) -> None:
    """Raises `key_too_wide` with every field in which the key is wider than the actor's key. User
    and domains are not checked here, because keys that are wider in these are not found. The
    operator has no key and may revoke any key."""
    if actor.key_id is None or _has_made(tx, actor.organization_id, actor.key_id, key):
        return
    own_key = get(tx, actor.organization_id, actor.key_id)
    wider = []
    if not set(key.scopes) <= set(own_key.scopes):
        wider.append(FieldError("scopes", "too_wide", "It has scopes that your key lacks."))
    if own_key.networks is not None and (key.networks is None or not networks.within(key.networks, own_key.networks)):
        wider.append(FieldError("networks", "too_wide", "It is valid from networks that your key is not valid from."))
    if own_key.expires_at is not None and (key.expires_at is None or key.expires_at > own_key.expires_at):
        wider.append(FieldError("expires_at", "too_wide", "It expires later than your key."))
    if wider:
        detail = "A key can revoke only keys that are no wider than itself, and keys that it made: use a wider key."
        raise Refused("key_too_wide", detail, *wider)


def _has_made(tx: Tx, organization_id: int, maker_id: int, key: ApiKey) -> bool:
    """Whether a key was made with the key `maker_id`, directly or through other keys. The id of a
    parent is always lower than the ids of its children."""
    above = key.parent_id
    while above is not None and above > maker_id:
        row = tx.one(MAKER, id=above, organization=organization_id)
        above = row[0] if row else None
    return above == maker_id


def _insert(tx: Tx, actor: Actor, command: CreateKey, secret: str, *, is_bound: bool) -> Row:
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        prefix=secret[:10],
        digest=digest(secret),
        name=command.name,
        user_id=command.user_id,
        scopes=" ".join(command.scopes or ()),
        domain_bound=int(is_bound),
        networks=None if command.networks is None else " ".join(command.networks),
        parent=actor.key_id,
        root=actor.root_id,
        now=tx.now,
        expires_at=command.expires_at,
    )
    if row is None:
        raise LookupError("an insert that returned no row")
    return row


def _from_row(tx: Tx, organization_id: int, row: Row) -> ApiKey:
    """Returns a key from a row of COLUMNS, with the names of its domains."""
    id_, prefix, name, user_id, scopes, domain_bound, allowed, *rest = row
    bound = None
    if domain_bound:
        bound = tuple(dict.fromkeys(found[0] for found in tx.all(DOMAINS, id=id_, organization=organization_id)))
    within = None if allowed is None else tuple(allowed.split())
    return ApiKey(id_, prefix, name, user_id, tuple(scopes.split()), bound, within, *rest)


def _owned(actor: Actor, user_id: str | None) -> dict[str, int | str | None]:
    """The parameters of OWNED_LIVE. If the actor is bound to a user, that user replaces
    `user_id`."""
    return {
        "organization": actor.organization_id,
        "user_id": actor.user_id or user_id,
        "bound": actor.restricted_key_id,
    }
