"""Domains: the names that accounts live on. A domain belongs to a user, or to no user (a platform
domain).

A name can have several pending claims, but only one row of a name is active or suspended (decision
0033).
"""

import secrets
from typing import Literal, get_args

import msgspec

from postroom import events
from postroom.actor import Actor
from postroom.address import RESERVED, refused_domain
from postroom.db import Tx
from postroom.domains import check_schedule, dkim, dns_records, spellings
from postroom.domains.dkim import NewKey
from postroom.errors import FieldError, Refused, invalid, not_found
from postroom.mail_host import MailHost
from postroom.tenants import limits, usage
from postroom.tenants.limits import LIMITS_EXIST

Status = Literal["pending", "active", "suspended"]
STATUSES: tuple[str, ...] = get_args(Status)

CLAIM_DAYS = 7
DAY_MS = 24 * 3600 * 1000


class Domain(msgspec.Struct, frozen=True):
    """A managed domain or a claim. `name` is the A-label; `token` is the value that the ownership
    record must hold."""

    id: int
    organization_id: int
    user_id: str | None
    name: str
    status: Status
    token: str | None
    activated_by: Literal["operator", "dns"] | None
    expires_at: int | None
    degraded_at: int | None
    degraded_reason: str | None
    created_at: int
    updated_at: int


COLUMNS = ", ".join(Domain.__struct_fields__)

# A platform domain matches every user of its organization. An active domain comes before a claim of
# the same name.
FOUND = """
FROM domains
WHERE organization_id = :organization AND name = :name AND deleted_at IS NULL
  AND COALESCE(user_id, :user_id, '') = COALESCE(:user_id, user_id, '')
  AND (CAST(:bound AS BIGINT) IS NULL OR id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))
ORDER BY CASE status WHEN 'active' THEN 0 WHEN 'suspended' THEN 1 ELSE 2 END, id LIMIT 1"""
FIND = f"SELECT {COLUMNS} {FOUND}"
FIND_WITH_LIMITS = f"SELECT {COLUMNS}, {LIMITS_EXIST} {FOUND}"
INSERT = f"""
INSERT INTO domains
  (organization_id, user_id, name, status, token, activated_by, expires_at, created_at, updated_at)
SELECT :organization, :user_id, :name, :status, :token, :activated_by, :expires_at, :now, :now
WHERE NOT EXISTS (
  SELECT 1 FROM domains AS platform
  WHERE platform.organization_id = :organization AND platform.name = :name AND platform.user_id IS NULL
    AND platform.deleted_at IS NULL)
ON CONFLICT DO NOTHING RETURNING {COLUMNS}"""
# The row stays, because accounts and events name it (decision 0034).
DELETE = """
UPDATE domains SET status = 'pending', deleted_at = :now, expires_at = NULL, updated_at = :now
WHERE id = :id AND organization_id = :organization AND deleted_at IS NULL RETURNING id"""
# A user's own domains and the platform domains; each half of the UNION uses its own part of the
# index.
LISTED = f"""
SELECT {COLUMNS} FROM domains
WHERE organization_id = :organization AND deleted_at IS NULL AND id > :after
  AND status = COALESCE(:status, status)
  AND (CAST(:bound AS BIGINT) IS NULL OR id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
PAGE = f"""{LISTED} AND user_id = :user_id
UNION ALL {LISTED} AND user_id IS NULL
ORDER BY id LIMIT :limit OFFSET :offset"""
OWN_PAGE = f"{LISTED} AND user_id = :user_id ORDER BY id LIMIT :limit"
PAGE_OF_ALL = f"{LISTED} ORDER BY id LIMIT :limit OFFSET :offset"
IS_ACTIVE = "SELECT 1 FROM domains WHERE name = :name AND status <> 'pending' AND status = 'active'"
INACTIVE = {
    "pending": "The domain is pending. Accounts need an active one: publish the records that GET "
    "/v2/domains/:domain/info lists, then POST /v2/domains/:domain/verify.",
    "suspended": "The domain is suspended. Accounts need an active one: the operator can activate it.",
}
RESERVED_NAME = (
    "This local part is reserved for a role (RFC 2142). The domain's own user may take it with allow_reserved: true."
)
GONE = (
    "The account's domain was deleted, or is pending again. A pending domain can be verified first; after a "
    "deletion, make a new account."
)
EXISTS = "This domain exists already: GET /v2/domains/:domain/info shows it, and what it still needs."
UNPROVABLE = "SELECT id FROM domains WHERE token IS NULL"
MAKE_PROVABLE = "UPDATE domains SET token = :token WHERE id = :id"
SET_STATUS = """
UPDATE domains SET status = :status, activated_by = 'operator', expires_at = NULL, degraded_at = NULL,
  degraded_reason = NULL, elsewhere_at = NULL, updated_at = :now
WHERE id = :id AND organization_id = :organization AND deleted_at IS NULL
  AND (:status = 'pending' OR NOT EXISTS (
    SELECT 1 FROM domains AS other
    WHERE other.name = domains.name AND other.id <> domains.id AND other.status <> 'pending'))
RETURNING id"""
# Only a transaction that has locked the row of a name may give that name an owner.
LOCK_NAME = """
INSERT INTO domain_names (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET name = excluded.name"""
HOST = "SELECT name FROM mail_host WHERE id = 1"
MANAGED = """
SELECT id FROM domains
WHERE id = :id AND organization_id = :organization AND deleted_at IS NULL AND status <> 'pending'"""
EMPTY_FIRST = "Delete all accounts and aliases of the domain first; nothing was changed."
HAS_ALIASES = """
SELECT 1 FROM aliases
WHERE domain_id = :domain_id AND +organization_id = :organization AND rested_at IS NULL LIMIT 1"""
LIST = f"SELECT {COLUMNS} FROM domains WHERE organization_id = :organization AND deleted_at IS NULL ORDER BY id"


def find(tx: Tx, actor: Actor, name: str, user_id: str | None) -> Domain | None:
    """Returns the domain of this name as the user sees it; None if there is none. With `user_id`
    None, searches the whole organization."""
    row = tx.one(FIND, organization=actor.organization_id, name=name, user_id=user_id, bound=actor.restricted_key_id)
    return Domain(*row) if row else None


def check_role(domain: Domain, local_part: str, user_id: str, *, is_allowed: bool) -> None:
    """Raises `reserved_local_part` for the name of a role, unless the domain's own user asked for
    it."""
    owns = domain.user_id is not None and domain.user_id == user_id
    if local_part in RESERVED and not (is_allowed and owns):
        problem = FieldError("local_part", "reserved_local_part", RESERVED_NAME)
        raise Refused("reserved_local_part", RESERVED_NAME, problem)


def get(tx: Tx, actor: Actor, name: str, user_id: str | None) -> Domain:
    """As `find`. Raises not_found if the domain is foreign or unknown."""
    domain = find(tx, actor, name, user_id)
    if domain is None:
        raise not_found()
    return domain


def get_with_limits(tx: Tx, actor: Actor, name: str, user_id: str) -> tuple[Domain, bool]:
    """As `get`. Also returns whether the organization or the user has a limit (decision 0245)."""
    whose = {"organization": actor.organization_id, "user_id": user_id, "bound": actor.restricted_key_id}
    row = tx.one(FIND_WITH_LIMITS, name=name, **whose)
    if row is None:
        raise not_found()
    return Domain(*row[:-1]), bool(row[-1])


def get_own(tx: Tx, actor: Actor, name: str, user_id: str | None) -> Domain:
    """Returns a domain that the actor may change. Raises not_found, and `forbidden` for a
    restricted key and a platform domain."""
    domain = get(tx, actor, name, user_id)
    if domain.user_id is None and (actor.user_id is not None or actor.restricted_key_id is not None):
        raise Refused("forbidden", "Only a key that is not bound to a user or to domains can change a platform domain.")
    return domain


def page(
    tx: Tx, actor: Actor, user_id: str | None, *, status: Status | None, limit: int, offset: int, after: int
) -> list[Domain]:
    """Returns the domains that a user sees, ordered by id: the user's own and the platform domains.
    With `user_id` None, the domains of every user."""
    given = {"organization": actor.organization_id, "bound": actor.restricted_key_id, "status": status}
    given |= {"limit": limit, "offset": offset, "after": after}
    rows = tx.all(PAGE_OF_ALL, **given) if user_id is None else tx.all(PAGE, user_id=user_id, **given)
    return [Domain(*row) for row in rows]


def is_active(tx: Tx, name: str) -> bool:
    """Whether the name is an active domain of any organization."""
    return tx.one(IS_ACTIVE, name=name) is not None


def records(tx: Tx, domain: Domain, host: MailHost) -> list[dns_records.Record]:
    """Returns the DNS records that the domain needs."""
    return dns_records.wanted(domain.token, dkim.records(tx, domain.id), host)


def is_managed(tx: Tx, organization_id: int, id_: int) -> bool:
    """Whether the domain exists and is not pending."""
    return tx.one(MANAGED, id=id_, organization=organization_id) is not None


def check_claim(tx: Tx, actor: Actor, name: str, user_id: str, *, looks: bool = True) -> None:
    """Raises what `claim` would raise now, before a DKIM key is made for the claim. The result is
    only a hint: `claim` checks again."""
    if actor.restricted_key_id is not None:
        raise Refused("forbidden", "A key that is bound to domains cannot claim another domain: use a key that is not.")
    _check_new(tx, actor, name, user_id, looks=looks)
    limits.check_claim(tx, actor.organization_id, user_id, looks=looks)
    if find(tx, actor, name, user_id):
        raise Refused("domain_exists", EXISTS)


def claim(tx: Tx, actor: Actor, name: str, user_id: str, key: NewKey | None = None) -> Domain:
    """Makes a claim for a user: it stays pending until the DNS proves it, and expires after
    CLAIM_DAYS. Raises as `create` does, and `forbidden` for a key that is bound to domains."""
    check_claim(tx, actor, name, user_id, looks=False)
    return add(tx, actor, name, user_id, "pending", tx.now + CLAIM_DAYS * DAY_MS, key)


def create(tx: Tx, actor: Actor, name: str, user_id: str | None, status: Status, key: NewKey | None = None) -> Domain:
    """Makes a domain on the operator's word. Raises `domain_exists` if the name is a platform
    domain, has the same claim already, or (unless the status is pending) has another owner;
    `invalid_request` for a name that nobody may claim; LimitReached."""
    _check_new(tx, actor, name, user_id)
    return add(tx, actor, name, user_id, status, key=key)


def _check_new(tx: Tx, actor: Actor, name: str, user_id: str | None, *, looks: bool = False) -> None:
    host = tx.one(HOST)
    if refused_domain(name, host[0] if host else ""):
        message = "Nobody can claim this name (.local, .internal, the server's own): send a domain that you own."
        raise invalid(FieldError("domain", "refused_domain", message))
    limits.check_domain(tx, actor.organization_id, user_id, looks=looks)


def add(
    tx: Tx,
    actor: Actor,
    name: str,
    user_id: str | None,
    status: Status,
    expires_at: int | None = None,
    key: NewKey | None = None,
) -> Domain:
    """As `create`, for any name, because the mail host's own domain is also made here. Without
    `key`, the worker makes a DKIM key."""
    if status != "pending":
        tx.run(LOCK_NAME, name=name)
    row = tx.one(
        INSERT,
        organization=actor.organization_id,
        user_id=user_id,
        name=name,
        status=status,
        token=new_token(),
        activated_by=None if status == "pending" else "operator",
        expires_at=expires_at,
        now=tx.now,
    )
    if row is None:
        raise Refused("domain_exists", EXISTS)
    domain = Domain(*row)
    if status == "pending":
        check_schedule.schedule(tx, domain.id, tx.now + check_schedule.FIRST_MS)
    dkim.add(tx, domain.id, key)
    spellings.add(tx, name)
    data = {"domain": name, "status": status}
    events.record(tx, actor, "domain.created", domain_id=domain.id, user_id=user_id, data=data)
    return domain


def delete(tx: Tx, actor: Actor, domain: Domain) -> None:
    """Deletes a domain. Anybody may then claim its name. Raises `domain_not_empty` while the domain
    has live accounts or aliases, and not_found."""
    usage.lock(tx, domain.organization_id, domain.id)
    living = usage.of_domain(tx, domain.organization_id, None, domain.id)
    if living:
        accounts = "1 account lives" if living == 1 else f"{living} accounts live"
        raise Refused("domain_not_empty", f"{accounts} on this domain. {EMPTY_FIRST}")
    if tx.one(HAS_ALIASES, domain_id=domain.id, organization=actor.organization_id):
        raise Refused("domain_not_empty", f"Aliases live on this domain. {EMPTY_FIRST}")
    if tx.one(DELETE, id=domain.id, organization=actor.organization_id, now=tx.now) is None:
        raise not_found()
    dkim.drop(tx, domain.id)
    data = {"domain": domain.name, "status": domain.status}
    events.record(tx, actor, "domain.deleted", domain_id=domain.id, user_id=domain.user_id, data=data)


def give_tokens(tx: Tx) -> None:
    """Gives a token to each domain that was made before tokens existed."""
    for (id_,) in tx.all(UNPROVABLE):
        tx.run(MAKE_PROVABLE, id=id_, token=new_token())


def new_token() -> str:
    """Returns a random token that the owner of a claim publishes in the DNS."""
    return secrets.token_hex(16)


def own_page(tx: Tx, actor: Actor, user_id: str, limit: int) -> list[Domain]:
    """Returns the first of the user's own domains, without the platform domains."""
    given = {"organization": actor.organization_id, "bound": actor.restricted_key_id, "status": None}
    return [Domain(*row) for row in tx.all(OWN_PAGE, user_id=user_id, limit=limit, after=0, **given)]


def set_status(tx: Tx, actor: Actor, domain: Domain, status: Status) -> None:
    """Changes a domain's status on the operator's word, which no DNS check overrides. Setting the
    same status again changes nothing. Raises `domain_exists` if the name has another owner."""
    if domain.status == status and (status == "pending" or domain.activated_by == "operator"):
        return
    if status != "pending":
        tx.run(LOCK_NAME, name=domain.name)
    if tx.one(SET_STATUS, id=domain.id, organization=actor.organization_id, status=status, now=tx.now) is None:
        raise Refused("domain_exists", "Another organization owns this domain.")
    data = {"domain": domain.name, "from": domain.status, "to": status}
    type_ = {"active": "domain.activated", "suspended": "domain.suspended", "pending": "domain.deactivated"}[status]
    events.record(tx, actor, type_, domain_id=domain.id, user_id=domain.user_id, data=data)


def get_all(tx: Tx, organization_id: int) -> list[Domain]:
    """Returns every domain of the organization."""
    return [Domain(*row) for row in tx.all(LIST, organization=organization_id)]


def record(tx: Tx, actor: Actor, type_: str, domain: Domain, data: dict[str, str]) -> None:
    """Records an event about the domain."""
    events.record(tx, actor, type_, domain_id=domain.id, user_id=domain.user_id, data={"domain": domain.name, **data})
