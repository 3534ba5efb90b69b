"""The domain endpoints: claim, list, show with the DNS records, delete, route, consent.

Every request sees the domains of one user. A key that is bound to a user sets the user; a request
with any other key names the user. Every user sees the platform domains.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.api.context import RequestContext, Result, require_user, resolve_user
from postroom.api.endpoints.domain_views import (
    FIELDS,
    DomainInfo,
    InboundRoute,
    Shown,
    inbound_route,
    info,
    shown,
)
from postroom.api.fields import FLAG, parse_domain_field, projection, raise_if_any, text_problems
from postroom.api.pagination import DEEP, next_link, read_page
from postroom.api.problems import NO_DOMAIN, NO_USER
from postroom.api.route import route
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.domains import consents
from postroom.domains.commands import STATUSES, Domain
from postroom.errors import FieldError, not_found
from postroom.parameters import (
    After,
    DomainName,
    EveryUser,
    Fields,
    Id,
    InboundMode,
    Limit,
    Offset,
    OrganizationId,
    StatusName,
    Subdomain,
    UserId,
    WebhookSecret,
    WebhookUrl,
)
from postroom.tenants import organizations
from postroom.webhooks import routes, secrets, urls
from postroom.webhooks.routes import ForwardMode, SetRoute


class DomainQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    fields: Fields | UnsetType = UNSET


class DomainUserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class DomainsQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    status: Annotated[StatusName[str], Meta(extra_json_schema={"enum": list(STATUSES)})] | UnsetType = UNSET
    every_user: Annotated[EveryUser[str], FLAG, Meta(examples=["false"])] = "false"
    limit: Limit = 50
    offset: Offset = 0
    after: After = 0
    fields: Fields | UnsetType = UNSET


class CreateDomainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: DomainName
    user_id: UserId | UnsetType = UNSET
    organization_id: OrganizationId[Id | str] | UnsetType = UNSET


class DeleteDomainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: DomainName
    user_id: UserId | UnsetType = UNSET


class RouteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    forward_mode: InboundMode[ForwardMode]
    user_id: UserId | UnsetType = UNSET
    webhook_url: WebhookUrl | UnsetType = UNSET
    webhook_secret: WebhookSecret | UnsetType = UNSET


class ConsentBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subdomain: Subdomain
    user_id: UserId | UnsetType = UNSET


class CreatedDomainAnswer(msgspec.Struct, frozen=True):
    message: Literal["Domain created"]
    domain: DomainInfo


class DomainsAnswer(msgspec.Struct, frozen=True):
    items: list[Shown]
    limit: int
    offset: int


class DeletedDomainAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: str


class RouteAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`webhook_secret` is there only if this call made one."""

    domain: Shown
    route: InboundRoute
    webhook_secret: str | None = None


class ConsentAnswer(msgspec.Struct, frozen=True):
    ok: bool
    subdomain: str


@route(
    "POST",
    "/v2/domain",
    "domains:write",
    "Claim domain",
    CreatedDomainAnswer,
    status=201,
    missing="The organization_id or the user_id is not this key's own: leave it out, or send the key's.",
    refuses=(
        "domain_exists",
        "limit_reached",
    ),
)
async def create(context: RequestContext, query: DomainQuery, body: CreateDomainBody) -> Result:
    """Claims a domain for a user. It is pending until its DNS holds the records of this answer."""
    show = projection(query.fields, shown, FIELDS)
    problems = text_problems(query.user_id, body.user_id)
    name = parse_domain_field(body.domain, problems)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)
    await context.services.database.read(lambda tx: domains.check_claim(tx, context.actor, name, user_id))
    key = await context.services.generator.generate(context.actor.organization_id)

    host = context.services.mail_host
    location = (b"location", f"/v2/domains/{name}/info".encode())

    def work(tx: Tx) -> Result:
        if body.organization_id is not UNSET:
            organizations.check(tx, context.actor.organization_id, body.organization_id)
        domain = domains.claim(tx, context.actor, name, user_id, key)
        made = info(tx, context.actor, domain, host, show)
        return Result(CreatedDomainAnswer("Domain created", made), 201, (location,))

    return await context.write(work)


@route("GET", "/v2/domains", "domains:read", "List domains", DomainsAnswer, missing=NO_USER)
async def get_page(context: RequestContext, query: DomainsQuery) -> Result:
    """Lists the domains that a user sees: the user's own and the platform's."""
    show = projection(query.fields, shown, FIELDS)
    problems = text_problems(query.user_id)
    if query.status is not UNSET and query.status not in STATUSES:
        problems.append(FieldError("status", "invalid", f"Use one of: {', '.join(STATUSES)}."))
    user_id = _listed_user(context, query, problems)
    raise_if_any(problems)

    def work(tx: Tx) -> list[Domain]:
        return domains.page(
            tx,
            context.actor,
            user_id,
            status=None if query.status is UNSET else query.status,  # type: ignore[arg-type]
            limit=query.limit + 1,
            offset=query.offset,
            after=query.after,
        )

    slow = query.offset > DEEP or query.status is not UNSET or context.actor.restricted_key_id is not None
    found = await read_page(context, work, limit=query.limit, slow=slow)
    items = found[: query.limit]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(
        DomainsAnswer([show(domain) for domain in items], query.limit, query.offset), headers=tuple(headers.items())
    )


@route("GET", "/v2/domains/:domain/info", "domains:read", "Show domain", DomainInfo, missing=NO_DOMAIN)
async def get(context: RequestContext, query: DomainQuery) -> Result:
    """Shows a domain with the DNS records that it needs."""
    show = projection(query.fields, shown, FIELDS)
    name, user_id = _domain_and_user(context, query.user_id)
    host = context.services.mail_host

    def work(tx: Tx) -> DomainInfo:
        domain = domains.get(tx, context.actor, name, user_id)
        return info(tx, context.actor, domain, host, show)

    return Result(await context.services.database.read(work))


@route(
    "POST",
    "/v2/domains/delete",
    "domains:write",
    "Delete domain",
    DeletedDomainAnswer,
    missing=NO_DOMAIN,
    refuses=("domain_not_empty",),
)
async def delete(context: RequestContext, query: DomainUserQuery, body: DeleteDomainBody) -> Result:
    """Deletes a domain that has no accounts. Its name can be claimed again."""
    problems = text_problems(query.user_id, body.user_id)
    name = parse_domain_field(body.domain, problems)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)

    def work(tx: Tx) -> Result:
        domains.delete(tx, context.actor, domains.get_own(tx, context.actor, name, user_id))
        return Result(DeletedDomainAnswer(True, name))

    return await context.write(work)


@route(
    "PUT",
    "/v2/domains/:domain/route",
    "domains:write",
    "Set route of mail",
    RouteAnswer,
    missing=NO_DOMAIN,
    refuses=("not_available",),
)
async def set_route(context: RequestContext, query: DomainQuery, body: RouteBody) -> Result:
    """Sets how inbound mail is handled. Mail is always stored; with `webhook_then_store` each
    message is also sent to a URL, and with `webhook` it then leaves the mailbox. A secret that is
    made here is shown only once. A mode with a URL needs the scope `messages:read` too."""
    show = projection(query.fields, shown, FIELDS)
    name, user_id = _domain_and_user(context, query.user_id, body.user_id)
    command, key = _route(context, body), context.services.digest_key

    def work(tx: Tx) -> Result:
        domain = domains.get_own(tx, context.actor, name, user_id)
        found, secret = routes.change(tx, context.actor, domain, command, key)
        return Result(RouteAnswer(show(domain), inbound_route(context.actor, domain, found), secret))

    return await context.write(work)


@route(
    "POST",
    "/v2/domains/:domain/consent",
    "domains:write",
    "Consent to subdomain",
    ConsentAnswer,
    missing=NO_DOMAIN,
    refuses=(
        "domain_not_active",
        "limit_reached",
    ),
)
async def consent(context: RequestContext, query: DomainUserQuery, body: ConsentBody) -> Result:
    """Lets another organization claim a name below a domain."""
    name, user_id = _domain_and_user(context, query.user_id, body.user_id)
    problems: list[FieldError] = []
    subdomain = parse_domain_field(body.subdomain, problems, "subdomain")
    raise_if_any(problems)

    def work(tx: Tx) -> Result:
        consents.give(tx, context.actor, domains.get_own(tx, context.actor, name, user_id), subdomain)
        return Result(ConsentAnswer(True, subdomain))

    return await context.write(work)


def _route(context: RequestContext, body: RouteBody) -> SetRoute:
    problems: list[FieldError] = []
    if body.forward_mode == "store":
        sent = [field for field in ("webhook_url", "webhook_secret") if getattr(body, field) is not UNSET]
        problems += [FieldError(field, "invalid", "Leave it out: store sends nothing.") for field in sent]
    elif body.webhook_url is not UNSET:
        try:
            urls.parse(body.webhook_url, allows_private=context.services.allows_private_webhooks)
        except urls.BadUrl as error:
            problems.append(FieldError("webhook_url", "invalid", str(error)))
    if body.webhook_secret is not UNSET and not problems and not secrets.is_valid(body.webhook_secret):
        problems.append(FieldError("webhook_secret", "invalid", "Use whsec_ and 24 to 64 bytes in base64."))
    raise_if_any(problems)
    return SetRoute(body.forward_mode, body.webhook_url, body.webhook_secret)


def _listed_user(context: RequestContext, query: DomainsQuery, problems: list[FieldError]) -> str | None:
    """The user whose domains are listed. None means every user, which the query must request, and
    not together with a user."""
    if query.every_user not in ("true", "false"):
        problems.append(FieldError("every_user", "invalid", "Use one of: true, false."))
    if query.every_user != "true":
        if context.actor.user_id is None and query.user_id is UNSET:
            problems.append(
                FieldError("user_id", "required", "Send user_id, or every_user=true for the domains of all users.")
            )
            return None
        return resolve_user(context.actor, query.user_id)
    if query.user_id is not UNSET:
        problems.append(FieldError("every_user", "invalid", "Send either this or user_id."))
    return context.actor.user_id


def _domain_and_user(
    context: RequestContext, query_user: str | UnsetType, body_user: str | UnsetType = UNSET
) -> tuple[str, str]:
    """The domain in the path and the user that the request is about. Raises `not_found` if the path
    has no valid domain."""
    problems = text_problems(query_user, body_user)
    user_id = require_user(context.actor, problems, query_user, body_user)
    raise_if_any(problems)
    name = parse_domain_field(context.path["domain"], problems)
    if problems:
        raise not_found()
    return name, user_id
