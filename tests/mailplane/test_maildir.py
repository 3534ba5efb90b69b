"""A sealed mailbox: nothing can be added to it, nothing is lost, and work can continue after a
crash in any step."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroom.backup import archive
from postroom.backup.archive import Manifest
from postroom.mailplane.dovecot import maildir

ID = 4711
SHELF = f"{ID % 256:02x}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    found = tmp_path / SHELF / str(ID)
    for name in ("new", "tmp", "cur"):
        (found / "Maildir" / name).mkdir(parents=True)
    (found / "Maildir" / "new" / "1").write_text("hello")
    return found


def sealed(home: Path) -> Path:
    return home.with_name(f"{ID}.sealed")


def test_it_works(tmp_path: Path, home: Path) -> None:
    for _ in range(2):
        maildir.seal(tmp_path, ID)
        assert (sealed(home) / "Maildir" / "new" / "1").read_text() == "hello"
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            (home / "Maildir").mkdir(parents=True)
        with pytest.raises(NotADirectoryError):
            (home / "Maildir" / "new" / "2").write_text("late")
    for _ in range(2):
        maildir.unseal(tmp_path, ID)
        assert (home / "Maildir" / "new" / "1").read_text() == "hello"
        assert not sealed(home).exists()


def test_a_copy_under_way(tmp_path: Path, home: Path) -> None:
    """The lock shows a copy in progress, whether the mailbox is sealed or not. A lock file that no
    process holds means nothing."""
    assert not maildir.is_being_copied(tmp_path, 1)
    file = home / ".dovecot-sync.lock"
    file.touch()
    assert not maildir.is_being_copied(tmp_path, ID)
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as copying:
        assert copying.stdout
        copying.stdout.readline()
        assert maildir.is_being_copied(tmp_path, ID)
        maildir.seal(tmp_path, ID)
        assert maildir.is_being_copied(tmp_path, ID)
        copying.kill()
    assert not maildir.is_being_copied(tmp_path, ID)


def test_a_mailbox_that_was_never_used(tmp_path: Path) -> None:
    maildir.seal(tmp_path, ID)
    assert (tmp_path / SHELF / str(ID)).is_file()
    maildir.unseal(tmp_path, ID)
    assert (tmp_path / SHELF / str(ID)).is_dir()


def test_a_crash_before_the_places_are_changed(tmp_path: Path, home: Path) -> None:
    """The marker file exists already. Unsealing has the same state in the other direction."""
    sealed(home).touch()
    maildir.unseal(tmp_path, ID)
    assert home.is_dir()
    maildir.seal(tmp_path, ID)
    assert home.is_file()
    assert sealed(home).is_dir()


def test_a_sealed_folder_beside_an_open_mailbox(tmp_path: Path, home: Path) -> None:
    """A command that outlived its caller has created the folder again. That folder never replaces
    the mailbox."""
    (sealed(home) / "Maildir" / "new").mkdir(parents=True)
    maildir.unseal(tmp_path, ID)
    assert (home / "Maildir" / "new" / "1").is_file()
    maildir.seal(tmp_path, ID)
    assert home.is_file()
    assert (sealed(home) / "Maildir" / "new" / "1").is_file()


def test_a_sealed_folder_with_mail_is_not_erased(tmp_path: Path, home: Path) -> None:
    there = sealed(home) / "Maildir" / ".Work" / "cur"
    there.mkdir(parents=True)
    (there / "1:2,S").touch()
    with pytest.raises(OSError, match="is in the way"):
        maildir.seal(tmp_path, ID)
    assert (there / "1:2,S").exists()
    assert home.is_dir()


def test_what_is_under_way(tmp_path: Path, home: Path) -> None:
    assert maildir.is_quiet(tmp_path, ID)
    draft, lock = home / "Maildir" / "tmp" / "2", home / "Maildir" / ".Work" / "dovecot-uidlist.lock"
    lock.parent.mkdir()
    for name in maildir.COPY_LOCKS:
        (home / name).touch()
        os.utime(home / name, (1, 1))
    for path in (draft, lock):
        path.touch()
        assert not maildir.is_quiet(tmp_path, ID)
        os.utime(path, (1, 1))
        assert maildir.is_quiet(tmp_path, ID)
    maildir.seal(tmp_path, ID)
    maildir.unlock(tmp_path, ID)
    left = {path.name for path in sealed(home).rglob("*") if path.is_file()}
    assert left == {"1", "2", *maildir.COPY_LOCKS}  # the move must wait for a copy that continues


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / SHELF).symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        maildir.seal(tmp_path, ID)
    assert list(elsewhere.iterdir()) == []


def test_a_backup_has_it_in_its_place(tmp_path: Path) -> None:
    """After a restore, a mailbox that was sealed during the backup is in its normal place."""
    mail, database, target = tmp_path / "mail", tmp_path / "database", tmp_path / "restored"
    letter = Path(SHELF, str(ID), "Maildir", "new", "1")
    (mail / letter).parent.mkdir(parents=True)
    (mail / letter).write_text("hello")
    database.write_text("rows")
    digest = hashlib.sha256(database.read_bytes()).hexdigest()
    manifest = Manifest(archive.FORMAT, "1", 1, "postgresql", {}, {}, digest, True)
    maildir.seal(mail, ID)
    with (tmp_path / "backup").open("w+b") as file:
        archive.write(file, manifest, database, mail, "", lambda _: None)
        file.seek(0)
        archive.read(file, "", target, lambda _: None)
    assert (target / "mail" / letter).read_text() == "hello"
    assert [path.name for path in (target / "mail" / SHELF).iterdir()] == [str(ID)]
