"""Carries out a request whose route is known: scope, body, idempotency, query, handler, answer."""

from collections.abc import Awaitable, Sequence

import msgspec

from postroom import idempotency
from postroom.actor import Actor
from postroom.api.authentication import Admission, key_of
from postroom.api.body import XML_TYPES, read_body
from postroom.api.context import Keep, PublicRequest, RequestContext, Result, Services, encode
from postroom.api.cookies import session_token
from postroom.api.decoding import decode_body, ignored, parse_query
from postroom.api.exchange import Exchange
from postroom.api.idempotency import Retries, idempotency_key
from postroom.api.replies import JSON, Reply
from postroom.api.route import PUBLIC, Route
from postroom.errors import Refused


class Handling:
    """The routes of one process and what their handlers share."""

    def __init__(self, services: Services, routes: Sequence[Route], admission: Admission) -> None:
        self._services = services
        self._admission = admission
        self._retries = Retries(services)
        self._decoders = {r.path + r.method: msgspec.json.Decoder(r.body) for r in routes if r.body}

    async def reply(self, exchange: Exchange, route: Route, values: dict[str, str]) -> Reply:
        """The answer of the route; `values` are the parameters of the path."""
        if route.scope == PUBLIC or exchange.actor is None:
            result = await self._public(exchange, route)
        else:
            result = await self._guarded(exchange, exchange.actor, route, values)
        if route.gives is str:
            media = (b"content-type", route.media.encode())
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
        if route.scope not in actor.scopes:
            raise Refused("forbidden", f"This key lacks the scope {route.scope}: send a key that has it.")
        if exchange.query_text:
            exchange.answer_headers += ignored(route.query, exchange.query_text)
        name = idempotency_key(exchange.headers) if route.writes else None
        body = await read_body(exchange.headers, exchange.receive) if route.body else b""
        context = RequestContext(
            self._services, actor, values, exchange.path, exchange.query_text, headers=exchange.headers
        )
        if name is None:
            return await self._run(route, context, body)

        async def run(keep: Keep) -> Result:
            return await self._run(route, msgspec.structs.replace(context, keep=keep), body)

        secret = key_of(exchange.headers) or session_token(exchange.headers) or ""
        request = b"%b %b?%b\n%b" % (route.method.encode(), exchange.raw_path, exchange.query_text, body)
        return await self._retries.once(idempotency.attempt(actor, secret, name, request), run)

    def _run(self, route: Route, context: RequestContext, body: bytes) -> Awaitable[Result]:
        query = parse_query(route.query, context.query_text)
        if route.body is None:
            return route.handler(context, query)
        return route.handler(context, query, decode_body(self._decoders[route.path + route.method], body))
