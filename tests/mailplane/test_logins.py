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
from postroom.mailplane.dovecot.logins import FailureLog, LoginLog, failure, login
from postroom.service import bootstrap
from postroom.supervision import logfiles
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase

STAMP = "2026-11-25 16:56:06.205729 "
MINUTE = 60_000


def line(account_id: int, second: float, success: str = "yes", before: str = f"{STAMP}stats: Info: ") -> str:
    who = f'"remote_ip":"192.0.2.1","original_user":"a@b.test","user":"{account_id}@1.acct.internal"'
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
    path.write_text(
        line(7, 3).replace("@1.", "@1.imap.")
        + with_app
        + line(7, 4)
        + with_app.replace("c12", "c0")
        + with_app.replace(":5", ":2")
    )
    with path.open("a") as log:
        log.write(line(7, 9).replace("@1.", "@1.c13.sieve.") + line(7, 9).replace("@1.", "@1.lmtp."))
    assert LoginLog(path)() == [
        (7, None, "192.0.2.1", 4_000, "imap"),
        (7, 12, "192.0.2.1", 5_000, "smtp"),
        (7, 13, "192.0.2.1", 9_000, "imap"),
    ]


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
    assert login(line(7, 1).encode()) == (7, None, "192.0.2.1", 1000, "imap")
    assert login(text.encode()) is None


def refused(user: str, sent: str, address: str = "192.0.2.1") -> str:
    fields = f'"duration":1,"remote_ip":"{address}","service":"pop3","original_user":"{sent}","user":"{user}"'
    return f'{STAMP}stats: Info: {{"end_time":5,"fields":{{{fields}}}}}\n'


COMPARED = refused("7@1.c4.acct.internal", "A@b.test")


def test_failures_are_counted_from_now_on(tmp_path: Path) -> None:
    """Those of an earlier worker were counted."""
    path = tmp_path / "dovecot.log"
    path.write_text(COMPARED)
    log = FailureLog(path)
    assert log() == {}
    with path.open("a") as file:
        file.write(2 * COMPARED + line(7, 1) + refused("a@b.test", "a@b.test", "::1") + COMPARED[:-9])
    assert log() == {(7, "A@b.test", "192.0.2.1"): 2, (None, "a@b.test", "::1"): 1}
    with path.open("a") as file:
        file.write(COMPARED[-9:])
    assert log() == {(7, "A@b.test", "192.0.2.1"): 1}
    assert FailureLog(tmp_path / "other.log")() == {}


@pytest.mark.parametrize(
    "text",
    [
        line(7, 1),
        COMPARED.replace("stats: Info: ", "auth: Info: "),
        COMPARED.replace(f"{STAMP}stats", f"{STAMP}imap-login: Info: Disconnected: user=<{STAMP}stats"),
        COMPARED.replace('"original_user":"A@b.test",', ""),  # no password was sent
        COMPARED.replace('"service":"pop3",', ""),
        COMPARED.replace('"remote_ip":"192.0.2.1"', '"remote_ip":7'),
        COMPARED[:60] + "\n",
    ],
)
def test_lines_that_tell_of_no_failure(text: str) -> None:
    assert failure(COMPARED.encode()) == (7, "A@b.test", "192.0.2.1")
    assert failure(text.encode()) is None


def test_a_client_cannot_say_that_a_password_was_compared() -> None:
    name = "7@1.acct.internal"
    assert failure(refused(name, name).encode()) == (None, name, "192.0.2.1")
    assert failure(refused(name, name.upper()).encode()) == (None, name.upper(), "192.0.2.1")


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
