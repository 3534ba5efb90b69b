"""One call: what is sent, how often, and what becomes of the answer. It does no I/O: a plan yields
what to do next.

The Idempotency-Key is made once for a call and stays over its retries. So a connection that
breaks after the commit ends with the answer of the first attempt, password included.
"""

import random
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import UNSET

from postroom.client.errors import Failed, PostroomError, Problem, Unreachable, error_of
from postroom.client.shape import Page

T = TypeVar("T")
A = TypeVar("A", bound=msgspec.Struct)

FIRST_WAIT = 0.25
LONGEST_BACKOFF = 8.0
# What cannot become better by itself.
HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is tried again, and the longest time that it waits in between."""

    retries: int = 4
    longest_wait: float = 60


@dataclass(frozen=True, repr=False)
class Request(Generic[T]):
    """What to send, and how to read the answer. `accepts` are statuses beside 2xx that are
    answers, too."""

    decode: Callable[[bytes], T]
    path: Mapping[str, str | int] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    accepts: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Send:
    """A step: send this, and say what came back."""

    method: str
    target: str
    params: dict[str, Any] | None
    headers: dict[str, str]
    content: bytes | None


@dataclass(frozen=True)
class Wait:
    """A step: wait so long."""

    seconds: float


Step = Send | Wait
Outcome = httpx2.Response | httpx2.RequestError | None
Plan = Generator[Step, Outcome, T]


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One page, and where the next one is."""

    items: list[T]
    next: str | None


def given(**fields: Any) -> dict[str, Any]:
    """The fields that the caller has named; None is "not sent"."""
    return {name: value for name, value in fields.items() if value is not None}


def changed(**fields: Any) -> dict[str, Any]:
    """The fields that the caller has named, where None is a value and UNSET is "not sent"."""
    return {name: value for name, value in fields.items() if value is not UNSET}


def shape_of(kind: type[T]) -> Callable[[bytes], T]:
    """Reads the whole answer."""
    return msgspec.json.Decoder(kind).decode


def part_of(kind: type[A], part: Callable[[A], T]) -> Callable[[bytes], T]:
    """Reads the answer, of which the caller wants one part."""
    decode = msgspec.json.Decoder(kind).decode
    return lambda body: part(decode(body))


def call(method: str, template: str, request: Request[T], retry_policy: RetryPolicy) -> Plan[T]:
    """The plan of one call."""
    response = yield from _tried(_send(method, template, request), request.accepts, retry_policy)
    return _read(response, request.decode)


def call_page(
    method: str, template: str, request: Request[Page[T]], next_: str | None, retry_policy: RetryPolicy
) -> Plan[Listed[T]]:
    """The plan of one page: the first one, or that at the address which the one before it has
    told."""
    send = _send(method, template, request)
    if next_ is not None:
        send = Send(method, next_, None, send.headers, None)
    response = yield from _tried(send, (), retry_policy)
    page = _read(response, request.decode)
    target = response.links.get("next", {}).get("url")
    if target is not None and (not target.startswith("/") or target.startswith("//")):
        raise _foreign(response)  # the key goes nowhere else
    return Listed(page.items, target)


def _send(method: str, template: str, request: Request[Any]) -> Send:
    target = "/".join(_segment(part, request.path) for part in template.split("/"))
    headers = dict(request.headers)
    content = None
    if method != "GET":
        headers["idempotency-key"] = request.idempotency_key or str(uuid.uuid4())
    if request.body is not None:
        headers["content-type"] = "application/json"
        content = msgspec.json.encode(request.body)
    return Send(method, target, dict(request.query) or None, headers, content)


def _segment(part: str, values: Mapping[str, str | int]) -> str:
    """A segment of the path. What the caller gives stays inside it: as `..` it would lead to
    another route."""
    if not part.startswith(":"):
        return part
    value = quote(str(values[part[1:]]), safe="")
    return value.replace(".", "%2E") if value in (".", "..") else value


def _tried(send: Send, accepts: tuple[int, ...], retry_policy: RetryPolicy) -> Plan[httpx2.Response]:
    """Sends until there is an answer to give or patience ends."""
    attempt = 0
    while True:
        outcome = yield send
        if isinstance(outcome, httpx2.Response):
            if outcome.is_success or (outcome.status_code in accepts and not _is_problem(outcome)):
                return outcome
            error = _error(outcome)
            again = outcome.status_code in (429, 503) or error.code == "idempotency_conflict"
        else:
            error, again = _unreachable(outcome), not isinstance(outcome, HOPELESS)
        wait = _wait(attempt, error.retry_after)
        if not again or attempt >= retry_policy.retries or wait > retry_policy.longest_wait:
            raise error
        attempt += 1
        yield Wait(wait)


def _wait(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt, with jitter, so that many clients do not come back at
    once."""
    backoff: float = min(FIRST_WAIT * 2**attempt, LONGEST_BACKOFF)
    return (retry_after or 0) + backoff * random.uniform(0.5, 1)  # noqa: S311


def _read(response: httpx2.Response, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(response.content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _foreign(response) from None


def _is_problem(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("application/problem+json")


def _error(response: httpx2.Response) -> PostroomError:
    after = response.headers.get("retry-after", "")
    seconds = float(after) if after.isascii() and after.isdigit() else None
    return error_of(response.status_code, _is_problem(response), response.content, seconds)


def _foreign(response: httpx2.Response) -> Failed:
    request_id = response.headers.get("x-request-id", "")
    detail = "This client does not know the answer: does the URL lead to a Postroom of this version?"
    return Failed(Problem("unknown_answer", response.status_code, detail, request_id))


def _unreachable(cause: httpx2.RequestError | None) -> Unreachable:
    where = f" from {cause.request.url.scheme}://{cause.request.url.netloc.decode()}" if cause else ""
    detail = f"There was no answer{where}: {type(cause).__name__}. {cause}".strip()
    error = Unreachable(Problem("unreachable", 0, detail))
    error.__cause__ = cause
    return error
