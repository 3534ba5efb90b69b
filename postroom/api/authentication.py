"""Who is let in: by an API key, or by a session of the console, which stands for one.

A header with a key decides alone, right or wrong; the cookie is then ignored. The browser sends
the cookie with requests of every page, so a write with a cookie must prove that it comes from our
own page.
"""

import hmac
from collections.abc import MutableMapping
from typing import Any

import msgspec

from postroom.actor import Actor
from postroom.api import credentials
from postroom.api.key_usage import LastUses
from postroom.api.rate_limits import RateLimiter
from postroom.auth import console_sessions, keys
from postroom.auth.console_sessions import Session
from postroom.db import Database, Tx
from postroom.errors import Refused, TooMany

Scope = MutableMapping[str, Any]

OPERATOR = 0  # of no organization
NOT_LOCAL = {
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-real-ip",
    b"forwarded",
    b"via",
    b"x-api-key",
    b"authorization",
}
NOT_LOCAL |= {b"cookie", b"origin", b"sec-fetch-site"}
READS = ("GET", "HEAD", "OPTIONS")


class Admission:
    """The door of one process."""

    def __init__(
        self, database: Database, limits: RateLimiter, trusted: tuple[credentials.Network, ...], lets_local_in: bool
    ) -> None:
        self._database = database
        self._limits = limits
        self._trusted = trusted
        self._lets_local_in = lets_local_in
        self._last_uses = LastUses(database)

    def address_of(self, scope: Scope) -> str:
        """The client's address."""
        return credentials.client_address(
            scope["client"][0] if scope["client"] else "", scope["headers"], self._trusted
        )

    def local(self, scope: Scope) -> Actor | None:
        """The operator, where the settings let him read the metrics without a key: a program on
        this host that has not come through a proxy. Who sends a key is not him."""
        peer = scope["client"][0] if scope["client"] else ""
        sent = {name for name, _ in scope["headers"]}
        if not self._lets_local_in or sent & NOT_LOCAL or not credentials.is_loopback(peer):
            return None
        return Actor(OPERATOR, frozenset({"metrics:read"}))

    async def actor(self, scope: Scope, request_id: str) -> Actor:
        """Who calls. Raises `unauthorized`, `csrf_refused`, TooMany."""
        headers = scope["headers"]
        key = credentials.key_of(headers)
        if key is None and not credentials.sends_key(headers) and credentials.session_token(headers) is not None:
            return (await self.by_session(scope, request_id)).actor
        return await self._by_key(key, scope, request_id)

    async def by_key(self, scope: Scope, request_id: str) -> Actor:
        """The holder of the key that was sent."""
        return await self._by_key(credentials.key_of(scope["headers"]), scope, request_id)

    async def _by_key(self, key: str | None, scope: Scope, request_id: str) -> Actor:
        address = self.address_of(scope)
        self._limits.check_address(address, key)
        found = await self._database.read(lambda tx: keys.authenticate(tx, key, address)) if key else None
        if found is None:
            raise self._wrong(address)
        return self._known(key, *found, request_id, address)

    def consume(self, actor: Actor) -> None:
        """Counts a call that is outside the table like any other. Raises TooMany."""
        _, wait = self._limits.consume(actor.root_id)
        if wait:
            raise TooMany("This key has made too many requests: wait for Retry-After.", wait)

    async def by_session(self, scope: Scope, request_id: str) -> Session:
        """The session that the cookie names; a write proves that the console has sent it."""
        address, token = self.address_of(scope), credentials.session_token(scope["headers"]) or ""
        self._limits.check_address(address, token)
        found = await self._database.read(lambda tx: console_sessions.find(tx, token, address))
        if found is None:
            raise self._wrong(address)
        session, is_to_note = found
        if credentials.is_cross_site(scope["headers"]):
            raise Refused("csrf_refused", "Only the console's own pages can use a session: send an API key.")
        if scope["method"] not in READS and not _proves(scope, token):
            raise Refused("csrf_refused", "Send the session's token in the x-csrf-token header.")
        actor = self._known(token, session.actor, is_to_note, request_id, address)
        return msgspec.structs.replace(session, actor=actor)

    async def by_link(self, scope: Scope, token: str, request_id: str) -> Session:
        """A new session, for the first use of a link."""
        address = self.address_of(scope)
        self._limits.check_address(address, None)

        def work(tx: Tx) -> Session:
            return console_sessions.follow_link(tx, token, request_id, address)

        try:
            return await self._database.write(work, is_long=True)
        except Refused:
            self._limits.record_failure(address)
            raise

    def _wrong(self, address: str) -> Refused:
        self._limits.record_failure(address)
        return Refused("unauthorized", "Send a valid API key in the x-api-key header.")

    def _known(self, secret: str | None, actor: Actor, is_to_note: bool, request_id: str, address: str) -> Actor:
        self._limits.remember_key(secret)
        if is_to_note:
            self._last_uses.add(actor)
        return msgspec.structs.replace(actor, request_id=request_id, client_address=address)


def _proves(scope: Scope, token: str) -> bool:
    sent = credentials.header(scope["headers"], b"x-csrf-token")
    return hmac.compare_digest(sent.encode(), console_sessions.csrf_token(token).encode())
