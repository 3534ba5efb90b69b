"""What became of the messages that an account has submitted."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import sent_days, sent_mail
from postroom.accounts.sent_days import DAY_MS, SentDay
from postroom.accounts.sent_mail import SentStatus
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.pagination import next_link
from postroom.api.problems import NO_ACCOUNT
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.errors import FieldError
from postroom.parameters import After, Limit, SentMessageId, UserId

LONGEST = 1000


class SentQuery(msgspec.Struct, frozen=True):
    message_id: SentMessageId | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    limit: Limit = 50
    after: After = 0


class ShownSentRecipient(msgspec.Struct, frozen=True):
    """A recipient of a sent message, and the last that is known of its delivery."""

    id: int
    message_id: str
    recipient: str
    status: SentStatus
    smtp_code: int | None
    enhanced_code: str
    reason: str | None
    sent_at: str
    status_at: str


class SentAnswer(msgspec.Struct, frozen=True):
    """The recipients whose status changed last come first."""

    items: list[ShownSentRecipient]
    limit: int
    after: int


@route(
    "GET",
    "/v2/email-accounts/:id/sent",
    "sent:read",
    "List sent mail",
    SentAnswer,
    missing=NO_ACCOUNT,
)
async def get_page(context: RequestContext, query: SentQuery) -> Result:
    """Lists the recipients of the messages that an account has submitted in the last 7 days, and
    what became of each."""
    problems = text_problems(query.user_id)
    if query.message_id is not UNSET and len(query.message_id) > LONGEST:
        problems.append(FieldError("message_id", "invalid", f"A Message-ID has at most {LONGEST} characters."))
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    message_id = None if query.message_id is UNSET else sent_mail.message_id_of(query.message_id)
    found = await context.services.database.read_slow(
        lambda tx: sent_mail.page(
            tx, context.actor, id_, user_id, message_id=message_id, after=query.after, limit=query.limit + 1
        )
    )
    items = [_show(one) for one in found[: query.limit]]
    headers = next_link(context, items[-1].id, query.limit) if len(found) > query.limit else {}
    return Result(SentAnswer(items, query.limit, query.after), headers=tuple(headers.items()))


class DaysQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class ShownSentDay(msgspec.Struct, frozen=True):
    """How many recipients an account wrote to on a day in UTC, by what became of them."""

    day: str
    delivered: int
    delayed: int
    bounced: int


class SentDaysAnswer(msgspec.Struct, frozen=True):
    """The last 30 days, the oldest first."""

    items: list[ShownSentDay]


@route(
    "GET",
    "/v2/email-accounts/:id/sent/days",
    "sent:read",
    "Count sent mail",
    SentDaysAnswer,
    missing=NO_ACCOUNT,
)
async def get_days(context: RequestContext, query: DaysQuery) -> Result:
    """Counts the recipients to whom an account has written on each of the last 30 days, by what
    became of them. A recipient counts on the day of the submission, once something is known of the
    delivery."""
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    found = await context.services.database.read(lambda tx: sent_days.read(tx, context.actor, id_, user_id))
    return Result(SentDaysAnswer([_show_day(one) for one in found]))


def _show_day(one: SentDay) -> ShownSentDay:
    day = datetime.fromtimestamp(one.day * DAY_MS / 1000, UTC).date().isoformat()
    return ShownSentDay(day, one.delivered, one.delayed, one.bounced)


_show = filler(ShownSentRecipient)
