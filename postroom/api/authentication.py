"""Authentication: by an API key in `x-api-key` or `Authorization: Bearer`, or by the cookie of a
console session, which stands for a key; on the owner's page by its own cookie alone. A mail token,
which stands for a key too, comes in `Authorization: Bearer` alone. The query string is never read.

If a header with a key is present, it alone decides, valid or not, and the cookie is ignored. A
browser sends the cookie with requests from any page, so a write with a cookie must prove that it
comes from the console's own page.
"""

import contextlib
import hmac
from collections.abc import Callable

import msgspec

from postroom.accounts import mail_tokens, owner_sessions
from postroom.actor import OWNER_SCOPE, Actor
from postroom.api.client_address import Network, client_address, is_loopback
from postroom.api.cookies import OWNER, csrf_token, session_token
from postroom.api.exchange import Exchange, Headers
from postroom.api.key_usage import LastUses
from postroom.api.rate_limits import RateLimiter
from postroom.auth import console_sessions, keys
from postroom.auth.console_sessions import Session
from postroom.db import Database, Tx
from postroom.errors import Busy, Refused, TooMany

OPERATOR = 0  # the organization id of an actor that belongs to no organization
# Headers that show that a request came through a proxy, has a key or comes from a browser.
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
# Finds the actor of a secret and a client's address, and whether to record the use of the key.
Find = Callable[[Tx, str, str], tuple[Actor, bool] | None]
NO_KEY = "Send a valid API key in the x-api-key header."
NOT_OPEN = "Send a valid mail token as Authorization: Bearer. POST /v2/mail-tokens makes one, with an API key."
NO_OWNER = "Sign in at /me with the address and its password. An API key does not work here."


class Admission:
    """Authentication and rate limits of one process."""

    def __init__(
        self, database: Database, limits: RateLimiter, trusted: tuple[Network, ...], lets_local_in: bool
    ) -> None:
        self._database = database
        self._limits = limits
        self._trusted = trusted
        self._lets_local_in = lets_local_in
        self._last_uses = LastUses(database)

    def local(self, exchange: Exchange) -> Actor | None:
        """The operator, if the settings let the operator read the metrics without a key and the
        request comes from a program on this host, not through a proxy; otherwise None. A request
        with a key is never the operator's."""
        sent = {name for name, _ in exchange.headers}
        if not self._lets_local_in or sent & NOT_LOCAL or not is_loopback(exchange.peer):
            return None
        return Actor(OPERATOR, frozenset({"metrics:read"}))

    async def actor(self, exchange: Exchange) -> Actor:
        """The actor of the request. Raises `unauthorized`, `csrf_refused`, TooMany."""
        headers = exchange.headers
        key = key_of(headers)
        if key is None and not sends_key(headers) and session_token(headers) is not None:
            return (await self.by_session(exchange)).actor
        if key is not None and key.startswith(mail_tokens.MARK):
            return await self.by_mail_token(exchange)
        return await self._by_secret(key, keys.authenticate, exchange, NO_KEY)

    async def by_key(self, exchange: Exchange) -> Actor:
        """The actor of the key that was sent. Raises `unauthorized`, TooMany."""
        return await self._by_secret(key_of(exchange.headers), keys.authenticate, exchange, NO_KEY)

    async def by_mail_token(self, exchange: Exchange) -> Actor:
        """The actor of the mail token that was sent; an API key does not count. Raises
        `unauthorized`, TooMany."""
        return await self._by_secret(mail_token_of(exchange.headers), mail_tokens.authenticate, exchange, NOT_OPEN)

    async def _by_secret(self, secret: str | None, find: Find, exchange: Exchange, advice: str) -> Actor:
        address = self._address_of(exchange)
        self._limits.check_address(address, secret)
        found = await self._database.read(lambda tx: find(tx, secret, address)) if secret else None
        if found is None:
            raise self._wrong(address, advice)
        return self._known(secret, *found, exchange.request_id, address)

    def consume(self, exchange: Exchange, actor: Actor) -> None:
        """Counts a call of the actor. The answer's headers report the count, even if this raises
        TooMany."""
        name = actor.root_id if actor.account_id is None else f"account {actor.account_id}"
        exchange.answer_headers, wait = self._limits.consume(name)
        if wait:
            raise TooMany("This key has made too many requests: wait for Retry-After.", wait)

    async def by_session(self, exchange: Exchange) -> Session:
        """The session that the cookie names. A write must prove that the console sent it. Raises
        `unauthorized`, `csrf_refused`, TooMany."""
        address, token = self._address_of(exchange), session_token(exchange.headers) or ""
        self._limits.check_address(address, token)
        found = await self._database.read(lambda tx: console_sessions.find(tx, token, address))
        if found is None:
            raise self._wrong(address, NO_KEY)
        session, is_to_note = found
        _check_page(exchange, token)
        actor = self._known(token, session.actor, is_to_note, exchange.request_id, address)
        return msgspec.structs.replace(session, actor=actor)

    async def owner(self, exchange: Exchange) -> Actor:
        """The owner of an account, who has signed in on the owner's page. A key does not count, and
        the session has no scope but OWNER. Raises `unauthorized`, `csrf_refused`, TooMany."""
        address, token = self._address_of(exchange), session_token(exchange.headers, OWNER)
        self._limits.check_address(address, token)
        known = None
        if token and not sends_key(exchange.headers):
            known = await self._database.read(lambda tx: owner_sessions.find(tx, token))
        if known is None:
            raise self._wrong(address, NO_OWNER)
        _check_page(exchange, token or "")
        session, now = known
        if session.extended(now) - session.expires_at >= owner_sessions.EXTEND_MS:
            with contextlib.suppress(Busy):
                await self._database.write(lambda tx: owner_sessions.extend(tx, session))
        self._limits.remember_key(token)
        return Actor(
            session.organization_id,
            frozenset({OWNER_SCOPE}),
            request_id=exchange.request_id,
            client_address=address,
            account_id=session.account_id,
            session_id=session.id,
        )

    async def by_link(self, exchange: Exchange, token: str) -> Session:
        """A new session, made by the first use of a sign-in link. Raises Refused, TooMany."""
        address = self._address_of(exchange)
        self._limits.check_address(address, None)

        def work(tx: Tx) -> Session:
            return console_sessions.follow_link(tx, token, exchange.request_id, address)

        try:
            return await self._database.write(work)
        except Refused:
            self._limits.record_failure(address)
            raise

    def check_address(self, exchange: Exchange) -> str:
        """The address of the client. Raises TooMany if it has sent too many wrong secrets."""
        address = self._address_of(exchange)
        self._limits.check_address(address, None)
        return address

    def record_failure(self, address: str) -> None:
        """Counts a wrong secret of this address."""
        self._limits.record_failure(address)

    def _address_of(self, exchange: Exchange) -> str:
        return client_address(exchange.peer, exchange.headers, self._trusted)

    def _wrong(self, address: str, advice: str) -> Refused:
        self._limits.record_failure(address)
        return Refused("unauthorized", advice)

    def _known(self, secret: str | None, actor: Actor, is_to_note: bool, request_id: str, address: str) -> Actor:
        self._limits.remember_key(secret)
        if is_to_note:
            self._last_uses.add(actor)
        return msgspec.structs.replace(actor, request_id=request_id, client_address=address)


def _check_page(exchange: Exchange, token: str) -> None:
    """Raises `csrf_refused` unless our own page has sent the request of this session."""
    if is_cross_site(exchange.headers):
        raise Refused("csrf_refused", "Only this server's own pages can use a session; programs send an API key.")
    if exchange.method not in READS and not _proves(exchange.headers, token):
        raise Refused("csrf_refused", "Send the session's token in the x-csrf-token header.")


def _proves(headers: Headers, token: str) -> bool:
    sent = header(headers, b"x-csrf-token")
    return hmac.compare_digest(sent.encode(), csrf_token(token).encode())


def key_of(headers: Headers) -> str | None:
    """The API key that was sent, or None. Two different keys count as none."""
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


def mail_token_of(headers: Headers) -> str | None:
    """The mail token that was sent, or None: a token in `x-api-key` is none."""
    token = key_of(headers) or ""
    is_bearer = token.startswith(mail_tokens.MARK) and all(name != b"x-api-key" for name, _ in headers)
    return token if is_bearer else None


def sends_key(headers: Headers) -> bool:
    """Whether a header for a key is present, whatever its value."""
    return any(name in (b"x-api-key", b"authorization") for name, _ in headers)


def is_cross_site(headers: Headers) -> bool:
    """Whether a page of another site made the browser send this request. Browsers report this in
    Sec-Fetch-Site. Over plain HTTP they omit that header; then Origin, if it is sent, must name our
    own host."""
    site, origin = header(headers, b"sec-fetch-site"), header(headers, b"origin")
    if site:
        return site not in ("same-origin", "none")
    return bool(origin) and origin.partition("://")[2] != header(headers, b"host")


def header(headers: Headers, wanted: bytes) -> str:
    """The value of the first header with this name, or an empty string."""
    return next((_text(value) for name, value in headers if name == wanted), "")


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
