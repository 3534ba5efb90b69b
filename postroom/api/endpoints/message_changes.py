"""The endpoint that tells of changes in an account's mailboxes as they happen."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.api.authentication import header
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.endpoints.messages import REFUSES
from postroom.api.event_stream import EventStream
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT
from postroom.api.route import route
from postroom.db import Database
from postroom.errors import Refused
from postroom.messages.mailbox_states import states_of
from postroom.parameters import LastEventId, UserId

# A proxy that collects an answer would hold the events back.
UNBUFFERED = ((b"x-accel-buffering", b"no"),)


class ChangesQuery(msgspec.Struct, frozen=True):
    last_event_id: LastEventId | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET


@route(
    "GET",
    "/v2/email-accounts/:id/changes",
    "messages:read",
    "Follow changes",
    EventStream,
    missing=NO_ACCOUNT,
    refuses=(*REFUSES, "limit_reached"),
    media="text/event-stream",
)
async def follow(context: RequestContext, query: ChangesQuery) -> Result:
    """Tells of each change in the mailboxes of an account as it happens, as server-sent events.
    A client that comes back sends the id of the last event as `Last-Event-ID`, and is told what has
    changed since."""
    raise_if_any(text_problems(query.user_id))
    services = context.services
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    account = await _account(services.database, context.actor, id_, user_id)
    sent = header(context.headers, b"last-event-id") or (query.last_event_id or "")
    told = states_of(sent) if sent else None
    end = services.streams.take(account.id)
    try:
        follower = await services.messages.follow(account.id)
    except BaseException:
        end()
        raise

    async def is_allowed(actor: Actor) -> bool:
        """A change of the status ends the stream: whether its client may go on is asked anew."""
        try:
            now = await _account(services.database, actor, id_, user_id)
        except Refused:
            return False
        return "messages:read" in actor.scopes and now.status == account.status

    return Result(EventStream(follower, told, is_allowed, end), headers=UNBUFFERED)


async def _account(database: Database, actor: Actor, id_: int, user_id: str | None) -> Account:
    """Raises not_found."""
    return await database.read(lambda tx: accounts.get(tx, actor, id_, user_id))
