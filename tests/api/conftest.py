"""The log of the API under test. Tests can read all of it; only errors are printed."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> Iterator[list[str]]:
    """Every line that the API logs, before redaction, because no secret may get even that far."""
    lines: list[str] = []

    def keep(_logger: object, _name: str, event: EventDict) -> EventDict:
        lines.append(repr(event))
        if event["level"] != "error":
            raise structlog.DropEvent
        return event

    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            keep,
            structlog.processors.KeyValueRenderer(),
        ]
    )
    yield lines
    structlog.configure(**before)
