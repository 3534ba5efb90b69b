"""The search for mail that has arrived, on both engines: what fails delays nothing else."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from postroom.actor import Actor
from postroom.errors import MailUnavailable
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.mailplane.dovecot.maildir import home_of
from postroom.service import arrivals
from postroom.service.arrivals import Arrivals
from tests.webhooks.world import World

URL = "http://127.0.0.1:1/"
FIELD = "from h.test by h.test with LMTP id {:022d} (envelope-from <a@b>); Mon, 30 Nov 2099 08:33:02 +0000"


class Mailboxes:
    """Each account has as many messages in a folder as `messages` says; `broken` ones do not
    answer."""

    def __init__(self, messages: int = 1, broken: Iterable[int] = ()) -> None:
        self.messages = messages
        self.broken = set(broken)
        self.asked: list[int] = []

    async def folders(self, account_id: int) -> list[Folder]:
        self.asked.append(account_id)
        if account_id in self.broken:
            raise MailUnavailable("It does not answer.", 1)
        return [Folder("INBOX", "g", 7, self.messages + 1)]

    async def uids(self, account_id: int, folder: Folder, uids: range, since: int) -> list[int]:
        del account_id, folder, since
        return [uid for uid in uids if uid % 2]  # the others came before

    async def received(self, account_id: int, folder: Folder, uids: range, since: int) -> dict[int, str]:
        del folder, since
        return {uid: FIELD.format(account_id * 1000 + uid) for uid in uids if uid % 2 or len(uids) <= 2}


@pytest.fixture(autouse=True)
def _nothing_received(world: World) -> None:
    for table in ("received_messages", "message_cursors"):
        world.run(f"DELETE FROM {table}")


def accounts(world: World, number: int) -> list[int]:
    """Accounts with a webhook each."""
    made = []
    for _ in range(number):
        domain, account = world.account("u")
        world.hook(URL, "message.received", actor=Actor(domain.organization_id))
        made.append(account)
    return made


def search(world: World, mailboxes: Mailboxes, mail: Path, hints: list[set[int]], host: str = "h.test") -> Arrivals:
    return Arrivals(world.database, mailboxes, lambda: hints.pop() if hints else set(), mail, host)


def found(world: World) -> list[tuple[int, int]]:
    return world.rows("SELECT account_id, uid FROM received_messages ORDER BY account_id, uid")


def test_an_account_that_fails_delays_no_other(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than end a look, and all before the others."""
    monkeypatch.setattr(arrivals, "AGAIN_SECONDS", 3600.0)
    ids = accounts(world, 12)
    look = search(world, Mailboxes(broken=ids[:8]), tmp_path, [set(ids)]).look
    for _ in range(3):
        asyncio.run(look())
    assert found(world) == [(id_, 1) for id_ in ids[8:]]


def test_an_account_that_failed_is_tried_again(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "AGAIN_SECONDS", 0.0)
    (id_,) = accounts(world, 1)
    mailboxes = Mailboxes(broken=[id_])
    look = search(world, mailboxes, tmp_path, [{id_}]).look
    asyncio.run(look())
    assert found(world) == []
    mailboxes.broken = set()
    asyncio.run(look())
    assert found(world) == [(id_, 1)]


def test_a_change_without_a_hint(world: World, tmp_path: Path) -> None:
    """The first look finds what has changed since the webhook was made, and nothing else."""
    ids = accounts(world, 3)
    for id_, at in zip(ids, (1, 2**32, 2**32), strict=True):
        (home_of(tmp_path, id_) / "Maildir" / "new").mkdir(parents=True)
        os.utime(home_of(tmp_path, id_) / "Maildir" / "new", (at, at))
    mailboxes = Mailboxes()
    look = search(world, mailboxes, tmp_path, []).look
    asyncio.run(look())
    assert sorted(mailboxes.asked) == ids[1:]
    assert found(world) == [(id_, 1) for id_ in ids[1:]]


def test_many_messages_are_read_in_steps(world: World, tmp_path: Path) -> None:
    (id_,) = accounts(world, 1)
    asyncio.run(search(world, Mailboxes(messages=101), tmp_path, [{id_}]).look())
    assert found(world) == [(id_, uid) for uid in range(1, 102, 2)]
    assert world.rows("SELECT uidvalidity, last_uid FROM message_cursors") == [(7, 101)]


def test_the_trace_of_another_host_is_none(world: World, tmp_path: Path) -> None:
    (id_,) = accounts(world, 1)
    asyncio.run(search(world, Mailboxes(), tmp_path, [{id_}], host="other.test").look())
    assert found(world) == []
    assert world.rows("SELECT last_uid FROM message_cursors") == [(1,)]


def test_nothing_is_asked_without_a_webhook(world: World, tmp_path: Path) -> None:
    _, account = world.account("u")
    mailboxes = Mailboxes()
    look = search(world, mailboxes, tmp_path, [{account}]).look
    assert not asyncio.run(look())
    accounts(world, 1)
    assert asyncio.run(look())
    assert mailboxes.asked == []


class Picky(Mailboxes):
    """Answers about one message at a time, and not about the messages in `silent`."""

    def __init__(self, messages: int, silent: Iterable[int] = ()) -> None:
        super().__init__(messages)
        self.silent = set(silent)

    async def received(self, account_id: int, folder: Folder, uids: range, since: int) -> dict[int, str]:
        if len(uids) > 1 or self.silent & set(uids):
            raise MailUnavailable("Too much.", 1)
        return await super().received(account_id, folder, uids, since)


@pytest.mark.parametrize("number", [4, 60])
def test_messages_about_which_dovecot_answers_one_by_one(world: World, tmp_path: Path, number: int) -> None:
    (account,) = accounts(world, 1)
    asyncio.run(search(world, Picky(number), tmp_path, [{account}]).look())
    wanted = range(1, number + 1) if number <= arrivals.UIDS else range(1, number + 1, 2)
    assert [uid for _, uid in found(world)] == list(wanted)
    assert world.rows("SELECT last_uid FROM message_cursors") == [(number,)]


def test_a_message_about_which_dovecot_does_not_answer(world: World, tmp_path: Path) -> None:
    """Those before it are found, and it is asked about again."""
    (account,) = accounts(world, 1)
    asyncio.run(search(world, Picky(4, {3}), tmp_path, [{account}]).look())
    assert [uid for _, uid in found(world)] == [1, 2]
    assert world.rows("SELECT last_uid FROM message_cursors") == [(2,)]
