"""The log of the API under test. Tests can read all of it; only errors are printed."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.log import log


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> Iterator[list[str]]:
    """Every line that the API logs, before redaction, because no secret may get even that far."""
    lines: list[str] = []
    write = log.write

    def keep(facts: dict[str, Any]) -> None:
        lines.append(repr(facts))
        if facts["level"] == "error":
            print(facts)

    log.write = keep
    log.configure("debug")
    yield lines
    log.write = write
    log.configure("info")
