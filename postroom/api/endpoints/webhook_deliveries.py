"""The deliveries of a webhook: what became of each event, sending again, and a test."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.problems import NO_DELIVERY, NO_WEBHOOK
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import After, DeliveryStatus, Limit, ReplayAfter, ReplayDelivery, ReplayFailed, UserId
from postroom.webhooks import deliveries
from postroom.webhooks.deliveries import STATUSES, DeliveredMessage, Replayed, Status

ONE_OF = "Send one of delivery_id, after_event_id and failed."


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class DeliveriesQuery(msgspec.Struct, frozen=True):
    status: Annotated[DeliveryStatus[str], Meta(extra_json_schema={"enum": list(STATUSES)})] | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    limit: Limit = 50
    after: After = 0


class ReplayBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delivery_id: ReplayDelivery | UnsetType = UNSET
    after_event_id: ReplayAfter | UnsetType = UNSET
    failed: ReplayFailed | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET


class TestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class ShownDelivery(msgspec.Struct, frozen=True):
    """An event or a message for a webhook, and what became of the last attempt to send it.
    `message` is the message with the id that it had when it arrived."""

    id: int
    event_id: int | None
    type: str
    message: DeliveredMessage | None
    status: Status
    attempts: int
    next_at: str | None
    last_status_code: int | None
    last_error: str | None
    duration_ms: int | None
    created_at: str


class DeliveriesAnswer(msgspec.Struct, frozen=True):
    """The newest delivery comes first."""

    items: list[ShownDelivery]
    limit: int
    after: int


class ReplayAnswer(msgspec.Struct, frozen=True):
    """`more`: the same call, with `after_event_id` where it is set, goes on."""

    replayed: int
    more: bool
    after_event_id: int | None


class ShownAttempt(msgspec.Struct, frozen=True):
    """`error` is null if the endpoint has answered 2xx."""

    delivered: bool
    status_code: int | None
    error: str | None
    duration_ms: int


class TestAnswer(msgspec.Struct, frozen=True):
    attempt: ShownAttempt


@route("GET", "/v2/webhooks/:id/deliveries", "webhooks:read", "List deliveries", DeliveriesAnswer, missing=NO_WEBHOOK)
async def get_page(context: RequestContext, query: DeliveriesQuery) -> Result:
    """Lists the deliveries of a webhook: pending ones, those of the last 7 days that arrived, and
    those of the last 30 days that failed."""
    problems = text_problems(query.user_id)
    status = None if query.status is UNSET else _status(query.status, problems)
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    found = await context.services.database.read_slow(
        lambda tx: deliveries.page(
            tx, context.actor, id_, user_id, status=status, after=query.after, limit=query.limit + 1
        )
    )
    items = [_show(one) for one in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(DeliveriesAnswer(items, query.limit, query.after), headers=tuple(headers.items()))


@route(
    "POST",
    "/v2/webhooks/:id/replay",
    "webhooks:write",
    "Replay deliveries",
    ReplayAnswer,
    missing=NO_DELIVERY,
    refuses=("webhook_disabled",),
)
async def replay(context: RequestContext, query: UserQuery, body: ReplayBody) -> Result:
    """Sends deliveries of a webhook again: one, all that failed, or all events after one. A call
    takes at most 500 and says whether there are more."""
    problems = text_problems(query.user_id, body.user_id)
    sent = [name for name in ("delivery_id", "after_event_id", "failed") if getattr(body, name) is not UNSET]
    if len(sent) != 1:
        problems.append(FieldError(sent[0] if sent else "delivery_id", "invalid" if sent else "required", ONE_OF))
    elif body.failed is False:
        problems.append(FieldError("failed", "invalid", "Send true, or leave the field away."))
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        return Result(_shown(_replay(tx, context, id_, user_id, body)))

    return await context.write(work)


@route(
    "POST",
    "/v2/webhooks/:id/test",
    "webhooks:write",
    "Test webhook",
    TestAnswer,
    missing=NO_WEBHOOK,
    refuses=("too_many_requests", "not_available"),
    is_kept=False,
)
async def test(context: RequestContext, query: UserQuery, body: TestBody) -> Result:
    """Sends `webhook.test` to a webhook now, also to a disabled one, and returns what became of it;
    that takes up to 10 seconds. A webhook can be tested once in 12 seconds."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    found = await context.services.trials.on_request(context.actor, id_, user_id)
    return Result(TestAnswer(ShownAttempt(found.error is None, found.status_code, found.error, found.duration_ms)))


def _replay(tx: Tx, context: RequestContext, id_: int, user_id: str | None, body: ReplayBody) -> Replayed:
    if body.delivery_id is not UNSET:
        return deliveries.replay(tx, context.actor, id_, user_id, body.delivery_id)
    if body.after_event_id is not UNSET:
        return deliveries.replay_after(tx, context.actor, id_, user_id, body.after_event_id)
    return deliveries.replay_failed(tx, context.actor, id_, user_id)


def _shown(replayed: Replayed) -> ReplayAnswer:
    return ReplayAnswer(replayed.count, replayed.is_more, replayed.after_event_id)


def _status(sent: str, problems: list[FieldError]) -> Status | None:
    found = next((status for status in STATUSES if status == sent), None)
    if found is None:
        problems.append(FieldError("status", "invalid", f"Use one of: {', '.join(STATUSES)}."))
    return found


_show = filler(ShownDelivery)
