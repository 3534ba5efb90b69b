"""The ASGI application: request id, authentication, route, scope, parsing, handler, answer, log
line.

Under /v2 the key is checked before anything else is decided, so that nobody without
one learns which paths, methods or bodies there are.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from postroom import __version__, idempotency
from postroom.accounts.passwords import Hashers
from postroom.actor import Actor
from postroom.api import credentials, problems, static_docs
from postroom.api.authentication import Admission
from postroom.api.body import XML_TYPES, read_body
from postroom.api.context import (
    Keep,
    Measure,
    Probe,
    PublicRequest,
    RequestContext,
    Result,
    Services,
    encode,
    nothing_measured,
)
from postroom.api.decoding import decode_body, ignored, parse_query
from postroom.api.endpoints import console
from postroom.api.endpoints.console import Console
from postroom.api.idempotency import Retries, idempotency_key
from postroom.api.openapi import document
from postroom.api.rate_limits import Clock, RateLimiter, parse_rate
from postroom.api.request_metrics import ALONE, ProcessSlot, RequestMetrics
from postroom.api.route import PUBLIC, Route
from postroom.api.router import BadPath, Router, split_path
from postroom.api.routes import ROUTES
from postroom.db import Database
from postroom.domains.dkim import Generator
from postroom.domains.resolver import Resolver
from postroom.domains.verification import Verification
from postroom.errors import Busy, LimitReached, Refused, TooMany, not_found
from postroom.mailboxes.interface import Mailboxes, NoMailboxes
from postroom.mailboxes.session_revocations import EndSessions
from postroom.settings import Settings, split

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

log = structlog.get_logger()

METRICS = ["metrics"]
NO_MAILBOXES = NoMailboxes()
JSON: Headers = ((b"content-type", b"application/json"),)
ALWAYS: Headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
DOCS_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class Reply(msgspec.Struct):
    """What goes out. `log` is what the log line says of it."""

    status: int
    body: bytes
    headers: Headers = JSON


class App:
    """The API over one database."""

    def __init__(
        self,
        services: Services,
        limits: RateLimiter,
        trusted: tuple[credentials.Network, ...] = (),
        lets_local_in: bool = False,
    ) -> None:
        self.trusted = trusted
        self._services = services
        self._limits = limits
        self._router = Router(ROUTES)
        self._admission = Admission(services.database, limits, trusted, lets_local_in)
        self._console = Console(services.database, self._admission)
        self._retries = Retries(services)
        self._decoders = {r.path + r.method: msgspec.json.Decoder(r.body) for r in ROUTES if r.body}
        self._openapi = encode(document(ROUTES, __version__))
        static = StaticFiles(directory=Path(__file__).parent / "docs", html=True)
        refused: dict[Any, Any] = {HTTPException: _no_file}
        self._docs = Starlette(routes=[Mount("/docs", static)], exception_handlers=refused)
        self._documents = static_docs.documents(refused)
        self._files = Starlette(routes=[Mount(self._console.prefix, self._console.files)], exception_handlers=refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        elif static_docs.is_one(scope["path"]):
            await self._documents(scope, receive, _with(scope, send, ((b"content-security-policy", DOCS_POLICY),)))
        elif scope["path"].startswith("/docs/"):
            await self._docs(scope, receive, _with(scope, send, ((b"content-security-policy", DOCS_POLICY),)))
        elif scope["path"].startswith(self._console.prefix):
            await self._files(scope, receive, _with(scope, send, console.FILE_HEADERS, console.KEEP))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request_id = os.urandom(12).hex()
        actor: Actor | None = None
        try:
            actor, segments = await self._admit(scope, request_id)
            reply = await self._reply(scope, receive, actor, segments, request_id)
        except Exception as error:
            reply = _problem(error, request_id, scope.get("missing"))
        await _send(send, scope["method"], reply, request_id, scope.get("quota", ()))
        seconds = time.perf_counter() - started
        self._services.request_metrics.count(scope["method"], scope.get("route"), reply.status, seconds)
        _log(scope, reply, request_id, actor, seconds)

    async def _admit(self, scope: Scope, request_id: str) -> tuple[Actor | None, list[str] | None]:
        """The caller, where one is needed, and the path (None: malformed). Raises Unauthorized
        before anything else."""
        segments: list[str] | None
        try:
            segments = split_path(scope["raw_path"])
        except BadPath:
            segments = None
        actor = None
        if segments is None or (segments and segments[0] == "v2"):
            actor = await self._admission.actor(scope, request_id)
        elif segments == METRICS:
            actor = self._admission.local(scope) or await self._admission.actor(scope, request_id)
        return actor, segments

    async def _reply(
        self, scope: Scope, receive: Receive, actor: Actor | None, segments: list[str] | None, request_id: str
    ) -> Reply:
        if actor is not None:
            scope["quota"], wait = self._limits.consume(actor.root_id)
            if wait:
                raise TooMany("This key has made too many requests: wait for Retry-After.", wait)
        if segments is None:
            raise Refused("invalid_request", "The path must be UTF-8, percent-encoded, without NUL.")
        if actor is None and (reply := await self._outside(scope, receive, segments, request_id)):
            return reply
        found = self._router.find(segments)
        if found is None:
            raise not_found()
        endpoint, values = found
        method = scope["method"]
        route = endpoint.methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise _MethodNotAllowed(endpoint.allow, method)
        scope["route"], scope["missing"] = route.path, route.missing
        answer = await self._handle(route, scope, receive, actor, values)
        if route.gives is str:
            media = (b"content-type", route.media.encode())
            return Reply(answer.status, answer.payload.encode(), (media, *answer.headers))
        return Reply(answer.status, encode(answer.payload), JSON + answer.headers)

    async def _outside(self, scope: Scope, receive: Receive, segments: list[str], request_id: str) -> Reply | None:
        """What is served beside the table: the console, the sessions of it, and the documents."""
        if segments == console.SESSION:
            if scope["method"] not in console.METHODS:
                raise _MethodNotAllowed(", ".join(console.METHODS))
            scope["route"] = "/console/session"
            said = await self._console.session(scope, receive, request_id)
            return Reply(said.status, said.body, JSON + said.headers)
        page = self._console.page(segments)
        if page is None and segments not in (["docs"], ["openapi.json"]):
            return None
        if scope["method"] not in ("GET", "HEAD"):
            raise _MethodNotAllowed("GET, HEAD")
        if page:
            return Reply(*page)
        return Reply(200, self._openapi) if segments != ["docs"] else Reply(307, b"", ((b"location", b"/docs/"),))

    async def _handle(
        self, route: Route, scope: Scope, receive: Receive, actor: Actor | None, values: dict[str, str]
    ) -> Result:
        if route.scope == PUBLIC or actor is None:
            body = await read_body(scope["headers"], receive, XML_TYPES) if route.takes_xml else b""
            return await _public(route, PublicRequest(self._services, scope["headers"], scope["query_string"], body))
        if route.scope not in actor.scopes:
            raise Refused("forbidden", f"This key lacks the scope {route.scope}: send a key that has it.")
        if scope["query_string"]:
            scope["quota"] += ignored(route.query, scope["query_string"])
        once = idempotency_key(scope["headers"]) if route.writes else None
        body = await read_body(scope["headers"], receive) if route.body else b""
        call = RequestContext(self._services, actor, values, scope["path"], scope["query_string"])
        if once is None:
            return await self._run(route, call, body)
        request = b"%b %b?%b\n%b" % (route.method.encode(), scope["raw_path"], scope["query_string"], body)
        secret = credentials.key_of(scope["headers"]) or credentials.session_token(scope["headers"]) or ""
        tried = idempotency.attempt(actor, secret, once, request)

        async def run(keep: Keep) -> Result:
            return await self._run(route, msgspec.structs.replace(call, keep=keep), body)

        return await self._retries.once(tried, run)

    async def _run(self, route: Route, call: RequestContext, body: bytes) -> Result:
        query = parse_query(route.query, call.query_text)
        if route.body is None:
            return await route.handler(call, query)
        return await route.handler(call, query, decode_body(self._decoders[route.path + route.method], body))


class _MethodNotAllowed(Refused):
    def __init__(self, allow: str, method: str = "") -> None:
        hint = " To delete, POST the id or name to the path that ends in /delete." if method == "DELETE" else ""
        super().__init__("method_not_allowed", f"This path takes: {allow}.{hint}")
        self.allow = allow


def create_app(
    database: Database,
    settings: Settings,
    *,
    end_sessions: EndSessions,
    probe: Probe,
    instance: str,
    mailboxes: Mailboxes = NO_MAILBOXES,
    measure: Measure = nothing_measured,
    place: ProcessSlot = ALONE,
    clock: Clock = time.monotonic,
) -> App:
    """The application over an open database; what asks the other parts comes from whoever wires
    them."""
    host = settings.dns_host
    services = Services(
        database=database,
        hashers=Hashers(),
        generator=Generator(),
        end_sessions=end_sessions,
        mailboxes=mailboxes,
        probe=probe,
        instance=instance,
        mail_host=host,
        verification=Verification(database, Resolver(settings.resolver), host),
        purge_days=settings.purge_days,
        measure=measure,
        request_metrics=RequestMetrics(database, place),
    )
    limits = RateLimiter(parse_rate(settings.rate_limit), settings.workers, clock)
    return App(services, limits, credentials.networks(split(settings.trusted_proxies)), settings.metrics == "loopback")


async def _public(route: Route, public_request: PublicRequest) -> Result:
    if route.scope != PUBLIC:  # a route outside /v2 that wants a key: the table is wrong, so nobody passes
        raise Refused("unauthorized", "Send a valid API key in the x-api-key header.")
    return await route.handler(public_request, parse_query(route.query, public_request.query_text))


def _problem(error: Exception, request_id: str, missing: str | None = None) -> Reply:
    headers: Headers = ((b"content-type", problems.MEDIA_TYPE.encode()),)
    code, detail, fields = "internal_error", "The request id finds this in the log.", ()
    if isinstance(error, Refused):
        code, detail, fields = error.code, error.detail, error.fields  # type: ignore[assignment]
        if code == "not_found":
            detail = missing or problems.NO_PATH
    elif isinstance(error, Busy):
        code, detail = error.code, error.detail
        headers += ((b"retry-after", str(error.seconds).encode()),)
    else:
        log.error("request failed", request_id=request_id, exc_info=error)
    if isinstance(error, TooMany):
        headers += ((b"retry-after", str(error.seconds).encode()),)
    if isinstance(error, _MethodNotAllowed):
        headers += ((b"allow", error.allow.encode()),)
    if code == "unauthorized":
        headers += ((b"www-authenticate", b'Bearer realm="postroom"'),)
    limit = error.limit if isinstance(error, LimitReached) else None
    status, body = problems.encode(code, detail, request_id, fields, limit)
    return Reply(status, body, headers)


async def _send(send: Send, method: str, reply: Reply, request_id: str, quota: Headers) -> None:
    headers = [
        *reply.headers,
        *quota,
        *ALWAYS,
        (b"content-length", b"%d" % len(reply.body)),
        (b"x-request-id", request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else reply.body})


def _log(scope: Scope, reply: Reply, request_id: str, actor: Actor | None, seconds: float) -> None:
    """Reads that went well are for debugging only; the path is the route's, without what was
    sent in it."""
    quiet = reply.status < 400 and scope["method"] in ("GET", "HEAD")
    if quiet and not log.is_enabled_for(logging.DEBUG):
        return
    write = log.debug if quiet else log.info
    write(
        "request",
        method=scope["method"],
        route=scope.get("route"),
        status=reply.status,
        ms=round(seconds * 1000, 2),
        request_id=request_id,
        key_id=actor.key_id if actor else None,
        client_address=actor.client_address if actor else None,
    )


def _no_file(request: Request, error: Exception) -> Response:
    """What is no file of the documents or of the console, as any other problem."""
    is_write = isinstance(error, HTTPException) and error.status_code == 405
    refused = _MethodNotAllowed("GET, HEAD") if is_write else not_found()
    reply = _problem(refused, request.scope["request_id"])
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers)


def _with(scope: Scope, send: Send, headers: Headers, found: Headers = ()) -> Send:
    """Sends with these headers, and with `found` where the file is there."""
    request_id = scope["request_id"] = os.urandom(12).hex()

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            extra = [
                *headers,
                (b"x-content-type-options", b"nosniff"),
                (b"x-request-id", request_id.encode()),
            ]
            message["headers"] = [*message["headers"], *extra, *(found if message["status"] < 400 else ())]
        await send(message)

    return sending


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to open here: whoever made the database closes it."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
