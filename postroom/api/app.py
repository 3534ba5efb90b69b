"""The ASGI application: actor, path, route, scope, parsing, handler, answer, log line.

Under /v2 the key is checked first, so that a client without a key cannot learn which paths, methods
or bodies exist.
"""

import time
from collections.abc import Callable

from postroom import __version__
from postroom.accounts.passwords import Hashers
from postroom.actor import Actor
from postroom.api import client_address
from postroom.api.authentication import Admission
from postroom.api.client_address import Network
from postroom.api.context import Measure, Probe, Services, encode, nothing_measured
from postroom.api.endpoints import console
from postroom.api.endpoints.console import Console
from postroom.api.event_stream import EventStream
from postroom.api.exchange import Exchange, Receive, Scope, Send, begin
from postroom.api.files import Files
from postroom.api.handling import Handling
from postroom.api.openapi import document
from postroom.api.rate_limits import Clock, RateLimiter, parse_rate
from postroom.api.replies import JSON, MethodNotAllowed, Reply, problem, send_reply
from postroom.api.request_metrics import ALONE, ProcessSlot, RequestMetrics
from postroom.api.route import Route
from postroom.api.router import BadPath, Router, split_path
from postroom.api.routes import ROUTES
from postroom.db import Database
from postroom.domains.dkim import Generator
from postroom.domains.resolver import Resolver
from postroom.domains.verification import Verification
from postroom.errors import Refused, not_found
from postroom.log import log
from postroom.mailboxes.interface import Mailboxes, NoMailboxes
from postroom.mailboxes.session_revocations import EndSessions
from postroom.messages.interface import Messages, NoMessages
from postroom.messages.outbox import NoOutbox, Outbox
from postroom.settings import Settings, split
from postroom.webhooks.sender import Sender
from postroom.webhooks.trials import Trials

METRICS = ["metrics"]
MAIL = ["mail"]
AUTOCONFIG = [*MAIL, "config-v1.1.xml"]
OWNER_PAGE = ["v2", "me"]
SIGN_IN = [*OWNER_PAGE, "session"]
NO_MAILBOXES, NO_MESSAGES, NO_OUTBOX = NoMailboxes(), NoMessages(), NoOutbox()


class App:
    """The API over one database."""

    def __init__(
        self,
        services: Services,
        limits: RateLimiter,
        trusted: tuple[Network, ...] = (),
        lets_local_in: bool = False,
        has_owner_page: bool = True,
    ) -> None:
        self.trusted = trusted
        routes = ROUTES if has_owner_page else tuple(one for one in ROUTES if not one.path.startswith("/v2/me"))
        self._has_owner_page = has_owner_page
        self._metrics = services.request_metrics
        self._admission = Admission(services.database, limits, trusted, lets_local_in)
        self._console = Console(services.database, self._admission, has_owner_page)
        self._files = Files(self._console)
        self._router = Router(routes)
        self._handling = Handling(services, routes, self._admission)
        self._openapi = encode(document(routes, __version__))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        elif (file := self._files.find(scope["path"])) is not None:
            await file(scope, receive, send)
        else:
            await self._serve(begin(scope, receive), send)

    async def _serve(self, exchange: Exchange, send: Send) -> None:
        started = time.perf_counter()
        try:
            reply = await self._reply(exchange)
        except Exception as error:
            reply = problem(error, exchange.request_id, exchange.missing)
        if isinstance(reply.body, EventStream):  # its duration is the client's
            self._count(exchange, reply, started)
            await _send_stream(send, exchange, reply, reply.body)
            return
        await send_reply(send, exchange, reply)
        self._count(exchange, reply, started)

    def _count(self, exchange: Exchange, reply: Reply, started: float) -> None:
        seconds = time.perf_counter() - started
        self._metrics.count(exchange.method, exchange.route_path, reply.status, seconds)
        _log(exchange, reply, seconds)

    async def _reply(self, exchange: Exchange) -> Reply:
        segments = _segments(exchange)
        exchange.actor = actor = await self._caller(exchange, segments)
        if actor is not None:
            self._admission.consume(exchange, actor)
        if segments is None:
            raise Refused("invalid_request", "The path must be UTF-8, percent-encoded, without NUL.")
        if actor is None and (reply := await self._beside(exchange, segments)):
            return reply
        return await self._handling.reply(exchange, *self._route(exchange, segments))

    async def _caller(self, exchange: Exchange, segments: list[str] | None) -> Actor | None:
        """The actor, or None for a path that needs no key. Raises `unauthorized` before anything
        else is checked."""
        if self._has_owner_page and segments is not None and segments[:2] == OWNER_PAGE:
            is_open = segments == SIGN_IN and exchange.method == "POST"
            return None if is_open else await self._admission.owner(exchange)
        if segments is None or (segments and segments[0] == "v2"):
            return await self._admission.actor(exchange)
        if segments[:1] == MAIL and segments != AUTOCONFIG:
            return await self._admission.by_mail_token(exchange)
        if segments == METRICS:
            return self._admission.local(exchange) or await self._admission.actor(exchange)
        return None

    def _route(self, exchange: Exchange, segments: list[str]) -> tuple[Route, dict[str, str]]:
        """The route of the path, and the parameters in the path. Raises `not_found`,
        MethodNotAllowed."""
        found = self._router.find(segments)
        if found is None:
            raise not_found()
        endpoint, values = found
        route = endpoint.methods.get("GET" if exchange.method == "HEAD" else exchange.method)
        if route is None:
            raise MethodNotAllowed(endpoint.allow, exchange.method)
        exchange.route_path = route.path
        if route.missing:
            exchange.missing = route.missing
        return route, values

    async def _beside(self, exchange: Exchange, segments: list[str]) -> Reply | None:
        """The answer for a path that is not in the table of routes: the console, its sessions and
        the documents; None for any other path."""
        if segments == console.SESSION:
            if exchange.method not in console.METHODS:
                raise MethodNotAllowed(", ".join(console.METHODS))
            exchange.route_path = "/console/session"
            said = await self._console.session(exchange)
            return Reply(said.status, said.body, JSON + said.headers)
        page = self._console.page(segments)
        if page is None and segments not in (["docs"], ["openapi.json"]):
            return None if self._router.find(segments) else self._console.missing(exchange)
        if exchange.method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD")
        if page:
            return Reply(*page)
        return Reply(200, self._openapi) if segments != ["docs"] else Reply(307, b"", ((b"location", b"/docs/"),))


def create_app(
    database: Database,
    settings: Settings,
    *,
    end_sessions: EndSessions,
    probe: Probe,
    instance: str,
    digest_key: str,
    mailboxes: Mailboxes = NO_MAILBOXES,
    messages: Messages = NO_MESSAGES,
    outbox: Outbox = NO_OUTBOX,
    has_submission: Callable[[], bool] = lambda: True,
    measure: Measure = nothing_measured,
    place: ProcessSlot = ALONE,
    clock: Clock = time.monotonic,
) -> App:
    """The application. `digest_key` is the key of app passwords and webhooks (digest_key.py)."""
    host, resolver, is_private = settings.dns_host, Resolver(settings.resolver), settings.webhook_allow == "private"
    services = Services(
        database=database,
        hashers=Hashers(),
        generator=Generator(),
        end_sessions=end_sessions,
        digest_key=digest_key,
        mailboxes=mailboxes,
        probe=probe,
        instance=instance,
        mail_host=host,
        has_submission=has_submission,
        verification=Verification(database, resolver, host),
        purge_days=settings.purge_days,
        measure=measure,
        request_metrics=RequestMetrics(database, place),
        public_url=settings.public_base,
        allows_private_webhooks=is_private,
        messages=messages,
        outbox=outbox,
        trials=Trials(database, Sender(resolver, allows_private=is_private), digest_key),
    )
    return _app(services, settings, clock)


def _app(services: Services, settings: Settings, clock: Clock) -> App:
    limits = RateLimiter(parse_rate(settings.rate_limit), settings.workers, clock)
    trusted = client_address.networks(split(settings.trusted_proxies))
    return App(services, limits, trusted, settings.metrics == "loopback", settings.owner_page == "on")


async def _send_stream(send: Send, exchange: Exchange, reply: Reply, stream: EventStream) -> None:
    try:
        await send_reply(send, exchange, reply)
    finally:
        stream.close()


def _segments(exchange: Exchange) -> list[str] | None:
    """The segments of the path, or None if the path is malformed."""
    try:
        return split_path(exchange.raw_path)
    except BadPath:
        return None


def _log(exchange: Exchange, reply: Reply, seconds: float) -> None:
    """Logs the request, a successful read only at the debug level. The logged path is the route's,
    without the values that the client sent."""
    quiet = reply.status < 400 and exchange.method in ("GET", "HEAD")
    if quiet and not log.has("debug"):
        return
    write, actor = log.debug if quiet else log.info, exchange.actor
    write(
        "request",
        method=exchange.method,
        route=exchange.route_path,
        status=reply.status,
        ms=round(seconds * 1000, 2),
        request_id=exchange.request_id,
        key_id=actor.key_id if actor else None,
        client_address=actor.client_address if actor else None,
    )


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answers the lifespan messages and does nothing else: the code that opened the database also
    closes it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
