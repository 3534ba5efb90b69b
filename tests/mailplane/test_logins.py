"""Logins in Dovecot's log are read once, also across a rotation, and only from lines that Dovecot
itself wrote."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import last_logins
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.mailplane.dovecot.logins import LoginLog, login
from postroom.service import bootstrap
from postroom.supervision import logfiles
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase

STAMP = "2026-11-25 16:56:06.205729 "
MINUTE = 60_000


def line(account_id: int, second: float, success: str = "yes", before: str = f"{STAMP}stats: Info: ") -> str:
    who = f'"original_user":"a@b.test","user":"{account_id}@1.acct.internal"'
    fields = f'"duration":1,"success":"{success}","service":"imap",{who}'
    return f'{before}{{"event":"auth_request_finished","end_time":{second},"fields":{{{fields}}}}}\n'


def test_it_works(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.log"
    log = LoginLog(path)

    def read(from_start: bool = False) -> dict[int, int]:
        return {one.account_id: one.at for one in (LoginLog(path) if from_start else log)()}

    assert read() == {}
    path.write_text(
        line(7, 100.5) + f"{STAMP}master: Info: something\n" + line(8, 101) + line(7, 102) + line(9, 3)[:-5]
    )
    assert read() == {7: 102_000, 8: 101_000}
    assert read() == {}
    with path.open("a") as file:
        file.write(line(9, 3)[-5:])
    assert read() == {9: 3_000}
    assert read(from_start=True) == {7: 102_000, 8: 101_000, 9: 3_000}


def test_a_log_that_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.log"
    path.write_text(line(1, 1) + line(2, 2))
    read = LoginLog(path)
    read()
    with path.open("a") as log:
        log.write(line(3, 3))
    logfiles.rotate(tmp_path, None, largest=1)
    with path.open("a") as log:
        log.write(line(4, 4))
    assert [(one.account_id, one.at) for one in read()] == [(3, 3_000), (4, 4_000)]
    assert [one.at for one in LoginLog(path)()] == [1_000, 2_000, 3_000, 4_000]


def test_each_password_of_an_account(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.log"
    with_app = line(7, 5).replace("@1.", "@1.c12.").replace("imap", "smtp")
    path.write_text(line(7, 3) + with_app + line(7, 4) + with_app.replace("c12", "c0") + with_app.replace(":5", ":2"))
    assert LoginLog(path)() == [(7, None, 4_000, "imap"), (7, 12, 5_000, "smtp")]


@pytest.mark.parametrize(
    "text",
    [
        line(7, 1, success="no"),
        line(7, 1).replace("imap", "lmtp"),
        line(7, 1, before=f"{STAMP}auth: Info: "),
        line(7, 1, before=f"{STAMP}imap-login: Info: Disconnected: user=<{STAMP}stats: Info: "),
        line(0, 1),
        line(-7, 1),
        line(10**18, 1),
        line(7, 1e300),
        line(7, -5),
        line(7, 1).replace("acct.internal", "acct-internal"),
        line(7, 1).replace('"user":"7', '"user":"7\\n7'),
        line(7, 1).replace('"user":"7@1.acct.internal"', '"user":7'),
        line(7, 1)[:60] + "\n",
        line(7, 1)[:-1],
    ],
)
def test_lines_that_tell_of_no_login(text: str) -> None:
    assert login(line(7, 1).encode()) == (7, None, 1000, "imap")
    assert login(text.encode()) is None


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def test_they_are_written_once_in_a_minute(database: Database, request: pytest.FixtureRequest) -> None:
    name = f"{request.node.callspec.id}.logins.test"

    def make(tx: Tx) -> list[int]:
        bootstrap.create_domain(tx, name, name, None, "active")
        actor = Actor(organizations.ensure(tx, name))
        made = [
            accounts.create(tx, actor, CreateAccount(name, part, "u", None, "{SSHA512}x")).id
            for part in ("a", "deleted", "disabled")
        ]
        accounts.delete(tx, actor, made[1], None, grace_ms=1)
        accounts.update(tx, actor, made[2], None, accounts.UpdateAccount(status="disabled"))
        return made

    def write(at: dict[int, int]) -> dict[int, int]:
        """Writes the new logins and returns all logins that were written."""

        def work(tx: Tx) -> dict[int, int]:
            last_logins.log_in(tx, last_logins.new_logins(tx, at))
            found = tx.all("SELECT id, last_login_at FROM accounts WHERE last_login_at IS NOT NULL ORDER BY id")
            return {row[0]: row[1] for row in found if row[0] in made}

        return database.write_sync(work)

    made = database.write_sync(make)
    first = made[0]
    assert write(dict.fromkeys([*made, 10**17], 5 * MINUTE)) == {first: 5 * MINUTE}
    assert write({first: 6 * MINUTE - 1}) == write({first: MINUTE}) == {first: 5 * MINUTE}
    assert write({first: 6 * MINUTE}) == {first: 6 * MINUTE}
    future = write({first: 2**55})[first]
    assert 6 * MINUTE < future < 2**50
