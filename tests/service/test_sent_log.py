"""The part of the worker that records what becomes of submitted mail."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import sent_mail
from postroom.accounts.commands import CreateAccount
from postroom.accounts.sent_mail import Sender, Told
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from postroom.errors import Busy
from postroom.mailplane.postfix import deliveries
from postroom.mailplane.postfix.deliveries import DeliveryLog, Message, News, Outcome
from postroom.service import bootstrap, sent_log
from postroom.service.sent_log import PATIENCE, SentLog
from postroom.supervision import logfiles
from postroom.tenants import organizations
from tests.api.test_sent_mail import NOW
from tests.mailplane.test_deliveries import line, submitted

RECORD = sent_mail.record


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database with account 1, in which the fixed times of the lines are right."""
    monkeypatch.setattr(sent_mail, "KEPT_MS", 10**15)
    url = f"sqlite:///{tmp_path}/postroom.db"
    migrate(url)
    opened = open_database(url)

    def fill(tx: Tx) -> None:
        bootstrap.create_domain(tx, "x.test", "x.test", None, "active")
        account = CreateAccount("x.test", "a", "u", None, "{SSHA512}x")
        assert accounts.create(tx, Actor(organizations.ensure(tx, "x.test")), account).id == 1
        tx.run("UPDATE accounts SET created_at = 1 WHERE id = 1")

    opened.write_sync(fill)
    yield opened
    opened.close()


def recorded(database: Database) -> dict[str, str]:
    return dict(database.write_sync(lambda tx: tx.all("SELECT recipient, status FROM sent_recipients")))


def outcome(recipient: str | None, status: Any = "delivered", **more: Any) -> Outcome:
    made = Outcome("4jd31V4G43zK3Wl", recipient, None, status, 250, "2.0.0", None, NOW)
    return made._replace(**more)


def news(*outcomes: Outcome) -> News:
    return News(list(outcomes), {one.queue_id: Message(1, "<1@x>", NOW) for one in outcomes})


def test_a_long_log_is_read_in_portions(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the rest of a log that was rotated meanwhile, and again after a start."""
    monkeypatch.setattr(deliveries, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(sent_log, "MOST_AT_ONCE", 3)
    path = tmp_path / "postfix.log"

    def write(*numbers: int) -> None:
        with path.open("a") as file:
            for number in numbers:
                file.write(line(f"r{number}@y>", "mx", "dsn=2.0.0, status=sent (250 ok)"))

    path.write_text(submitted(login="1@1.acct.internal"))
    write(*range(10))
    log = SentLog(database, DeliveryLog(path))
    asyncio.run(log())
    assert len(recorded(database)) == 10
    write(*range(10, 20))
    logfiles.rotate(tmp_path, None, largest=1)
    write(20, 21, 22, 23)
    asyncio.run(log())
    assert len(recorded(database)) == 24
    written = []
    monkeypatch.setattr(sent_mail, "record", lambda *args, **more: written.append(args) or RECORD(*args, **more))
    asyncio.run(SentLog(database, DeliveryLog(path))())
    assert written == []  # all of it is known
    assert len(recorded(database)) == 24


def test_one_that_cannot_be_recorded_stops_no_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(tx: Tx, node_id: int, told: list[Told], senders: dict[str, Sender]) -> list[Told]:
        if any(one.recipient == "bad" for one in told):
            raise ValueError("cannot be recorded")
        return RECORD(tx, node_id, told, senders)

    monkeypatch.setattr(sent_mail, "record", record)
    asyncio.run(SentLog(database, lambda: news(outcome("good"), outcome("bad"), outcome("better")))())
    assert recorded(database) == {"good": "delivered", "better": "delivered"}


def test_what_cannot_be_written_now_is_recorded_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise Busy("the database is locked")

    told = [news(outcome("x")), news()]
    log = SentLog(database, lambda: told.pop(0))
    with monkeypatch.context() as patched:
        patched.setattr(sent_mail, "record", busy)
        for _ in range(2):
            with pytest.raises(Busy):
                asyncio.run(log())
        assert len(told) == 1  # nothing more is read meanwhile
    asyncio.run(log())
    asyncio.run(log())
    assert recorded(database) == {"x": "delivered"}


def test_mail_to_many_costs_few_transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def record(tx: Tx, node_id: int, told: list[Told], senders: dict[str, Sender]) -> list[Told]:
        sizes.append(len(told))
        return RECORD(tx, node_id, told, senders)

    monkeypatch.setattr(sent_mail, "record", record)
    asyncio.run(SentLog(database, lambda: news(*(outcome(f"r{number}") for number in range(1000))))())
    assert sizes == [500, 500]
    assert len(recorded(database)) == 1000


def test_a_mailbox_that_the_senders_node_has_not_told_of_yet(database: Database) -> None:
    there = outcome(None, queue_id="4jd31V4dnyzK3Wq", target_id=7)
    told = [News([there], {})]
    far = SentLog(database, lambda: told.pop() if told else news(), node_id=2)
    near = SentLog(database, lambda: news(outcome("bob", "passed", target_id=7, passed_as=there.queue_id)), node_id=1)
    for _ in range(PATIENCE[0] + 5):
        asyncio.run(far())
    assert recorded(database) == {}
    asyncio.run(near())
    for _ in range(PATIENCE[1]):
        asyncio.run(far())
    assert recorded(database) == {"bob": "delivered"}
    told.append(News([there._replace(target_id=8)], {}))
    for _ in range(sum(PATIENCE) + len(PATIENCE) + 1):
        asyncio.run(far())
    assert far._early == []  # mail from outside is forgotten
