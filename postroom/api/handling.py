"""Carries out a request whose route is known: scope, body, idempotency, query, handler, answer."""

import asyncio
import hmac
from collections.abc import Sequence
from functools import partial

import msgspec

from postroom import idempotency
from postroom.accounts import mail_tokens
from postroom.actor import Actor
from postroom.api.authentication import Admission, key_of
from postroom.api.body import XML_TYPES, read_body
from postroom.api.context import Keep, PublicRequest, RequestContext, Result, Services, encode, id_of
from postroom.api.decoding import decode_body, ignored, parse_query
from postroom.api.event_stream import EventStream
from postroom.api.exchange import Exchange
from postroom.api.idempotency import Retries, idempotency_key
from postroom.api.large_bodies import Body, LargeBodies
from postroom.api.replies import JSON, Reply
from postroom.api.route import PUBLIC, Route
from postroom.errors import Refused
from postroom.messages.interface import Content
from postroom.messages.shares import asker


class Handling:
    """The routes of one process and what their handlers share."""

    def __init__(self, services: Services, routes: Sequence[Route], admission: Admission) -> None:
        self._services = services
        self._admission = admission
        self._retries = Retries(services)
        self._large_bodies = LargeBodies(services.outbox.folder)
        self._decoders = {r.path + r.method: msgspec.json.Decoder(r.body) for r in routes if r.body}

    async def reply(self, exchange: Exchange, route: Route, values: dict[str, str]) -> Reply:
        """The answer of the route; `values` are the parameters of the path."""
        if route.scope == PUBLIC or exchange.actor is None:
            result = await self._public(exchange, route)
        else:
            result = await self._guarded(exchange, exchange.actor, route, values)
        media = (b"content-type", route.media.encode())
        if route.gives is EventStream:
            result.payload.authenticate = partial(self._authenticate_again, exchange, route, values)
        if route.gives in (Content, EventStream):
            return Reply(result.status, result.payload, (media, *result.headers))
        if isinstance(result.payload, Content):  # JSON that is made while it is sent
            return Reply(result.status, result.payload, JSON + result.headers)
        if route.gives is str:
            return Reply(result.status, result.payload.encode(), (media, *result.headers))
        return Reply(result.status, encode(result.payload), JSON + result.headers)

    async def _public(self, exchange: Exchange, route: Route) -> Result:
        if route.scope != PUBLIC:  # the table has a route outside /v2 that needs a key: refuse everyone
            raise Refused("unauthorized", "Send a valid API key in the x-api-key header.")
        body = await read_body(exchange.headers, exchange.receive, XML_TYPES) if route.takes_xml else b""
        request = PublicRequest(self._services, exchange.headers, exchange.query_text, body)
        # Mail programs spell their parameters as they like.
        query = parse_query(route.query, exchange.query_text, refuses_near_misses=False)
        if route.body is not None:
            return await self._with_token(exchange, route, request, query)
        return await route.handler(request, query)

    async def _with_token(self, exchange: Exchange, route: Route, request: PublicRequest, query: object) -> Result:
        """A public route that takes a secret in its body: wrong ones count as wrong keys do."""
        address = self._admission.check_address(exchange)
        body = decode_body(
            self._decoders[route.path + route.method], await read_body(exchange.headers, exchange.receive)
        )
        request = msgspec.structs.replace(request, request_id=exchange.request_id, client_address=address)
        try:
            return await route.handler(request, query, body)
        except Refused as error:
            if error.code in ("not_found", "unauthorized"):
                self._admission.record_failure(address)
            raise

    async def _guarded(self, exchange: Exchange, actor: Actor, route: Route, values: dict[str, str]) -> Result:
        asker.set(actor)
        await self._check_mail_token(actor, route, values)
        if route.scope not in actor.scopes:
            what = "key" if actor.token_id is None else "mail token"
            raise Refused("forbidden", f"This {what} lacks the scope {route.scope}: send one that has it.")
        if exchange.query_text:
            exchange.answer_headers += ignored(route.query, exchange.query_text)
        context = RequestContext(
            self._services, actor, values, exchange.path, exchange.query_text, headers=exchange.headers
        )
        name = idempotency_key(exchange.headers) if route.writes else None
        if route.large is not None:
            async with self._large_bodies.read(exchange, route.large.largest) as large:
                return await self._keyed(exchange, route, context, name, large)
        body = await read_body(exchange.headers, exchange.receive) if route.body else b""
        return await self._keyed(exchange, route, context, name, body)

    async def _check_mail_token(self, actor: Actor, route: Route, values: dict[str, str]) -> None:
        """Raises `forbidden` for a route that takes no mail token, `not_found` for an account that
        the actor's token does not open."""
        if actor.token_id is None:
            return
        if not route.takes_mail_token:
            raise Refused("forbidden", "A mail token does not work here: send an API key.")
        if "id" in values:
            account_id = id_of(values["id"])
            await self._services.database.read(lambda tx: mail_tokens.check(tx, actor, account_id))

    async def _authenticate_again(self, exchange: Exchange, route: Route, values: dict[str, str]) -> Actor:
        """The actor of a stream that goes on. Raises Refused, TooMany, Busy."""
        actor = await self._admission.actor(exchange)
        await self._check_mail_token(actor, route, values)
        return actor

    async def _keyed(
        self, exchange: Exchange, route: Route, context: RequestContext, name: bytes | None, body: Body
    ) -> Result:
        """Carries out the request; with the name of an Idempotency-Key, once."""
        if name is None:
            return await self._run(route, context, body)
        secret = self._credential(exchange, context.actor)
        head = b"%b %b?%b\n" % (route.method.encode(), exchange.raw_path, exchange.query_text)
        make = partial(idempotency.attempt, context.actor, secret, name, head, body)
        tried = make() if isinstance(body, bytes) else await asyncio.to_thread(make)

        async def run(keep: Keep) -> Result:
            return await self._run(route, msgspec.structs.replace(context, keep=keep, attempt=tried), body)

        return await self._retries.once(tried, run)

    def _credential(self, exchange: Exchange, actor: Actor) -> str:
        """The secret that an Idempotency-Key belongs to: the API key. A mail token or a session may
        be another one in a retry, so a secret of its key and its user stands for it."""
        key = key_of(exchange.headers)
        if key is not None and actor.token_id is None:
            return key
        who = f"idempotency {actor.key_id} {actor.user_id or ''}"
        return hmac.new(self._services.digest_key.encode(), who.encode(), "sha256").hexdigest()

    async def _run(self, route: Route, context: RequestContext, body: Body) -> Result:
        query = parse_query(route.query, context.query_text)
        if route.body is None:
            return await route.handler(context, query)
        decoder = self._decoders[route.path + route.method]
        if isinstance(body, bytes) or route.large is None:
            return await route.handler(context, query, decode_body(decoder, body))
        decode = partial(decode_body, decoder, body, route.large.size_problems)
        return await route.handler(context, query, await asyncio.to_thread(decode))
