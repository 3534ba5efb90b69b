"""Quota warnings in Dovecot's log are read once, and only from lines that Dovecot itself wrote."""

from pathlib import Path

import pytest

from postroom.accounts import quotas
from postroom.mailplane.dovecot.quota_warnings import QuotaWarnings, warned
from postroom.mailplane.render import QUOTA_WARNINGS

STAMP = "2026-11-29 08:55:45.626040 "
LINE = f"{STAMP}quota-warning: Error: quota 7@acct.internal\n"


def test_it_works(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.log"
    read = QuotaWarnings(path)
    assert read() == set()
    other = LINE.replace("7@", "12@31.")
    path.write_text(LINE + f"{STAMP}master: Info: something\n" + LINE + other + LINE.replace("7", "8")[:-3])
    assert read() == {7, 12}
    assert read() == set()
    with path.open("a") as log:
        log.write(LINE.replace("7", "8")[-3:])
    assert read() == {8}
    assert QuotaWarnings(path)() == {7, 12, 8}


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-1],
        LINE.replace("quota-warning: ", "imap: "),
        LINE.replace("7@", "0@"),
        LINE.replace("7@", "-7@"),
        LINE.replace("7@", "1" * 19 + "@"),
        LINE.replace("acct.internal", "acct-internal"),
        LINE.replace("7@acct", "7@x.acct"),
        f"{STAMP}imap-login: Info: Disconnected: user=<{LINE[:-1]}>\n",
        f"x\n{LINE}",
    ],
)
def test_lines_that_are_no_warning(line: str) -> None:
    assert warned(LINE.encode()) == 7
    assert warned(line.encode()) is None


def test_every_level_has_a_warning() -> None:
    """Dovecot reports each crossing that may change the level of an account."""
    up = {(percent, "over") for percent in (*quotas.WARNINGS, quotas.FULL)}
    down = {(quotas.FULL, "under"), (quotas.CALM, "under")}
    for resource in ("storage", "message"):
        assert {(percent, way) for what, percent, way in QUOTA_WARNINGS if what == resource} == up | down
