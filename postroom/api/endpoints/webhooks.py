"""The webhook endpoints: URLs that events and mail are sent to."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.decoding import check_display_name
from postroom.api.fields import parse_domain_field, raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.problems import NO_SOURCE_OF_EVENTS, NO_USER, NO_WEBHOOK
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import (
    After,
    Id,
    Limit,
    Offset,
    UserId,
    WebhookAccountId,
    WebhookDescription,
    WebhookDomain,
    WebhookEvents,
    WebhookStatus,
    WebhookUrl,
)
from postroom.webhooks import patterns, urls, webhooks
from postroom.webhooks.received_messages import RECEIVED
from postroom.webhooks.webhooks import CreateWebhook, Status, UpdateWebhook

NOTE = "Save this secret now. It will not be shown again."
PATTERNS = list(patterns.NAMES)

Pattern = Annotated[str, Meta(extra_json_schema={"enum": PATTERNS})]
ToActive = Annotated[WebhookStatus[str], Meta(extra_json_schema={"enum": ["active"]})]
SomeEvents = Annotated[WebhookEvents[list[Pattern]], Meta(min_length=1, max_length=100)]


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class WebhooksQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    limit: Limit = 50
    offset: Offset = 0
    after: After = 0


class CreateWebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: WebhookUrl
    events: SomeEvents
    user_id: UserId | UnsetType = UNSET
    domain: WebhookDomain | UnsetType = UNSET
    account_id: WebhookAccountId | UnsetType = UNSET
    description: WebhookDescription | None = None


class UpdateWebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    url: WebhookUrl | UnsetType = UNSET
    events: SomeEvents | UnsetType = UNSET
    description: WebhookDescription | UnsetType | None = UNSET
    status: ToActive | UnsetType = UNSET


class RotateWebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class DeleteWebhookBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    user_id: UserId | UnsetType = UNSET


class ShownWebhook(msgspec.Struct, frozen=True):
    """A webhook, without its secret."""

    id: int
    url: str
    events: tuple[str, ...]
    user_id: str | None
    domain: str | None
    account_id: int | None
    forward_mode: Literal["webhook", "webhook_then_store"] | None
    description: str | None
    status: Status
    disabled_reason: str | None
    former_secret_ends_at: str | None
    last_success_at: str | None
    failing_since: str | None
    created_at: str
    updated_at: str


class CreatedWebhookAnswer(msgspec.Struct, frozen=True):
    webhook: ShownWebhook
    secret: str
    note: str = NOTE


class WebhookAnswer(msgspec.Struct, frozen=True):
    webhook: ShownWebhook


class WebhooksAnswer(msgspec.Struct, frozen=True):
    items: list[ShownWebhook]
    limit: int
    offset: int


class DeletedWebhook(msgspec.Struct, frozen=True):
    id: int
    url: str


class DeletedWebhookAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: DeletedWebhook


show, show_deleted = filler(ShownWebhook), filler(DeletedWebhook)


@route(
    "POST",
    "/v2/webhooks/create",
    "webhooks:write",
    "Create webhook",
    CreatedWebhookAnswer,
    status=201,
    missing=NO_SOURCE_OF_EVENTS,
    refuses=("limit_reached", "not_available"),
)
async def create(context: RequestContext, query: UserQuery, body: CreateWebhookBody) -> Result:
    """Makes a webhook: events and mail from now on are sent to its URL. The secret that signs them
    is shown only once. The key needs the scope `events:read` too, and for mail `messages:read`."""
    problems = text_problems(query.user_id, body.user_id)
    command = CreateWebhook(
        url=_url(context, body.url, problems),
        events=_events(body.events, problems),
        domain=None if body.domain is UNSET else parse_domain_field(body.domain, problems),
        account_id=None if body.account_id is UNSET else body.account_id,
        description=_description(body.description, problems),
    )
    raise_if_any(problems)
    user_id = resolve_user(context.actor, query.user_id, body.user_id)
    key = context.services.digest_key

    def work(tx: Tx) -> Result:
        made, secret = webhooks.create(tx, context.actor, user_id, command, key)
        location = (b"location", b"/v2/webhooks/%d" % made.id)
        return Result(CreatedWebhookAnswer(show(made), secret), 201, (location,))

    return await context.write(work)


@route("GET", "/v2/webhooks", "webhooks:read", "List webhooks", WebhooksAnswer, missing=NO_USER)
async def get_page(context: RequestContext, query: WebhooksQuery) -> Result:
    """Lists the webhooks. A key that is bound to a user or to domains sees only webhooks that are
    bound likewise."""
    raise_if_any(text_problems(query.user_id))
    user_id = resolve_user(context.actor, query.user_id)
    window = {"after": query.after, "limit": query.limit + 1, "offset": query.offset}
    found = await context.services.database.read_slow(lambda tx: webhooks.page(tx, context.actor, user_id, **window))
    items = [show(webhook) for webhook in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(WebhooksAnswer(items, query.limit, query.offset), headers=tuple(headers.items()))


@route("GET", "/v2/webhooks/:id", "webhooks:read", "Get webhook", WebhookAnswer, missing=NO_WEBHOOK)
async def get(context: RequestContext, query: UserQuery) -> Result:
    """Returns one webhook, without its secret."""
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    found = await context.services.database.read(lambda tx: webhooks.get(tx, context.actor, id_, user_id))
    return Result(WebhookAnswer(show(found)))


@route(
    "PUT",
    "/v2/webhooks/:id",
    "webhooks:write",
    "Update webhook",
    WebhookAnswer,
    missing=NO_WEBHOOK,
    refuses=("webhook_of_route",),
)
async def update(context: RequestContext, query: UserQuery, body: UpdateWebhookBody) -> Result:
    """Changes the URL, the events or the description, or makes a disabled webhook active again;
    absent fields stay as they are. Other events need the scopes that a new webhook needs."""
    problems = text_problems(query.user_id, body.user_id)
    command = UpdateWebhook(
        url=UNSET if body.url is UNSET else _url(context, body.url, problems),
        events=UNSET if body.events is UNSET else _events(body.events, problems),
        description=UNSET if body.description is UNSET else _description(body.description, problems),
        activate=body.status is not UNSET,
    )
    if body.status not in (UNSET, "active"):
        problems.append(FieldError("status", "invalid", "Use active, or delete the webhook."))
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        return Result(WebhookAnswer(show(webhooks.update(tx, context.actor, id_, user_id, command))))

    return await context.write(work)


@route(
    "POST",
    "/v2/webhooks/:id/secret/rotate",
    "webhooks:write",
    "Rotate webhook secret",
    CreatedWebhookAnswer,
    missing=NO_WEBHOOK,
    refuses=("not_available", "webhook_of_route"),
)
async def rotate(context: RequestContext, query: UserQuery, body: RotateWebhookBody) -> Result:
    """Makes a new secret, which is shown only once. The present secret signs beside it for 24
    hours."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    key = context.services.digest_key

    def work(tx: Tx) -> Result:
        changed, secret = webhooks.rotate(tx, context.actor, id_, user_id, key)
        return Result(CreatedWebhookAnswer(show(changed), secret))

    return await context.write(work)


@route("POST", "/v2/webhooks/delete", "webhooks:write", "Delete webhook", DeletedWebhookAnswer, missing=NO_WEBHOOK)
async def delete(context: RequestContext, query: UserQuery, body: DeleteWebhookBody) -> Result:
    """Deletes a webhook. Nothing is sent to its URL any more."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    user_id = resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        gone = webhooks.delete(tx, context.actor, body.id, user_id)
        return Result(DeletedWebhookAnswer(True, show_deleted(gone)))

    return await context.write(work)


def _url(context: RequestContext, text: str, problems: list[FieldError]) -> str:
    try:
        urls.parse(text, allows_private=context.services.allows_private_webhooks)
    except urls.BadUrl as error:
        problems.append(FieldError("url", "invalid", str(error)))
    return text


def _events(sent: list[str], problems: list[FieldError]) -> tuple[str, ...]:
    """The distinct patterns."""
    if not all(map(patterns.is_known, sent)):
        names = ", ".join((RECEIVED, *patterns.KINDS, patterns.ALL))
        message = f"Use types of events, such as account.created, or {names}."
        problems.append(FieldError("events", "invalid", message))
    return tuple(dict.fromkeys(sent))


def _description(text: str | None, problems: list[FieldError]) -> str | None:
    if text is not None and (problem := check_display_name(text, "description")):
        problems.append(problem)
    return text
