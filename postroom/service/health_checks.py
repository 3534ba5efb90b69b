"""Readiness: which parts of the service answer, and why the others do not.

A check connects to a part as a client would. A running process proves nothing: Postfix without its
database runs, but sends no greeting.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from postroom.mailplane import probe, render
from postroom.settings import Settings

# Seconds: how long a result is kept, the silence after which the worker counts as not ready, and
# the wait for the API.
FRESH = 1.0
FRESH_WHILE_UNREADY = 0.1
WORKER_SILENCE = 5.0
TIMEOUT_SECONDS = 5.0
SILENT = "The API does not answer."

Check = Callable[[], Awaitable[str | None]]


def checks(settings: Settings) -> dict[str, Check]:
    """Returns a check for each part except the API itself. A check returns None, or one sentence
    that says why the part is not ready."""
    found: dict[str, Check] = {"worker": lambda: worker(settings)}
    if settings.mail == "on":
        found["dovecot"] = lambda: probe.dovecot(settings)
        if has_postfix(settings):
            found["milter"] = lambda: probe.milter(settings)
            found["opendkim"] = lambda: probe.opendkim(settings)
            found["postfix"] = lambda: _postfix(settings)
    return found


async def _postfix(settings: Settings) -> str | None:
    """Postfix asks the milter about each connection, and takes no mail without it. So Postfix is
    not asked before the milter answers; Postfix would log a warning at each start."""
    return await probe.milter(settings) or await probe.postfix(settings)


def has_postfix(settings: Settings) -> bool:
    """Returns whether the instance has Postfix. Postfix needs root, so an instance without root has
    no configuration for it."""
    return (settings.data / "postfix").exists()


def worker_alive(data: Path) -> Path:
    """Returns the path of the file that the worker touches every second."""
    return data / "run" / "worker.alive"


class _Answer(msgspec.Struct):
    parts: dict[str, str]


class Readiness:
    """Checks all parts at the same time and returns a reason or None for each. The result is kept
    for FRESH seconds, or for FRESH_WHILE_UNREADY seconds if a part is not ready."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._asked = float("-inf")
        self._answers: dict[str, str | None] = {}

    async def __call__(self) -> dict[str, str | None]:
        async with self._lock:
            fresh = FRESH_WHILE_UNREADY if any(self._answers.values()) else FRESH
            if time.monotonic() - self._asked >= fresh:
                answers = await asyncio.gather(*(check() for check in self._checks.values()))
                self._answers = dict(zip(self._checks, answers, strict=True))
                self._asked = time.monotonic()
        return self._answers


async def ask_api(settings: Settings) -> list[str]:
    """Returns the reasons that the API's /readyz gives; an empty list if the service is ready."""
    parts = await told_by_api(settings)
    if parts is None:
        return [SILENT]
    return [reason for reason in parts.values() if reason != "ok"] if parts else ["The API gives no account of itself."]


async def told_by_api(settings: Settings) -> dict[str, str] | None:
    """Returns what the API says about each part: `ok` or a reason. Returns None if the API does not
    answer."""
    host = render.reachable(settings.host)
    request = f"GET /readyz HTTP/1.1\r\nHost: {render.bracketed(host)}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(host, settings.port)
            try:
                writer.write(request.encode())
                _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    try:
        return msgspec.json.decode(body, type=_Answer).parts
    except msgspec.DecodeError:
        return {}


async def worker(settings: Settings) -> str | None:
    """Returns why the worker is not ready, or None."""
    try:
        silence = time.time() - worker_alive(settings.data).stat().st_mtime
    except PermissionError:
        return probe.UNSEEN
    except OSError:
        return "The worker does not run."
    return None if silence < WORKER_SILENCE else f"The worker has been silent for {silence:.0f} s."
