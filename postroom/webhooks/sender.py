"""Sends one delivery: a POST that lasts at most SECONDS, to an address that targets.py allows.

The name is resolved once a connection, and the address that was judged is the one that is dialled.
Redirects are not followed, proxies of the environment are not used, and no more than ANSWER_BYTES
of an answer are read (decision 0294).
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpcore2
import msgspec
from httpcore2 import AsyncConnectionPool, AsyncNetworkBackend, AsyncNetworkStream

from postroom.domains.resolver import Resolver, Unanswered
from postroom.webhooks import targets, urls
from postroom.webhooks.targets import Address, TargetRefused

# Seconds from the look-up of the name until the head of the answer.
SECONDS = 10.0
# Seconds for one of several addresses.
DIAL_SECONDS = 3.0
ADDRESSES = 3
# How much of a body is read, and for how long, so that the connection can be used again.
ANSWER_BYTES = 64 * 1024
ANSWER_SECONDS = 1.0
IN_FLIGHT = 4
GONE = 410

Pool = AsyncConnectionPool


class Attempt(msgspec.Struct, frozen=True):
    """What became of one POST. `error` is None if it was delivered."""

    status_code: int | None
    error: str | None
    duration_ms: int

    @property
    def is_gone(self) -> bool:
        return self.status_code == GONE


class Sender:
    """Sends to the endpoints of webhooks. `allows_private` is POSTROOM_WEBHOOK_ALLOW=private."""

    def __init__(self, resolver: Resolver, *, allows_private: bool) -> None:
        self._resolver = resolver
        self._allows_private = allows_private
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def connections(self) -> Pool:
        """Returns the connections for a few deliveries to one endpoint. The caller closes them."""
        backend = _Guarded(self._resolver, self._allows_private, self._context)
        return Pool(ssl_context=self._context(False), max_connections=IN_FLIGHT, http2=False, network_backend=backend)

    async def post(self, pool: Pool, url: str, headers: Mapping[str, str], body: bytes) -> Attempt:
        """Sends a body. A failure of any kind is in the result."""
        start, status, error = time.monotonic(), None, None
        try:
            target = urls.parse(url, allows_private=self._allows_private)
            async with asyncio.timeout(SECONDS):
                status = await _status(pool, _request(target, headers, body))
            error = _judge(status)
        except urls.BadUrl as refused:
            error = str(refused)
        except TargetRefused as refused:
            error = str(refused)
        except Unanswered as silent:
            error = f"The name was not found: {silent}."
        except TimeoutError:
            error = f"There was no answer within {SECONDS:.0f} seconds."
        except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError, OSError) as failed:
            error = _words(failed)
        return Attempt(status, error, round((time.monotonic() - start) * 1000))

    def _context(self, is_private: bool) -> ssl.SSLContext:
        """The verification of certificates. A private address may show any certificate, which only
        POSTROOM_WEBHOOK_ALLOW=private lets happen."""
        if is_private not in self._contexts:
            context = ssl.create_default_context()
            if is_private:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._contexts[is_private] = context
        return self._contexts[is_private]


class _Guarded(AsyncNetworkBackend):
    """Opens connections to allowed addresses only."""

    def __init__(self, resolver: Resolver, allows_private: bool, context: Any) -> None:
        self._resolver = resolver
        self._allows_private = allows_private
        self._context = context
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *_: Any, **_options: Any) -> AsyncNetworkStream:
        found = (await targets.find(self._resolver, host.strip("[]"), allows_private=self._allows_private))[:ADDRESSES]
        for address in found[:-1]:
            try:
                return await self._dial(address, port, DIAL_SECONDS)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._dial(found[-1], port, None)

    async def _dial(self, address: Address, port: int, timeout: float | None) -> AsyncNetworkStream:
        stream = await self._inner.connect_tcp(str(address), port, timeout=timeout)
        is_private = not targets.is_global(address)
        return _Stream(stream, self._context(True)) if is_private else stream


class _Stream(AsyncNetworkStream):
    """A connection to a private address, whose certificate is not verified."""

    def __init__(self, stream: AsyncNetworkStream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self._context = context
        self.read, self.write, self.aclose = stream.read, stream.write, stream.aclose  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        del ssl_context
        return await self._stream.start_tls(self._context, server_hostname, timeout)


def _request(target: urls.Url, headers: Mapping[str, str], body: bytes) -> httpcore2.Request:
    sent = {
        "Host": urls.host_of(target.text),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "Postroom",
        "Accept-Encoding": "identity",
        **headers,
    }
    return httpcore2.Request("POST", target.text, headers=list(sent.items()), content=body)


async def _status(pool: Pool, request: httpcore2.Request) -> int:
    """Sends the request and returns the status of the answer. Its body is read only as far as the
    connection can be used again; else the connection is closed."""
    response = await pool.handle_async_request(request)
    try:
        if 200 <= response.status < 300:
            await _drain(response)
    finally:
        await response.aclose()
    return response.status


async def _drain(response: httpcore2.Response) -> None:
    read = 0
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            async for chunk in response.aiter_stream():
                read += len(chunk)
                if read > ANSWER_BYTES:
                    return
    except (TimeoutError, httpcore2.NetworkError, httpcore2.ProtocolError):
        return  # the status has come, and that is what counts


def _judge(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return "Redirects are not followed." if 300 <= status < 400 else f"The endpoint has answered {status}."


def _words(failed: Exception) -> str:
    """What went wrong, without anything that the peer has sent."""
    cause: BaseException | None = failed
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate is not valid: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError):
            return "TLS has failed."
        if isinstance(cause, ConnectionRefusedError):
            return "The connection was refused."
        cause = cause.__cause__ or cause.__context__
    if isinstance(failed, httpcore2.ProtocolError):
        return "The answer is not valid HTTP."
    return "The connection has failed."
