"""Answers as bytes: JSON, text, or an error as its problem."""

import msgspec

from postroom.api import problems
from postroom.api.event_stream import EventStream
from postroom.api.exchange import Exchange, Send
from postroom.errors import Busy, LimitReached, Refused, TooMany
from postroom.log import log
from postroom.messages.interface import Content

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)
PROBLEM: Headers = ((b"content-type", problems.MEDIA_TYPE.encode()),)
ALWAYS: Headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Reply(msgspec.Struct):
    """A complete answer."""

    status: int
    body: bytes | Content | EventStream
    headers: Headers = JSON


class MethodNotAllowed(Refused):
    """The path takes only the methods that `allow` names."""

    def __init__(self, allow: str, method: str = "") -> None:
        hint = " To delete, POST the id or name to the path that ends in /delete." if method == "DELETE" else ""
        super().__init__("method_not_allowed", f"This path takes: {allow}.{hint}")
        self.allow = allow


def problem(error: Exception, request_id: str, missing: str = problems.NO_PATH) -> Reply:
    """The answer to an error. An error that is not a refusal is our fault, and is logged."""
    code, detail, fields, limit = "internal_error", "The request id finds this in the log.", (), None
    if isinstance(error, Refused):
        code, detail, fields = error.code, error.detail, error.fields  # type: ignore[assignment]
    elif isinstance(error, Busy):
        code, detail = error.code, error.detail
    else:
        log.error("request failed", request_id=request_id, exc_info=error)
    if code == "not_found":
        detail = missing
    if isinstance(error, LimitReached):
        limit = error.limit
    status, body = problems.encode(code, detail, request_id, fields, limit)
    return Reply(status, body, PROBLEM + _headers(error, code))


def _headers(error: Exception, code: str) -> Headers:
    if isinstance(error, Busy | TooMany):
        return ((b"retry-after", str(error.seconds).encode()),)
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", error.allow.encode()),)
    return ((b"www-authenticate", b'Bearer realm="postroom"'),) if code == "unauthorized" else ()


async def send_reply(send: Send, exchange: Exchange, reply: Reply) -> None:
    """Sends an answer, with the headers that every answer has."""
    body = reply.body
    headers = [
        *reply.headers,
        *exchange.answer_headers,
        *ALWAYS,
        *_length(body),
        (b"x-request-id", exchange.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})
        return
    if exchange.method != "HEAD":
        pieces = body.pieces if isinstance(body, Content) else body.pieces(exchange.receive)
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _length(body: bytes | Content | EventStream) -> Headers:
    if isinstance(body, EventStream):
        return ()
    return ((b"content-length", b"%d" % (body.size if isinstance(body, Content) else len(body))),)
