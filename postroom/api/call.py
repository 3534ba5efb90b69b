"""What a handler gets and gives: a call that is authenticated and parsed, and an answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from postroom.actor import Actor
from postroom.db import Database
from postroom.dns import MailHost
from postroom.errors import FieldError, not_found
from postroom.passwords import Hashers
from postroom.sessions import EndSessions
from postroom.verification import Verification

# Part of the installation → None when it answers, else one sentence why it does not.
Probe = Callable[[], Awaitable[dict[str, str | None]]]


@dataclass(frozen=True, slots=True)
class Services:
    """What all handlers share."""

    database: Database
    hashers: Hashers
    end_sessions: EndSessions
    probe: Probe
    instance: str
    mail_host: MailHost
    verification: Verification
    purge_days: int


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request. `path` holds the parameters of the route's path."""

    services: Services
    actor: Actor
    path: dict[str, str]
    path_text: str
    query_text: bytes


class Answer(msgspec.Struct, frozen=True):
    """`payload` becomes JSON, or goes as it is where the route gives text."""

    payload: Any
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


def sent_user(actor: Actor, *sent: str | UnsetType) -> str | None:
    """The user that the call is about. Query, body and key may not disagree: that looks like a foreign account."""
    users = {user for user in (*sent, actor.user_id or UNSET) if user is not UNSET}
    if len(users) > 1:
        raise not_found()
    return users.pop() if users else None


def required_user(actor: Actor, problems: list[FieldError], *sent: str | UnsetType) -> str:
    """As `sent_user`, where there must be one; its absence is added to the problems."""
    if actor.user_id is None and all(user is UNSET for user in sent):
        problems.append(FieldError("user_id", "required", "This field is required."))
    return "" if problems else sent_user(actor, *sent) or ""


def path_id(call: Call) -> int:
    """The `:id` of the path. What is no id names nothing."""
    text = call.path["id"]
    if not (text.isascii() and text.isdigit()) or text[0] == "0" or len(text) > 18:
        raise not_found()
    return int(text)
