"""Sieve scripts that Dovecot's log reports as over their limit are stopped once, and only if
Dovecot itself reports them."""

from pathlib import Path

import pytest

from postroom.mailplane.dovecot.runaways import Runaways, runaway

STAMP = "2026-11-25 16:56:06.205729 "
TOLD = "lmtp({0})<19533><CVF/E+kvC2tNTAAAg+zDdQ>: Panic: file sieve-binary.c: line 272 (f): assertion failed: (x)\n"


# Log lines of Dovecot 2.4.
TOLD_OF_24 = (
    "lmtp({0})<244><dmD+KmpvC2v0AAAA0J78UA>: Warning: sieve: binary /data/mail/02/2/.dovecot.svbin: Personal sieve"
    " processing disabled for script 'personal/main': cumulative resource usage limit exceeded (cpu time = 10594 ms)\n"
)


def line(account_id: int) -> str:
    return STAMP + TOLD.format(f"{account_id}@acct.internal")


def test_both_versions_tell() -> None:
    told = STAMP + TOLD_OF_24.format("7@acct.internal")
    assert runaway(told.encode()) == 7
    assert runaway(told.replace("Warning", "Info").encode()) is None
    assert runaway(told.replace("binary /", "msgid=<x>: binary /").encode()) is None


@pytest.mark.parametrize(
    "reason",
    [
        "Panic: data stack: Out of memory when allocating 134217768 bytes",
        "Fatal: pool_system_realloc(268435456): Out of memory",
    ],
)
def test_a_script_without_memory(reason: str) -> None:
    told = f"{STAMP}lmtp(7@acct.internal)<15367><2C8oOYPtC2sHPAAAqLhr7Q:T9>: {reason}\n"
    assert runaway(told.encode()) == 7
    assert runaway(told.replace("lmtp", "imap").encode()) is None


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    for id_ in (7, 263):
        home = tmp_path / "mail" / "07" / str(id_)
        (home / "sieve").mkdir(parents=True)
        (home / "sieve" / "main.sieve").write_text("keep;")
        (home / ".dovecot.sieve").symlink_to("sieve/main.sieve")
    return tmp_path / "mail"


def test_it_works(tmp_path: Path, mail: Path) -> None:
    log = tmp_path / "dovecot.log"
    log.write_text(line(7))
    stop = Runaways(log, mail)
    assert stop() == []  # lines from before the start do not count
    with log.open("a") as file:
        file.write(f"{STAMP}master: Info: something\n" + line(263) + line(263) + line(99))
    assert stop() == [263]
    assert stop() == []
    assert (mail / "07/7/.dovecot.sieve").is_symlink()
    assert not (mail / "07/263/.dovecot.sieve").is_symlink()
    assert (mail / "07/263/sieve/main.sieve").read_text() == "keep;"


def test_a_log_that_there_is_not_yet(tmp_path: Path, mail: Path) -> None:
    stop = Runaways(tmp_path / "dovecot.log", mail)
    assert stop() == []
    (tmp_path / "dovecot.log").write_text(line(7))
    assert stop() == [7]


@pytest.mark.parametrize(
    "text",
    [
        line(7).replace("lmtp", "imap"),
        line(7).replace("Panic", "Info"),
        line(7).replace("sieve-binary.c", "mail-index.c"),
        line(7).replace("acct.internal", "acct.internal.example"),
        f"{STAMP}imap-login: Info: Disconnected: user=<{line(7).rstrip()}>\n",
        line(7)[:-1],
        STAMP + TOLD.format("07@acct.internal"),
    ],
)
def test_a_line_that_tells_of_nothing(text: str) -> None:
    assert runaway(line(7).encode()) == 7
    assert runaway(text.encode()) is None
