"""Purges of deleted accounts: when they are due, bounded, and limited to the account's own mail, on
both databases."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postroom import events
from postroom.accounts import commands as accounts
from postroom.accounts import purges
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.mailboxes import session_revocations
from postroom.mailplane.dovecot import maildir
from postroom.service import bootstrap, worker
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase

GRACE_MS = 7 * 24 * 3600 * 1000


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    folder = tmp_path / "mail"
    folder.mkdir()
    return folder


def folder_of(mail: Path, id_: int, files: int = 3) -> Path:
    """Creates a mail folder with some files."""
    folder = maildir.home_of(mail, id_)
    for part in ("Maildir/cur", "Maildir/new", "Maildir/.Sent/cur", "sieve"):
        (folder / part).mkdir(parents=True)
    for number in range(files):
        (folder / "Maildir" / "cur" / f"{number}:2,S").write_text("mail")
    return folder


def deleted_account(tx: Tx, name: str, grace_ms: int) -> int:
    domain = f"{name}.test"
    bootstrap.create_domain(tx, domain, domain, None, "active")
    actor = Actor(organizations.ensure(tx, domain))
    id_ = accounts.create(tx, actor, CreateAccount(domain, "a", "u", "Personal", "{SSHA512}x")).id
    accounts.delete(tx, actor, id_, None, grace_ms=grace_ms)
    return id_


def end_sessions(tx: Tx) -> None:
    session_revocations.complete(tx, [row[0] for row in tx.all("SELECT id FROM session_endings")])


def purge(database: Database, mail: Path) -> None:
    asyncio.run(worker.purge_due(database, mail))


def entries(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*"))


def row(database: Database, id_: int) -> tuple[object, ...]:
    sql = "SELECT password, display_name, address, purge_at, purged_at IS NULL FROM accounts WHERE id = :id"
    found = database.write_sync(lambda tx: tx.one(sql, id=id_))
    assert found
    return found


def types(database: Database, name: str) -> list[str]:
    actor = Actor(database.write_sync(lambda tx: organizations.ensure(tx, f"{name}.test")))
    return [e.type for e in database.write_sync(lambda tx: events.page(tx, actor, after=0, limit=50)) if e.account_id]


def test_it_works(database: Database, mail: Path) -> None:
    id_ = database.write_sync(lambda tx: deleted_account(tx, "works", 0))
    kept = database.write_sync(lambda tx: deleted_account(tx, "kept", GRACE_MS))
    folder, other = folder_of(mail, id_), folder_of(mail, kept)
    purge(database, mail)
    assert folder.exists()  # its sessions may not have ended yet
    database.write_sync(end_sessions)
    purge(database, mail)
    assert not folder.exists()
    assert folder.parent.exists()
    assert len(list(other.rglob("*:2,S"))) == 3
    assert row(database, id_) == ("", None, "a@works.test", None, False)
    assert row(database, kept)[:2] == ("{SSHA512}x", "Personal")
    assert types(database, "works") == ["account.created", "account.deleted", "account.purged"]
    purge(database, mail)
    assert types(database, "works")[-2:] == ["account.deleted", "account.purged"]


def test_an_account_without_mail_is_purged_too(database: Database, mail: Path) -> None:
    database.write_sync(lambda tx: deleted_account(tx, "empty", 0))
    database.write_sync(end_sessions)
    purge(database, mail)
    assert types(database, "empty")[-1] == "account.purged"


def test_what_cannot_be_erased_is_put_off_and_others_are_not(database: Database, mail: Path) -> None:
    stuck = database.write_sync(lambda tx: deleted_account(tx, "stuck", 0))
    fine = database.write_sync(lambda tx: deleted_account(tx, "fine", 0))
    database.write_sync(end_sessions)
    elsewhere = mail.parent / "elsewhere"
    victim = folder_of(elsewhere, stuck)
    (mail / f"{stuck % 256:02x}").symlink_to(victim.parent)
    folder = folder_of(mail, fine)
    purge(database, mail)
    assert not folder.exists()
    assert len(list(victim.rglob("*:2,S"))) == 3
    assert row(database, stuck)[3] is not None
    assert types(database, "stuck")[-1] == "account.deleted"
    database.write_sync(lambda tx: tx.run("UPDATE accounts SET purge_at = NULL WHERE id = :id", id=stuck))


@pytest.mark.parametrize("again", [False, True], ids=["restored", "restored and deleted again"])
def test_what_was_restored_meanwhile_is_not_purged(
    database: Database, mail: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """The account was restored after the worker looked, for example by a node whose clock is
    behind. Its mail, password and address stay, also if a new grace period has just begun."""
    name = f"back{again}".lower()
    id_ = database.write_sync(lambda tx: deleted_account(tx, name, GRACE_MS))
    folder = folder_of(mail, id_)
    database.write_sync(end_sessions)
    monkeypatch.setattr(purges, "due_purges", lambda tx, node: [id_])  # as the worker found it before

    def bring_back(tx: Tx) -> None:
        actor = Actor(organizations.ensure(tx, f"{name}.test"))
        accounts.restore(tx, actor, id_, None)
        if again:
            accounts.delete(tx, actor, id_, None, grace_ms=GRACE_MS)

    database.write_sync(bring_back)
    database.write_sync(end_sessions)
    before, told = row(database, id_), types(database, name)
    assert not database.write_sync(lambda tx: purges.begin_purge(tx, id_))
    purge(database, mail)
    assert row(database, id_) == before
    assert before[:2] == ("{SSHA512}x", "Personal")
    assert len(list(folder.rglob("*:2,S"))) == 3
    assert types(database, name) == told
    assert (
        database.write_sync(lambda tx: tx.all("SELECT 1 FROM leases WHERE kind = 'purge' AND item = :i", i=id_)) == []
    )


def test_a_round_is_bounded(database: Database, mail: Path) -> None:
    """There are 2,000 files and folders. Those that are left are still due and do not count as
    erased."""
    id_ = database.write_sync(lambda tx: deleted_account(tx, "large", 0))
    folder = folder_of(mail, id_, files=2500)
    database.write_sync(end_sessions)
    before = entries(mail)
    purge(database, mail)
    assert entries(mail) == before - 2000
    assert "account.purged" not in types(database, "large")
    purge(database, mail)
    assert not folder.exists()
    assert types(database, "large")[-1] == "account.purged"


def test_all_that_is_due_is_purged_without_a_pause(database: Database, mail: Path) -> None:
    """There are more accounts than one batch has."""

    def delete_many(tx: Tx) -> list[int]:
        bootstrap.create_domain(tx, "many.test", "many.test", None, "active")
        actor = Actor(organizations.ensure(tx, "many.test"))
        made = [
            accounts.create(tx, actor, CreateAccount("many.test", f"a{number}", "u", None, "{SSHA512}x")).id
            for number in range(120)
        ]
        for id_ in made:
            accounts.delete(tx, actor, id_, None, grace_ms=0)
        return made

    folders = [folder_of(mail, id_, files=1) for id_ in database.write_sync(delete_many)]
    database.write_sync(end_sessions)
    asyncio.run(worker.purge_all_due(database, mail))
    assert not any(folder.exists() for folder in folders)
    left = "SELECT COUNT(*) FROM accounts WHERE purge_at IS NOT NULL AND address LIKE '%@many.test'"
    assert database.write_sync(lambda tx: tx.all(left)) == [(0,)]


def test_a_part_at_a_time(mail: Path) -> None:
    folder = folder_of(mail, 7, files=250)
    rounds = 0
    while folder.exists():
        before = sum(1 for _ in folder.rglob("*"))
        maildir.erase(mail, 7, 100)
        assert before - sum(1 for _ in folder.rglob("*")) <= 100
        rounds += 1
    assert rounds == 3
    assert maildir.erase(mail, 7, 100) == 100


@pytest.mark.parametrize("where", ["Maildir/link", "Maildir/cur/link", "link"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_links_are_not_followed(mail: Path, where: str, kind: str) -> None:
    folder, other = folder_of(mail, 7), folder_of(mail, 8)
    target = other if kind == "folder" else other / "Maildir" / "cur" / "0:2,S"
    (folder / where).symlink_to(target)
    (folder / "up").symlink_to("../../..")
    maildir.erase(mail, 7, 1000)
    assert not folder.exists()
    assert len(list(other.rglob("*:2,S"))) == 3


def test_an_account_folder_that_is_a_link_is_taken_away_alone(mail: Path) -> None:
    other = folder_of(mail, 8)
    (mail / "07").mkdir()
    (mail / "07" / "7").symlink_to(other)
    maildir.erase(mail, 7, 1000)
    assert not os.path.lexists(mail / "07" / "7")
    assert len(list(other.rglob("*:2,S"))) == 3


def test_mail_that_is_not_there_as_a_whole_is_not_called_erased(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        maildir.erase(tmp_path / "not mounted", 7, 1000)


def test_neighbours_on_the_shelf_stay(mail: Path) -> None:
    folder, others = folder_of(mail, 7), [folder_of(mail, 7 + 256), folder_of(mail, 7 + 512)]
    maildir.erase(mail, 7, 1000)
    assert not folder.exists()
    assert all(len(list(other.rglob("*:2,S"))) == 3 for other in others)
