"""The part of the worker that counts wrong passwords."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.accounts import login_failures
from postroom.accounts.login_failures import Attempt, Bounds
from postroom.db import Database, Tx, migrate, open_database
from postroom.errors import Busy
from postroom.mailplane.dovecot.logins import Failure
from postroom.service.login_guard import LoginGuard

COUNT = login_failures.count
BAD, GOOD = Failure(None, "bad@x.test", "192.0.2.1"), Failure(None, "good@x.test", "192.0.2.2")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/postroom.db"
    migrate(url)
    opened = open_database(url)
    yield opened
    opened.close()


def counted(database: Database) -> dict[str, int]:
    return dict(database.write_sync(lambda tx: tx.all("SELECT network, failures FROM login_failures")))


def test_one_that_cannot_be_counted_stops_no_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(tx: Tx, attempts: dict[Attempt, int], bounds: Bounds) -> None:
        COUNT(tx, attempts, bounds)
        if any(attempt.name == BAD.name for attempt in attempts):
            raise ValueError("cannot be counted")

    monkeypatch.setattr(login_failures, "count", count)
    told = [Counter({BAD: 1, GOOD: 2}), Counter({GOOD: 3})]
    guard = LoginGuard(database, lambda: told.pop(0), Bounds())
    before = counted(database).get(GOOD.address, 0)
    for _ in range(2):
        asyncio.run(guard())
    assert counted(database)[GOOD.address] == before + 5
    assert BAD.address not in counted(database)


def test_what_cannot_be_written_now_is_counted_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise Busy("the database is locked")

    told = [Counter({GOOD: 1}), Counter[Failure]()]
    guard = LoginGuard(database, lambda: told.pop(0), Bounds())
    before = counted(database).get(GOOD.address, 0)
    with monkeypatch.context() as patched:
        patched.setattr(login_failures, "count", busy)
        with pytest.raises(Busy):
            asyncio.run(guard())
    asyncio.run(guard())
    assert counted(database)[GOOD.address] == before + 1
