"""The alias endpoints: further addresses of accounts, groups and catch-alls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, get_args

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import alias_pages, alias_resolution, aliases
from postroom.accounts.alias_pages import AliasFilter
from postroom.accounts.alias_resolution import Resolution
from postroom.accounts.aliases import CATCH_ALL, MOST_MEMBERS, Alias, CreateAlias, Kind, UpdateAlias
from postroom.accounts.senders import parse as parse_tagged
from postroom.address import BadAddress
from postroom.api.context import RequestContext, Result, path_id, require_user, resolve_user
from postroom.api.decoding import check_display_name
from postroom.api.fields import parse_address, parse_domain_field, parse_expiry, raise_if_any, text_problems
from postroom.api.pagination import next_link, read_page
from postroom.api.problems import NO_ALIAS, NO_DOMAIN, NO_PLACE_FOR_ALIAS, NO_USER
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError, invalid
from postroom.parameters import (
    AccountId,
    AccountIds,
    Address,
    AddressPrefix,
    After,
    AliasKind,
    AliasLocalPart,
    AliasName,
    AllowReserved,
    DomainName,
    ExpiresAt,
    Id,
    Limit,
    MaySend,
    Offset,
    UserId,
)

Moment = Annotated[ExpiresAt, msgspec.Meta(tz=True)]


class ShownAlias(msgspec.Struct, frozen=True):
    """An alias."""

    id: int
    address: str
    domain: str
    local_part: str
    kind: Kind
    user_id: str
    account_ids: tuple[int, ...]
    may_send: bool
    expires_at: str | None
    name: str | None
    created_at: str
    updated_at: str


class DeletedAlias(msgspec.Struct, frozen=True):
    id: int
    address: str


show, show_deleted = filler(ShownAlias), filler(DeletedAlias)


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class AliasesQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    domain: DomainName | UnsetType = UNSET
    account_id: AccountId | UnsetType = UNSET
    kind: AliasKind[str] | UnsetType = UNSET
    q: AddressPrefix | UnsetType = UNSET
    limit: Limit = 50
    offset: Offset = 0
    after: After = 0


class ResolveQuery(msgspec.Struct, frozen=True):
    address: Address
    user_id: UserId | UnsetType = UNSET


class CreateAliasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: DomainName
    local_part: AliasLocalPart
    account_ids: AccountIds[list[Id]]
    user_id: UserId | UnsetType = UNSET
    may_send: MaySend | UnsetType = UNSET
    expires_at: Moment | None = None
    name: AliasName | None = None
    allow_reserved: AllowReserved = False


class UpdateAliasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    account_ids: AccountIds[list[Id]] | UnsetType = UNSET
    may_send: MaySend | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    name: AliasName | UnsetType | None = UNSET


class DeleteAliasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    user_id: UserId | UnsetType = UNSET


class AliasAnswer(msgspec.Struct, frozen=True):
    alias: ShownAlias


class AliasesAnswer(msgspec.Struct, frozen=True):
    items: list[ShownAlias]
    limit: int
    offset: int


class DeletedAliasAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: DeletedAlias


@route(
    "POST",
    "/v2/email-aliases/create",
    "accounts:write",
    "Create alias",
    AliasAnswer,
    status=201,
    missing=NO_PLACE_FOR_ALIAS,
    refuses=("domain_not_active", "reserved_local_part", "address_exists", "limit_reached"),
)
async def create(context: RequestContext, query: UserQuery, body: CreateAliasBody) -> Result:
    """Makes an alias of one account, a group of several, or the catch-all of a domain. Mail to it
    arrives by the time of the answer."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    is_catch_all = body.local_part == CATCH_ALL
    address = parse_address(body.domain, "x" if is_catch_all else body.local_part, problems)
    if is_catch_all and body.may_send is True:
        problems.append(FieldError("may_send", "invalid", "Nobody may send as a catch-all."))
    command = CreateAlias(
        domain=address.domain,
        local_part=CATCH_ALL if is_catch_all else address.local_part,
        user_id=user_id,
        account_ids=_account_ids(body.account_ids, problems),
        may_send=not is_catch_all and body.may_send is not False,
        expires_at=parse_expiry(body.expires_at, problems, "An alias"),
        name=_name(body.name, problems),
        allow_reserved=body.allow_reserved,
    )
    raise_if_any(problems)

    def work(tx: Tx) -> Result:
        alias = aliases.create(tx, context.actor, command)
        location = (b"location", b"/v2/email-aliases/%d" % alias.id)
        return Result(AliasAnswer(show(alias)), 201, (location,))

    return await context.write(work)


@route("GET", "/v2/email-aliases", "accounts:read", "List aliases", AliasesAnswer, missing=NO_USER)
async def get_page(context: RequestContext, query: AliasesQuery) -> Result:
    """Lists the organization's aliases, filtered and paged."""
    problems = text_problems(query.user_id)
    name = UNSET if query.domain is UNSET else parse_domain_field(query.domain, problems)
    if query.kind not in (UNSET, *get_args(Kind)):
        problems.append(FieldError("kind", "invalid", f"Use one of: {', '.join(get_args(Kind))}."))
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id)
    wanted = AliasFilter(
        user_id=user_id,
        account_id=None if query.account_id is UNSET else query.account_id,
        kind=None if query.kind is UNSET else query.kind,
        q=None if query.q is UNSET else query.q.lower(),
    )

    def work(tx: Tx) -> list[Alias]:
        window = {"limit": query.limit + 1, "offset": query.offset, "after": query.after}
        if name is UNSET:
            return alias_pages.page(tx, context.actor, wanted, **window)
        domain = domains.find(tx, context.actor, name, user_id)
        in_domain = domain and msgspec.structs.replace(wanted, domain_id=domain.id)
        return alias_pages.page(tx, context.actor, in_domain, **window) if in_domain else []

    found = await read_page(context, work, limit=query.limit, slow=True)
    items = found[: query.limit]
    headers = tuple(next_link(context, items[-1].id, query.limit).items()) if len(found) > query.limit else ()
    return Result(AliasesAnswer([show(alias) for alias in items], query.limit, query.offset), headers=headers)


@route(
    "GET",
    "/v2/email-aliases/resolve",
    "accounts:read",
    "Resolve address",
    Resolution,
    missing=NO_DOMAIN,
)
async def resolve(context: RequestContext, query: ResolveQuery) -> Result:
    """Says what would happen now to mail to an address, with its +tag and the catch-all applied."""
    problems = text_problems(query.user_id)
    try:
        address = parse_tagged(query.address)
    except BadAddress as error:
        raise invalid(*problems, FieldError("address", error.code, error.message)) from None
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id)
    found = await context.services.database.read_slow(
        lambda tx: alias_resolution.resolve(tx, context.actor, address, user_id)
    )
    return Result(found)


@route("GET", "/v2/email-aliases/:id", "accounts:read", "Get alias", AliasAnswer, missing=NO_ALIAS)
async def get(context: RequestContext, query: UserQuery) -> Result:
    """Returns one alias."""
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    alias = await context.services.database.read(lambda tx: aliases.get(tx, context.actor, id_, user_id))
    return Result(AliasAnswer(show(alias)))


@route(
    "PUT",
    "/v2/email-aliases/:id",
    "accounts:write",
    "Update alias",
    AliasAnswer,
    missing=NO_ALIAS,
    refuses=("limit_reached",),
)
async def update(context: RequestContext, query: UserQuery, body: UpdateAliasBody) -> Result:
    """Changes the accounts, the right to send, the expiry or the name; absent fields stay as they
    are."""
    problems = text_problems(query.user_id, body.user_id)
    expires_at = body.expires_at
    command = UpdateAlias(
        account_ids=UNSET if body.account_ids is UNSET else _account_ids(body.account_ids, problems),
        may_send=body.may_send,
        expires_at=parse_expiry(expires_at, problems, "An alias") if isinstance(expires_at, datetime) else expires_at,
        name=_name(body.name, problems) if isinstance(body.name, str) else body.name,
    )
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    return await context.write(
        lambda tx: Result(AliasAnswer(show(aliases.update(tx, context.actor, id_, user_id, command))))
    )


@route(
    "POST",
    "/v2/email-aliases/delete",
    "accounts:write",
    "Delete alias",
    DeletedAliasAnswer,
    missing=NO_ALIAS,
)
async def delete(context: RequestContext, query: UserQuery, body: DeleteAliasBody) -> Result:
    """Deletes an alias. Its address is free at once; the accounts stay."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    user_id = resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        return Result(DeletedAliasAnswer(True, show_deleted(aliases.delete(tx, context.actor, body.id, user_id))))

    return await context.write(work)


def _account_ids(ids: Sequence[int], problems: list[FieldError]) -> tuple[int, ...]:
    """The distinct ids. A problem is added to `problems` if there are too few or too many."""
    found = tuple(dict.fromkeys(ids))
    if not 1 <= len(found) <= MOST_MEMBERS:
        problems.append(FieldError("account_ids", "invalid", f"Send 1 to {MOST_MEMBERS} ids."))
    return found


def _name(name: str | None, problems: list[FieldError]) -> str | None:
    problem = None if name is None else check_display_name(name)
    if problem:
        problems.append(FieldError("name", problem.code, problem.message))
    return name
