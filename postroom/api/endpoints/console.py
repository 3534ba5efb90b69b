"""Serves the web console: its files, and the endpoint of its sessions. The pages ask the public API
for everything else.

The path of the files contains a hash of their contents, so that they may be cached forever and a
new version never mixes with an old one. Paths like /accounts/7 all serve the same page, whose
scripts read the path.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.staticfiles import StaticFiles

from postroom.actor import Actor
from postroom.api.authentication import Admission, header, is_cross_site
from postroom.api.body import read_body
from postroom.api.cookies import CONSOLE, csrf_token, end_session, set_session
from postroom.api.decoding import decode_body
from postroom.api.exchange import Exchange
from postroom.api.projections import timestamp
from postroom.api.replies import Reply
from postroom.auth import console_sessions, keys
from postroom.auth.console_sessions import SESSION_MS, Session
from postroom.db import Database, Tx
from postroom.errors import Refused
from postroom.tenants import organizations

Headers = tuple[tuple[bytes, bytes], ...]

FILES = Path(__file__).parents[2] / "console"
# The first segment of each page's path.
PAGES = ("", "accounts", "domains", "keys", "webhooks", "events", "sign-in")
# Pages without the console's frame: of a setup link, and of the owner of an account.
BESIDE = ("setup", "me")
# Scripts that the console's page does not load as modules.
NOT_CONSOLE = ("theme.js", "setup.js", "me.js")
SESSION = ["console", "session"]
METHODS = ("GET", "POST", "DELETE")
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE_HEADERS: Headers = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
KEEP: Headers = ((b"cache-control", b"public, max-age=31536000, immutable"),)
FILE_HEADERS: Headers = (
    (b"content-security-policy", POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class SignInBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`link` is empty if a key is sent in its header."""

    link: str = ""


class SessionKey(msgspec.Struct, frozen=True):
    id: int
    prefix: str
    name: str | None
    user_id: str | None
    domains: tuple[str, ...] | None
    scopes: tuple[str, ...]


class SessionAnswer(msgspec.Struct, frozen=True):
    """What a page needs to know about the signed-in session."""

    organization: str
    key: SessionKey
    csrf_token: str
    expires_at: str


class Said(NamedTuple):
    """An answer of the console, before it becomes a Reply."""

    status: int
    body: bytes
    headers: Headers


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(SignInBody)


class Console:
    """The console of one process."""

    def __init__(self, database: Database, admission: Admission, has_owner_page: bool = True) -> None:
        self._database = database
        self._admission = admission
        version, self._page, beside = _read()
        # Pages for people without a key, by their path.
        self._beside = {name: page for name, page in beside.items() if has_owner_page or name != "me"}
        self.prefix = f"/console/{version}"
        self.files = StaticFiles(directory=FILES)

    def page(self, segments: list[str]) -> Said | None:
        """The page, if the path is that of a page; otherwise None."""
        if len(segments) == 1 and (page := self._beside.get(segments[0])):
            return Said(200, page, PAGE_HEADERS)
        is_one = (
            bool(segments)
            and segments[0] in PAGES
            and (len(segments) == 1 or (len(segments) == 2 and segments[1] != ""))
        )
        return Said(200, self._page, PAGE_HEADERS) if is_one and segments != ["", ""] else None

    def missing(self, exchange: Exchange) -> Reply | None:
        """The page that says that there is no such page, for a person in a browser; None for any
        other client, which gets a problem."""
        is_browser = exchange.method in ("GET", "HEAD") and "text/html" in header(exchange.headers, b"accept")
        return Reply(404, self._page, (*PAGE_HEADERS, (b"vary", b"accept"))) if is_browser else None

    async def session(self, exchange: Exchange) -> Said:
        """GET: the session's organization and key. POST: sign in with a key in its header or a link
        in the body. DELETE: sign out."""
        match exchange.method:
            case "POST":
                return self._opened(exchange, await self._sign_in(exchange))
            case "DELETE":
                session = await self._admission.by_session(exchange)
                await self._database.write(lambda tx: console_sessions.end(tx, session.token))
                return Said(200, b'{"ok":true}', end_session(CONSOLE))
            case _:
                session = await self._admission.by_session(exchange)
                return Said(200, await self._describe(session), ())

    async def _sign_in(self, exchange: Exchange) -> tuple[Session, bytes]:
        if is_cross_site(exchange.headers):
            raise Refused("csrf_refused", "Only the console's own pages can sign in here.")
        body = decode_body(_decoder, await read_body(exchange.headers, exchange.receive))
        if body.link:
            session = await self._admission.by_link(exchange, body.link)
        else:
            actor = await self._admission.by_key(exchange)
            self._admission.consume(exchange, actor)
            session = await self._database.write(lambda tx: console_sessions.start(tx, actor))
        return session, await self._describe(session)

    def _opened(self, exchange: Exchange, made: tuple[Session, bytes]) -> Said:
        session, described = made
        return Said(201, described, set_session(exchange.headers, CONSOLE, session.token, SESSION_MS // 1000))

    async def _describe(self, session: Session) -> bytes:
        def work(tx: Tx) -> SessionAnswer:
            actor: Actor = session.actor
            key = keys.get(tx, actor.organization_id, actor.key_id or 0)
            shown = SessionKey(key.id, key.prefix, key.name, key.user_id, key.domains, key.scopes)
            name = organizations.name_of(tx, actor.organization_id)
            return SessionAnswer(name, shown, csrf_token(session.token), timestamp(session.expires_at))

        return _encode(await self._database.read(work))


def _read() -> tuple[str, bytes, dict[str, bytes]]:
    """The version of the files, the console's page with that version in it and a preload hint for
    each module, and the other pages by their name."""
    names = sorted(path for path in FILES.rglob("*") if path.is_file())
    version = hashlib.sha256(b"".join(b"%b\0%b\0" % (p.name.encode(), p.read_bytes()) for p in names)).hexdigest()[:16]
    modules = [p.relative_to(FILES).as_posix() for p in names if p.suffix == ".js" and p.name not in NOT_CONSOLE]
    hints = "\n".join(f'<link rel="modulepreload" href="/console/{version}/{name}">' for name in modules)
    page, *beside = (
        (FILES / f"{name}.html").read_text(encoding="utf-8").replace("{version}", version)
        for name in ("index", *BESIDE)
    )
    pages = {name: text.encode() for name, text in zip(BESIDE, beside, strict=True)}
    return version, page.replace("<!-- modules -->", hints).encode(), pages
