"""A route, declared once as the decorator of its handler (decision 0190). Dispatch, authorization,
parsing, OpenAPI, the tables of the documents and many tests read this declaration.

No route can be declared without saying who may call it: PUBLIC is a scope like any other.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import get_type_hints

import msgspec

from postroom.accounts import mail_tokens
from postroom.api.context import Result
from postroom.api.event_stream import EventStream
from postroom.api.large_bodies import Body
from postroom.errors import FieldError
from postroom.messages.interface import Content

PUBLIC = "public"
# What a route gives that is no JSON.
NOT_JSON = (str, Content, EventStream)
Handler = Callable[..., Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class LargeBody:
    """A body with `largest` bytes at most. `size_problems` says what is too large in it before its
    fields become objects: what they may take is a multiple of the body (decision 0342)."""

    largest: int
    size_problems: Callable[[Body], Sequence[FieldError]]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `gives` is the type of its success body (`str`: a text of the media type
    `media`; `Content`: bytes of that type, sent piece by piece; `EventStream`: events without an
    end); `shows` is the shape of an account in that body, by default; `missing` is the text of its
    404, the same whether a thing is foreign or does not exist; `refuses` lists codes beyond those
    that every route may answer with; `is_kept`: an Idempotency-Key stores the answer of a write;
    `takes_xml`: the body is an XML document, for a handler without a key; `large` is there if
    the body may have more than 64 KiB."""

    method: str
    path: str
    scope: str
    handler: Handler
    summary: str
    gives: type[msgspec.Struct] | type[str] | type[Content] | type[EventStream]
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    shows: type[msgspec.Struct] | None
    status: int
    missing: str | None
    refuses: tuple[str, ...]
    is_kept: bool
    media: str
    takes_xml: bool
    large: LargeBody | None

    @property
    def name(self) -> str:
        """The operation's name, such as `accounts.create`."""
        return f"{self.handler.__module__.rpartition('.')[2]}.{self.handler.__name__}"

    @property
    def needs_mail_token(self) -> bool:
        """Whether the route takes a mail token and nothing else."""
        return self.path.startswith("/mail/") and self.scope != PUBLIC

    @property
    def takes_mail_token(self) -> bool:
        """Whether a mail token opens the route: those of an account's messages."""
        return self.needs_mail_token or (self.scope in mail_tokens.SCOPES and ":id" in self.path.split("/"))

    @property
    def writes(self) -> bool:
        """Whether the route changes something and therefore takes an Idempotency-Key."""
        return self.is_kept and self.method not in ("GET", "HEAD")


def route(
    method: str,
    path: str,
    scope: str,
    summary: str,
    gives: type[msgspec.Struct] | type[str] | type[Content] | type[EventStream],
    *,
    shows: type[msgspec.Struct] | None = None,
    status: int = 200,
    missing: str | None = None,
    refuses: tuple[str, ...] = (),
    is_kept: bool = True,
    media: str = "text/plain; charset=utf-8",
    takes_xml: bool = False,
    large: LargeBody | None = None,
) -> Callable[[Handler], Route]:
    """A decorator that makes a Route of the handler. The types of the handler's second and third
    parameters are the types of the query and the body; `missing` adds `not_found` to the codes that
    the route refuses with."""

    def declare(handler: Handler) -> Route:
        _, query, *body = (kind for name, kind in get_type_hints(handler).items() if name != "return")
        codes = ("not_found", *refuses) if missing else refuses
        kind = body[0] if body else None
        rest = (missing, codes, is_kept, media, takes_xml, large)
        return Route(method, path, scope, handler, summary, gives, query, kind, shows, status, *rest)

    return declare
