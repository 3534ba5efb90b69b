"""The log: one JSON object per line on standard output, without secrets (decision 0186).

The code does not log secrets in the first place; the redaction here is a second protection.
"""

import functools
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

LEVELS = ("debug", "info", "warning", "error")

_SECRET_NAMES = re.compile(r"password|secret|api_key|authorization|token|private", re.IGNORECASE)
# Keys, mail tokens, secrets of webhooks, and the links for a password and to the console.
_SECRET = re.compile(r"(?:pr_|mt_|/setup#|#link=)[A-Za-z0-9_-]{20,}|whsec_[A-Za-z0-9+/]{20,}={0,2}")

_encode = msgspec.json.Encoder(enc_hook=str).encode
_is_secret = functools.cache(lambda name: _SECRET_NAMES.search(name) is not None)  # the code has few names


class Log:
    """The log of this process. `event` is a constant; what differs is in the other arguments.
    `write` takes a line before its redaction."""

    def __init__(self) -> None:
        self.write: Callable[[dict[str, Any]], None] = _write
        self.configure("info")

    def configure(self, level: str) -> None:
        """Logs what is at least as severe as `level`, a value of POSTROOM_LOG_LEVEL."""
        self._levels = LEVELS[LEVELS.index(level) :]

    def has(self, level: str) -> bool:
        """Whether lines of this level are logged."""
        return level in self._levels

    def debug(self, event: str, /, **facts: Any) -> None:
        self._say("debug", event, facts)

    def info(self, event: str, /, **facts: Any) -> None:
        self._say("info", event, facts)

    def warning(self, event: str, /, **facts: Any) -> None:
        self._say("warning", event, facts)

    def error(self, event: str, /, **facts: Any) -> None:
        self._say("error", event, facts)

    def _say(self, level: str, event: str, facts: dict[str, Any]) -> None:
        """Writes a line. An exception in `exc_info` becomes its traceback, as `exception`."""
        if level not in self._levels:
            return
        error = facts.pop("exc_info", None)
        facts |= {"event": event, "level": level, "timestamp": datetime.now(UTC)}
        if error is not None:
            facts["exception"] = "".join(traceback.format_exception(error)).rstrip("\n")
        self.write(facts)


def _write(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        if _is_secret(name):
            facts[name] = "[redacted]"
        elif isinstance(value, str) and ("_" in value or "#" in value):  # every secret has one of them
            facts[name] = _SECRET.sub("[redacted]", value)
    sys.stdout.buffer.write(_encode(facts) + b"\n")
    sys.stdout.buffer.flush()


log = Log()
