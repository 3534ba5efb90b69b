"""One call: what is sent, how often, and how the answer is read. This module does no I/O: a plan
yields each next step.

A call makes its Idempotency-Key once and keeps it over its retries. So if a connection breaks after
the commit, the retry gets the answer of the first attempt, password included.
"""

import dataclasses
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
# Errors that no retry can fix.
HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a call is retried, and the longest wait before a retry, in seconds."""

    retries: int = 4
    longest_wait: float = 60


@dataclass(frozen=True, repr=False)
class Request(Generic[T]):
    """What to send, and how to read the answer. `accepts` lists statuses besides 2xx that also
    count as answers."""

    decode: Callable[[bytes], T]
    path: Mapping[str, str | int] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    accepts: tuple[int, ...] = ()


@dataclass(frozen=True, repr=False)
class Send:
    """A step: send this request, and report the outcome."""

    method: str
    target: str
    params: dict[str, Any] | None
    headers: dict[str, str]
    content: bytes | None
    is_stream: bool = False


@dataclass(frozen=True)
class Wait:
    """A step: wait for this many seconds."""

    seconds: float


Step = Send | Wait
Outcome = httpx2.Response | httpx2.RequestError | None
Plan = Generator[Step, Outcome, T]


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One page, and the address of the next page, or None."""

    items: list[T]
    next: str | None


def given(**fields: Any) -> dict[str, Any]:
    """The fields that the caller has given; None means "not sent"."""
    return {name: value for name, value in fields.items() if value is not None}


def changed(**fields: Any) -> dict[str, Any]:
    """The fields that the caller has given; here None is a value, and UNSET means "not sent"."""
    return {name: value for name, value in fields.items() if value is not UNSET}


def shape_of(kind: type[T]) -> Callable[[bytes], T]:
    """A function that reads the whole answer."""
    return msgspec.json.Decoder(kind).decode


def part_of(kind: type[A], part: Callable[[A], T]) -> Callable[[bytes], T]:
    """A function that reads the answer and returns the part that the caller wants."""
    decode = msgspec.json.Decoder(kind).decode
    return lambda body: part(decode(body))


def call(method: str, template: str, request: Request[T], retry_policy: RetryPolicy) -> Plan[T]:
    """The plan of one call."""
    response = yield from _tried(_send(method, template, request), request.accepts, retry_policy)
    return _read(response, request.decode)


def call_page(
    method: str, template: str, request: Request[Page[T]], next_: str | None, retry_policy: RetryPolicy
) -> Plan[Listed[T]]:
    """The plan of one page: the first page, or the page at the address that the previous page
    gave."""
    send = _send(method, template, request)
    if next_ is not None:
        send = Send(method, next_, None, send.headers, None)
    response = yield from _tried(send, (), retry_policy)
    page = _read(response, request.decode)
    target = response.links.get("next", {}).get("url")
    if target is not None and (not target.startswith("/") or target.startswith("//")):
        raise _foreign(response)  # the key is sent to no other host
    return Listed(page.items, target)


def call_stream(template: str, request: Request[Any], last_id: str, retry_policy: RetryPolicy) -> Plan[httpx2.Response]:
    """The plan of opening a stream of events that goes on after the event with this id. The
    response is open."""
    send = _send("GET", template, request)
    if last_id:
        send.headers["last-event-id"] = last_id
    return (yield from _tried(dataclasses.replace(send, is_stream=True), (), retry_policy))


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
    """A segment of the path. The caller's value is escaped to stay one segment: as `..` it would
    lead to another route."""
    if not part.startswith(":"):
        return part
    value = quote(str(values[part[1:]]), safe="")
    return value.replace(".", "%2E") if value in (".", "..") else value


def _tried(send: Send, accepts: tuple[int, ...], retry_policy: RetryPolicy) -> Plan[httpx2.Response]:
    """Sends until there is an answer to return or the retry policy ends. Raises PostroomError."""
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
    """Seconds before the next attempt, with jitter, so that many clients do not retry at the same
    moment."""
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
