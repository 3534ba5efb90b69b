"""What a handler receives and returns: an authenticated and parsed request, and a result."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import owner_sessions
from postroom.accounts.passwords import Hashers
from postroom.actor import Actor
from postroom.api.event_stream import event_streams
from postroom.api.exchange import Headers
from postroom.api.request_metrics import RequestMetrics
from postroom.db import Database, Tx
from postroom.domains.dkim import Generator
from postroom.domains.verification import Verification
from postroom.errors import Busy, FieldError, not_found
from postroom.idempotency import Attempt
from postroom.mail_host import MailHost
from postroom.mailboxes.interface import Mailboxes
from postroom.mailboxes.session_revocations import Ended, EndSessions
from postroom.messages.interface import Messages
from postroom.messages.outbox import Outbox
from postroom.messages.shares import Shares
from postroom.webhooks.trials import Trials

# Part of the installation → None if the part answers, otherwise one sentence that says why not.
Probe = Callable[[], Awaitable[dict[str, str | None]]]


class Measured(msgspec.Struct, frozen=True):
    """Measurements of the other parts. None: the value cannot be measured here or now."""

    logins: dict[tuple[str, str], int] | None = None  # number of logins by service and result
    mail_queue: dict[str, int] | None = None
    certificate_ends: float | None = None
    worker_silence: float | None = None
    has_filter: bool | None = None  # whether the spam filter answers


Measure = Callable[[], Awaitable[Measured]]


async def nothing_measured() -> Measured:
    """The measurements of an instance that measures nothing."""
    return Measured()


encode = msgspec.json.Encoder().encode


class Result(msgspec.Struct, frozen=True):
    """What a handler returns. `payload` is encoded as JSON, or sent unchanged if the route gives
    text. `revoked_sessions` are ended before the answer is sent. If they cannot be ended,
    `payload_if_pending` is sent instead, and `record_pending` records that they have not ended (it
    returns False if they have ended in the meantime)."""

    payload: Any
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    revoked_sessions: tuple[Ended, ...] = ()
    payload_if_pending: Any = None
    record_pending: Callable[[Tx], bool] | None = None


# A transaction that makes the result, and a wrapper that stores this result in the same transaction
# (idempotency.py).
Work = Callable[[Tx], Result]
Keep = Callable[[Work], Work]


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all handlers share."""

    database: Database
    hashers: Hashers
    generator: Generator
    end_sessions: EndSessions
    digest_key: str
    mailboxes: Mailboxes
    probe: Probe
    instance: str
    mail_host: MailHost
    has_submission: Callable[[], bool]
    verification: Verification
    purge_days: int
    measure: Measure
    request_metrics: RequestMetrics
    public_url: str
    allows_private_webhooks: bool
    trials: Trials
    messages: Messages
    outbox: Outbox
    streams: Shares = field(default_factory=event_streams)

    def client_host(self) -> MailHost:
        """Returns the mail host for mail clients: without submission if there is no Postfix."""
        if self.has_submission():
            return self.mail_host
        return msgspec.structs.replace(self.mail_host, has_submission=False)


class PublicRequest(msgspec.Struct, frozen=True):
    """One request to a route that needs no key. `body` is the XML document, if the route takes
    one; a JSON body is an argument of the handler."""

    services: Services
    headers: Headers
    query_text: bytes
    body: bytes = b""
    request_id: str = ""
    client_address: str = ""


class RequestContext(msgspec.Struct, frozen=True):
    """One authenticated request. `path` holds the parameters of the route's path, `attempt` tells
    of its Idempotency-Key."""

    services: Services
    actor: Actor
    path: dict[str, str]
    path_text: str
    query_text: bytes
    keep: Keep | None = None
    attempt: Attempt | None = None
    headers: Headers = ()

    async def write(self, work: Work) -> Result:
        """Runs the one transaction of a write (see Database.write) and returns its result, which is
        made inside the transaction so that it can be stored with the change.

        Sessions are ended after the commit. If that fails, the worker tries again
        (session_revocations.py), and the answer says so.
        """
        if self.actor.session_id is not None:
            work = _in_session(self.actor, work)
        answer = await self.services.database.write(self.keep(work) if self.keep else work)
        if not answer.revoked_sessions or await self.services.end_sessions(answer.revoked_sessions):
            return answer
        if answer.record_pending is not None:
            with contextlib.suppress(Busy):  # the change is committed, and the worker ends the sessions anyway
                if not await self.services.database.write(answer.record_pending):
                    return answer
        return msgspec.structs.replace(answer, payload=answer.payload_if_pending)


def _in_session(actor: Actor, work: Work) -> Work:
    """The transaction of an owner whose session is still open in it (decision 0268)."""

    def checked(tx: Tx) -> Result:
        owner_sessions.check(tx, actor)
        return work(tx)

    return checked


def resolve_user(actor: Actor, *sent: str | UnsetType) -> str | None:
    """The user that the request is about, or None. Raises `not_found` if query, body and key
    disagree, as for a foreign account."""
    found = actor.user_id
    for user in sent:
        if user is UNSET:
            continue
        if found is not None and user != found:
            raise not_found()
        found = user
    return found


def require_user(actor: Actor, problems: list[FieldError], *sent: str | UnsetType) -> str:
    """Like `resolve_user`, but a user is required: if none is given, a problem is added to
    `problems`."""
    if actor.user_id is None and all(user is UNSET for user in sent):
        problems.append(FieldError("user_id", "required", "This field is required."))
    return "" if problems else resolve_user(actor, *sent) or ""


def path_id(context: RequestContext, name: str = "id") -> int:
    """The parameter `name` of the path. Raises `not_found` if it is not an id."""
    return id_of(context.path[name])


def id_of(text: str) -> int:
    """The id that a text names. Raises `not_found` if it is none."""
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > 18:
        raise not_found()
    return int(text)
