"""The key endpoints: make, list, delete. A key can only make keys that are as wide as itself or
narrower.

A field that a request leaves out is taken from the actor's own key; it does not mean unlimited.
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.actor import ALL_SCOPES
from postroom.address import BadAddress, parse_domain
from postroom.api.context import RequestContext, Result, resolve_user
from postroom.api.decoding import check_display_name
from postroom.api.fields import parse_expiry, parse_networks, raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.auth import keys
from postroom.auth.keys import CreateKey, KeyTraits
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import (
    DOMAIN,
    After,
    ExpiresAt,
    Id,
    KeepWebhooks,
    KeyDomains,
    KeyName,
    Limit,
    Networks,
    Offset,
    Scopes,
    UserId,
)
from postroom.webhooks import webhooks

NOTE = "Save this key now. It will not be shown again."
NO_KEY = (
    "Your key can neither see nor make such a key: GET /v2/keys lists your keys, GET "
    "/v2/domains?every_user=true your domains."
)

Scope = Annotated[str, Meta(extra_json_schema={"enum": list(ALL_SCOPES)})]
Domain = Annotated[str, Meta(extra_json_schema=DOMAIN)]
KeyScopes = Annotated[Scopes[list[Scope]], Meta(min_length=1, max_length=50)]
SomeDomains = Annotated[KeyDomains[list[Domain]], Meta(min_length=1, max_length=100)]
SomeNetworks = Annotated[Networks[list[str]], Meta(min_length=1, max_length=50)]
Moment = Annotated[ExpiresAt, Meta(tz=True)]


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class KeysQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    limit: Limit = 50
    offset: Offset = 0
    after: After = 0


class CreateKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: KeyName | None = None
    user_id: UserId | UnsetType = UNSET
    scopes: KeyScopes | UnsetType = UNSET
    domains: SomeDomains | UnsetType = UNSET
    networks: SomeNetworks | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class DeleteKeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    user_id: UserId | UnsetType = UNSET
    keep_webhooks: KeepWebhooks = False


class ShownKey(KeyTraits, frozen=True):
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class CreatedKeyAnswer(msgspec.Struct, frozen=True):
    key: ShownKey
    api_key: str
    note: str = NOTE


class KeysAnswer(msgspec.Struct, frozen=True):
    items: list[ShownKey]
    limit: int
    offset: int


class DeletedKey(msgspec.Struct, frozen=True):
    id: int
    prefix: str


class DeletedKeyAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: DeletedKey


@route(
    "POST",
    "/v2/keys",
    "keys:write",
    "Create key",
    CreatedKeyAnswer,
    status=201,
    missing=NO_KEY,
    refuses=("limit_reached",),
)
async def create(context: RequestContext, query: UserQuery, body: CreateKeyBody) -> Result:
    """Makes a key that is never wider than the key of the request and is revoked with it. The new
    key is shown only once."""
    problems = text_problems(query.user_id, body.user_id)
    if body.name is not None and (problem := check_display_name(body.name, "name")):
        problems.append(problem)
    command = CreateKey(
        name=body.name,
        scopes=_scopes(body.scopes, problems),
        domains=_domains(body.domains, problems),
        networks=parse_networks(body.networks, problems),
        expires_at=parse_expiry(body.expires_at, problems, "A key"),
    )
    raise_if_any(problems)
    command = msgspec.structs.replace(command, user_id=resolve_user(context.actor, query.user_id, body.user_id))

    def work(tx: Tx) -> Result:
        made, secret = keys.create(tx, context.actor, command)
        return Result(CreatedKeyAnswer(_show(made), secret), 201)

    return await context.write(work)


@route("GET", "/v2/keys", "keys:read", "List keys", KeysAnswer, missing=NO_KEY)
async def get_page(context: RequestContext, query: KeysQuery) -> Result:
    """Lists the keys that are not revoked. A restricted key sees only the keys that are bound as
    narrowly."""
    raise_if_any(text_problems(query.user_id))
    user_id = resolve_user(context.actor, query.user_id)
    found = await context.services.database.read_slow(
        lambda tx: keys.page(tx, context.actor, user_id, after=query.after, limit=query.limit + 1, offset=query.offset)
    )
    items = [_show(key) for key in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(KeysAnswer(items, query.limit, query.offset), headers=tuple(headers.items()))


@route(
    "POST",
    "/v2/keys/delete",
    "keys:write",
    "Delete key",
    DeletedKeyAnswer,
    missing="No live key of yours has this id: GET /v2/keys lists yours.",
    refuses=("key_too_wide",),
)
async def delete(context: RequestContext, query: UserQuery, body: DeleteKeyBody) -> Result:
    """Revokes a key and every key that was made with it, and disables their webhooks. The server
    refuses the keys from now on."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    user_id = resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        ended = keys.revoke(tx, context.actor, body.id, user_id)
        if not body.keep_webhooks:
            webhooks.disable_of_keys(tx, context.actor, [key.id for key in ended])
        return Result(DeletedKeyAnswer(True, DeletedKey(ended[0].id, ended[0].prefix)))

    return await context.write(work)


def _scopes(sent: list[str] | UnsetType, problems: list[FieldError]) -> tuple[str, ...] | None:
    if sent is UNSET:
        return None
    if not set(sent) <= set(ALL_SCOPES):
        problems.append(FieldError("scopes", "invalid", f"Use these: {', '.join(ALL_SCOPES)}."))
    return tuple(scope for scope in ALL_SCOPES if scope in sent)


def _domains(sent: list[str] | UnsetType, problems: list[FieldError]) -> tuple[str, ...] | None:
    if sent is UNSET:
        return None
    try:
        return tuple(parse_domain(name) for name in sent)
    except BadAddress as error:
        problems.append(FieldError("domains", error.code, error.message))
    return None


_show = filler(ShownKey)
