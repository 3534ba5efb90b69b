"""Requests that are sent again: the Idempotency-Key header, which makes the server carry out each
request once.

The set of running requests only gives an early 409 within this process, before anything is hashed.
Between processes, the row that a transaction claims decides.
"""

from collections.abc import Awaitable, Callable

import msgspec

from postroom import idempotency
from postroom.api.context import Keep, Result, Services, Work, encode
from postroom.api.exchange import Headers
from postroom.db import Tx
from postroom.errors import FieldError, Refused, invalid
from postroom.idempotency import Answered, Attempt
from postroom.mailboxes.session_revocations import Ended

HEADER = "Idempotency-Key"
LONGEST = 255
REPLAYED = (b"idempotent-replayed", b"true")


class StoredResponse(msgspec.Struct, frozen=True, array_like=True):
    """A stored answer. If the revoked sessions cannot be ended, `payload_if_pending` is sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    revoked_sessions: tuple[Ended, ...]
    payload_if_pending: bytes


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(StoredResponse).decode


def idempotency_key(headers: Headers) -> bytes | None:
    """The Idempotency-Key as it was sent, quotes included; None if it was not sent. Raises
    `invalid_request` for a malformed key."""
    sent = [value.strip(b" \t") for name, value in headers if name == b"idempotency-key"]
    if not sent:
        return None
    if len(sent) > 1:
        raise invalid(FieldError(HEADER, "repeated", "Send this header once."))
    key = sent[0]
    if not 1 <= len(key) <= LONGEST or key == b'""' or not all(32 <= byte < 127 for byte in key):
        message = f"An Idempotency-Key is 1 to {LONGEST} printable ASCII characters, best a new UUID for each change."
        raise invalid(FieldError(HEADER, "invalid", message))
    return key


class Retries:
    """The requests with an Idempotency-Key that are running in this process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running: set[tuple[int, str]] = set()

    async def once(self, tried: Attempt, handle: Callable[[Keep], Awaitable[Result]]) -> Result:
        """The answer of an earlier attempt, or else that of `handle`, which stores it in the
        transaction of its change.

        Raises `idempotency_key_reused`, `idempotency_conflict`, and whatever `handle` raises;
        nothing is stored then.
        """
        if answer := await self._replay(tried):
            return answer
        name = (tried.key_id, tried.name)
        if name in self._running:
            raise _conflict()
        self._running.add(name)
        try:
            return await handle(lambda work: _keeping(tried, work))
        except Answered:  # another process has answered since the first look
            if answer := await self._replay(tried):
                return answer
            raise _conflict() from None
        finally:
            self._running.discard(name)

    async def _replay(self, tried: Attempt) -> Result | None:
        """The stored answer, or None. Its sessions are ended once more, because a crash may have
        come before they were."""
        found = await self._services.database.read(lambda tx: idempotency.find(tx, tried))
        if found is None:
            return None
        kept = _unpack(found)
        done = not kept.revoked_sessions or await self._services.end_sessions(kept.revoked_sessions)
        return Result(
            msgspec.Raw(kept.body if done else kept.payload_if_pending), kept.status, (*kept.headers, REPLAYED)
        )


def _keeping(tried: Attempt, work: Work) -> Work:
    def kept(tx: Tx) -> Result:
        idempotency.claim(tx, tried)
        answer = work(tx)
        body = encode(answer.payload)
        pending = encode(answer.payload_if_pending) if answer.revoked_sessions else b""
        idempotency.fill(
            tx, tried, _pack(StoredResponse(answer.status, answer.headers, body, answer.revoked_sessions, pending))
        )
        return msgspec.structs.replace(answer, payload=msgspec.Raw(body))

    return kept


def _conflict() -> Refused:
    return Refused("idempotency_conflict", "A request with this Idempotency-Key is still running. Try again shortly.")
