"""Who is let in: by an API key in `x-api-key` or `Authorization: Bearer`, or by the cookie of a
session of the console, which stands for a key. The query string is never looked at.

A header with a key decides alone, right or wrong; the cookie is then ignored. The browser sends
the cookie with requests of every page, so a write with a cookie must prove that it comes from our
own page.
"""

import hmac

import msgspec

from postroom.actor import Actor
from postroom.api.client_address import Network, client_address, is_loopback
from postroom.api.exchange import Exchange, Headers
from postroom.api.key_usage import LastUses
from postroom.api.rate_limits import RateLimiter
from postroom.auth import console_sessions, keys
from postroom.auth.console_sessions import Session
from postroom.db import Database, Tx
from postroom.errors import Refused, TooMany

# A browser takes a `__Host-` cookie over HTTPS only, and no other host can set it (RFC 6265bis
# 4.1.3.2).
SECURE_COOKIE = b"__Host-postroom"
COOKIE = b"postroom"
OPERATOR = 0  # of no organization
# Headers of a request that has come through a proxy, has a key or comes from a browser.
NOT_LOCAL = {
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-real-ip",
    b"forwarded",
    b"via",
    b"x-api-key",
    b"authorization",
    b"cookie",
    b"origin",
    b"sec-fetch-site",
}
READS = ("GET", "HEAD", "OPTIONS")


class Admission:
    """The door of one process."""

    def __init__(
        self, database: Database, limits: RateLimiter, trusted: tuple[Network, ...], lets_local_in: bool
    ) -> None:
        self._database = database
        self._limits = limits
        self._trusted = trusted
        self._lets_local_in = lets_local_in
        self._last_uses = LastUses(database)

    def local(self, exchange: Exchange) -> Actor | None:
        """The operator, where the settings let him read the metrics without a key: a program on
        this host that has not come through a proxy. Who sends a key is not him."""
        sent = {name for name, _ in exchange.headers}
        if not self._lets_local_in or sent & NOT_LOCAL or not is_loopback(exchange.peer):
            return None
        return Actor(OPERATOR, frozenset({"metrics:read"}))

    async def actor(self, exchange: Exchange) -> Actor:
        """Who calls. Raises `unauthorized`, `csrf_refused`, TooMany."""
        headers = exchange.headers
        key = key_of(headers)
        if key is None and not sends_key(headers) and session_token(headers) is not None:
            return (await self.by_session(exchange)).actor
        return await self._by_key(key, exchange)

    async def by_key(self, exchange: Exchange) -> Actor:
        """The holder of the key that was sent."""
        return await self._by_key(key_of(exchange.headers), exchange)

    async def _by_key(self, key: str | None, exchange: Exchange) -> Actor:
        address = self._address_of(exchange)
        self._limits.check_address(address, key)
        found = await self._database.read(lambda tx: keys.authenticate(tx, key, address)) if key else None
        if found is None:
            raise self._wrong(address)
        return self._known(key, *found, exchange.request_id, address)

    def consume(self, exchange: Exchange, actor: Actor) -> None:
        """Counts a call of the actor. The answer tells of it, also where this raises TooMany."""
        exchange.answer_headers, wait = self._limits.consume(actor.root_id)
        if wait:
            raise TooMany("This key has made too many requests: wait for Retry-After.", wait)

    async def by_session(self, exchange: Exchange) -> Session:
        """The session that the cookie names; a write proves that the console has sent it."""
        address, token = self._address_of(exchange), session_token(exchange.headers) or ""
        self._limits.check_address(address, token)
        found = await self._database.read(lambda tx: console_sessions.find(tx, token, address))
        if found is None:
            raise self._wrong(address)
        session, is_to_note = found
        if is_cross_site(exchange.headers):
            raise Refused("csrf_refused", "Only the console's own pages can use a session: send an API key.")
        if exchange.method not in READS and not _proves(exchange.headers, token):
            raise Refused("csrf_refused", "Send the session's token in the x-csrf-token header.")
        actor = self._known(token, session.actor, is_to_note, exchange.request_id, address)
        return msgspec.structs.replace(session, actor=actor)

    async def by_link(self, exchange: Exchange, token: str) -> Session:
        """A new session, for the first use of a link."""
        address = self._address_of(exchange)
        self._limits.check_address(address, None)

        def work(tx: Tx) -> Session:
            return console_sessions.follow_link(tx, token, exchange.request_id, address)

        try:
            return await self._database.write(work)
        except Refused:
            self._limits.record_failure(address)
            raise

    def _address_of(self, exchange: Exchange) -> str:
        return client_address(exchange.peer, exchange.headers, self._trusted)

    def _wrong(self, address: str) -> Refused:
        self._limits.record_failure(address)
        return Refused("unauthorized", "Send a valid API key in the x-api-key header.")

    def _known(self, secret: str | None, actor: Actor, is_to_note: bool, request_id: str, address: str) -> Actor:
        self._limits.remember_key(secret)
        if is_to_note:
            self._last_uses.add(actor)
        return msgspec.structs.replace(actor, request_id=request_id, client_address=address)


def _proves(headers: Headers, token: str) -> bool:
    sent = header(headers, b"x-csrf-token")
    return hmac.compare_digest(sent.encode(), console_sessions.csrf_token(token).encode())


def key_of(headers: Headers) -> str | None:
    """The API key that was sent, if any. Two different keys are none."""
    found = None
    for name, value in headers:
        if name == b"x-api-key":
            key = value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            key = value[7:].strip()
        else:
            continue
        if found is not None and key != found:
            return None
        found = key
    return found.decode("ascii", "replace") if found and len(found) <= 200 else None


def sends_key(headers: Headers) -> bool:
    """Whether a header for a key is there, whatever it holds."""
    return any(name in (b"x-api-key", b"authorization") for name, _ in headers)


def session_token(headers: Headers) -> str | None:
    """What the cookie of a console session holds. The name that only TLS can set counts alone
    where it is there; two different ones of a name are none."""
    pairs = [pair.strip().partition(b"=") for n, value in headers if n == b"cookie" for pair in value.split(b";")]
    secure = {value for name, _, value in pairs if name == SECURE_COOKIE}
    found = secure or {value for name, _, value in pairs if name == COOKIE}
    return _text(value) if len(found) == 1 and 0 < len(value := found.pop()) <= 200 else None


def is_cross_site(headers: Headers) -> bool:
    """Whether a page of another site has made the browser send this. Browsers say so in
    Sec-Fetch-Site; over plain HTTP they leave it out, and then Origin has to be our own host
    where it is sent."""
    site, origin = header(headers, b"sec-fetch-site"), header(headers, b"origin")
    if site:
        return site not in ("same-origin", "none")
    return bool(origin) and origin.partition("://")[2] != header(headers, b"host")


def header(headers: Headers, wanted: bytes) -> str:
    """The first header of this name, or nothing."""
    return next((_text(value) for name, value in headers if name == wanted), "")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
