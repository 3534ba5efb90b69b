"""The log: one JSON object per line on standard output, without secrets.

The code does not log secrets in the first place; the redaction here is a second protection.
"""

import logging
import re
import sys
from typing import Any

import msgspec
import structlog

_SECRET_NAMES = re.compile(r"password|secret|api_key|authorization|token|private", re.IGNORECASE)
_KEY = re.compile(r"pr_[A-Za-z0-9_-]{20,}")

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: str) -> None:
    """Sets up logging for this process; `level` is a value of POSTROOM_LOG_LEVEL."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            lambda _logger, _name, event: _encode(event),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def _redact(_logger: Any, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = "[redacted]"
        elif isinstance(value, str) and "pr_" in value:
            event[name] = _KEY.sub("[redacted]", value)
    return event
