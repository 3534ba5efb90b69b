"""Readiness: which parts of the service answer, and why the others do not.

The parts are asked by connecting to them, as a client would. That a process runs says
nothing: Postfix without its database runs and greets nobody.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from postroom.mailplane import probe, render
from postroom.settings import Settings

FRESH = 1.0
FRESH_WHILE_UNREADY = 0.1
WORKER_SILENCE = 5.0
PATIENCE = 5.0
SILENT = "The API does not answer."

Check = Callable[[], Awaitable[str | None]]


def checks(settings: Settings) -> dict[str, Check]:
    """A question to each part beside the API itself; the answer is None, or one sentence why it
    is not ready."""
    found: dict[str, Check] = {"worker": lambda: _worker(worker_alive(settings.data))}
    if settings.mail == "on":
        found["dovecot"] = lambda: probe.dovecot(settings)
        if has_postfix(settings):
            found["milter"] = lambda: probe.milter(settings)
            found["opendkim"] = lambda: probe.opendkim(settings)
            found["postfix"] = lambda: probe.postfix(settings)
    return found


def has_postfix(settings: Settings) -> bool:
    """Postfix needs root, so that an instance without root has no configuration for it."""
    return (settings.data / "postfix").exists()


def worker_alive(data: Path) -> Path:
    """The file that the worker touches every second."""
    return data / "run" / "worker.alive"


class _Answer(msgspec.Struct):
    parts: dict[str, str]


class Readiness:
    """Asks all parts at once. However often it is called, they are asked about once a second
    when they are well."""

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
    """What the API's own /readyz finds wrong; nothing when the service is ready."""
    parts = await told_by_api(settings)
    if parts is None:
        return [SILENT]
    return [reason for reason in parts.values() if reason != "ok"] if parts else ["The API gives no account of itself."]


async def told_by_api(settings: Settings) -> dict[str, str] | None:
    """What the API says of each part, `ok` or a reason. None: it does not answer."""
    host = render.reachable(settings.host)
    request = f"GET /readyz HTTP/1.1\r\nHost: {render.bracketed(host)}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(PATIENCE):
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


async def _worker(alive: Path) -> str | None:
    try:
        silence = time.time() - alive.stat().st_mtime
    except PermissionError:
        return probe.UNSEEN
    except OSError:
        return "The worker does not run."
    return None if silence < WORKER_SILENCE else f"The worker has been silent for {silence:.0f} s."
