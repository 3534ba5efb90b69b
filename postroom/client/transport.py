"""The two clients: they carry out a plan, blocking or awaited, over httpx2.

A client keeps connections open, so use it in a `with`. One client is enough for all threads, or for
an event loop.
"""

import asyncio
import os
from collections.abc import Coroutine
from time import sleep
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from postroom.client.operations import Operations
from postroom.client.request import Outcome, Plan, RetryPolicy, Send, Wait

T = TypeVar("T")

# Seconds of silence after which a stream is lost: three heartbeats.
SILENT_SECONDS = 45.0


class _Connected(Operations):
    """What both clients share: the address of the API, and the connections to it."""

    _connect: type[httpx2.Client | httpx2.AsyncClient]
    _http: httpx2.Client | httpx2.AsyncClient

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        mail_token: str | None = None,
        timeout: float = 30,
        retries: int = 4,
        longest_wait: float = 60,
    ) -> None:
        self.retry_policy = RetryPolicy(retries, longest_wait)
        url, headers = _target(base_url, api_key, mail_token)
        self._http = self._connect(base_url=url, headers=headers, timeout=timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._http.base_url)!r})"

    def _opening(self, send: Send) -> httpx2.Request:
        """The request for a stream, which may be silent for longer than an answer."""
        before = self._http.timeout
        timeout = httpx2.Timeout(before.connect, read=SILENT_SECONDS)
        return self._http.build_request(
            send.method, send.target, params=send.params, headers=send.headers, timeout=timeout
        )


class Client(_Connected):
    """A blocking client of the API. Address and key come from POSTROOM_URL and POSTROOM_API_KEY
    unless they are given; a `mail_token` stands in place of the key. `timeout` is the time for one
    attempt and `longest_wait` the longest wait before a retry, both in seconds."""

    _connect = httpx2.Client
    _http: httpx2.Client

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def run(self, plan: Plan[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, send: Send) -> Outcome:
        try:
            if send.is_stream:
                response = self._http.send(self._opening(send), stream=True)
                if not response.is_success:
                    response.read()
                return response
            return self._http.request(
                send.method, send.target, params=send.params, headers=send.headers, content=send.content
            )
        except httpx2.RequestError as error:
            return error


class AsyncClient(_Connected):
    """Like `Client`, with `await`, and `async for` over lists."""

    _connect = httpx2.AsyncClient
    _http: httpx2.AsyncClient

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    def run_async(self, plan: Plan[T]) -> Coroutine[Any, Any, T]:
        return self._run(plan)

    async def _run(self, plan: Plan[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def _send(self, send: Send) -> Outcome:
        try:
            if send.is_stream:
                response = await self._http.send(self._opening(send), stream=True)
                if not response.is_success:
                    await response.aread()
                return response
            return await self._http.request(
                send.method, send.target, params=send.params, headers=send.headers, content=send.content
            )
        except httpx2.RequestError as error:
            return error


def _target(base_url: str | None, api_key: str | None, mail_token: str | None) -> tuple[str, dict[str, str]]:
    """The address and the headers. A call to a public route needs no key. Raises ValueError."""
    url = base_url or os.environ.get("POSTROOM_URL", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("Give base_url, or set POSTROOM_URL: http://… or https://…")
    if mail_token is not None:
        if api_key or not mail_token.startswith("mt_") or not mail_token.isascii() or not mail_token.isprintable():
            raise ValueError("A mail token is mt_ and 43 characters, and stands in place of the API key.")
        return url, {"authorization": f"Bearer {mail_token}"}
    key = api_key or os.environ.get("POSTROOM_API_KEY", "")
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise ValueError("The API key must be pr_ and 43 characters.")
    return url, {"x-api-key": key} if key else {}
