"""What a row of the table of routes says.

A route is not written without saying who may call it. PUBLIC is a scope like any other.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from postroom.api.context import Result
from postroom.api.decoding import NoQuery

PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `gives` is its success body (`str`: a text of the type `media`); `shows` the
    account in it, by default; `refuses` lists codes beside those that every route may answer;
    `is_kept`: an Idempotency-Key keeps the answer of a write; `takes_xml`: the body is an XML
    document, for a handler without a key."""

    method: str
    path: str
    scope: str
    handler: Callable[..., Awaitable[Result]]
    summary: str
    gives: type[msgspec.Struct] | type[str]
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    shows: type[msgspec.Struct] | None = None
    status: int = 200
    refuses: tuple[str, ...] = ()
    is_kept: bool = True
    media: str = "text/plain; charset=utf-8"
    takes_xml: bool = False

    @property
    def name(self) -> str:
        """The operation's name, as `accounts.create`."""
        return f"{self.handler.__module__.rpartition('.')[2]}.{self.handler.__name__}"

    @property
    def writes(self) -> bool:
        """Whether it changes something, and so takes an Idempotency-Key."""
        return self.is_kept and self.method not in ("GET", "HEAD")
