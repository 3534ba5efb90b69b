"""The log of the API under test: kept for the tests to read, printed only where something broke."""

from collections.abc import Iterator
from typing import Any

import pytest

from postroom.log import log


@pytest.fixture(scope="session", autouse=True)
def log_lines() -> Iterator[list[str]]:
    """Every line that the API logs, before redaction: secrets must not even get that far."""
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
