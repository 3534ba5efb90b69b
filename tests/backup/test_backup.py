"""Backups of a running instance, and restores: nothing acknowledged is missing, a damaged file is
never used, and a restore happens completely or not at all."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from postroom.backup import archive, restore
from postroom.backup.create import make
from postroom.errors import BadBackup
from postroom.instance import system_user
from postroom.settings import PASSPHRASE
from tests.harness.service import COMMAND, Service, wait_for
from tests.harness.terminal import typed_at_terminal
from tests.mail.clients import imap_login
from tests.mail.platform import Platform

HOOKS = "/v2/webhooks/create"
PENDING = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, next_at, created_at)
VALUES (1, 1, 'event', 1, 'account.created', 'pending', 1, 1)"""
SECRET = "correct horse battery staple"


def run(service: Service, *arguments: str, passphrase: str = "") -> subprocess.CompletedProcess[str]:
    environment = service.environment | {PASSPHRASE: passphrase}
    return subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=120)


def done(service: Service, *arguments: str, passphrase: str = "") -> str:
    ended = run(service, *arguments, passphrase=passphrase)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(service: Service, *arguments: str, passphrase: str = "") -> str:
    """Runs a command that must refuse. Returns its single line of output."""
    ended = run(service, *arguments, passphrase=passphrase)
    assert ended.returncode in (1, 2), ended.stdout
    (line,) = ended.stderr.splitlines()
    return line


def query(service: Service, sql: str) -> list[Any]:
    with sqlite3.connect(f"file:{service.data}/db/postroom.db?mode=ro", uri=True) as database:
        return database.execute(sql).fetchall()


def state(service: Service) -> dict[str, Any]:
    """The rows of the database, and every mail file with its content."""
    with sqlite3.connect(f"file:{service.data}/db/postroom.db?mode=ro", uri=True) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, Any] = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    files = [path for path in (service.data / "mail").rglob("*") if path.is_file()]
    return found | {str(path.relative_to(service.data)): path.read_bytes() for path in files}


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new(mail="off") as new:
        yield new


@pytest.fixture
def stopped(service: Service) -> Platform:
    """A stopped instance with two accounts, a setup link, an owner's session, a mail token, a
    webhook and a key."""
    service.start()
    platform = Platform.new(service)
    for name in ("one", "two"):
        box = platform.create(name)
    platform.call("POST", f"/v2/email-accounts/{box.id}/setup-link", {})
    platform.sign_in(box.id)
    platform.call("POST", "/v2/mail-tokens", {"user_id": "user_123", "account_id": box.id})
    platform.call("POST", HOOKS, {"url": "https://platform.example/", "events": ["*", "message.received"]})
    service.stop()
    return platform


def backup(service: Service, passphrase: str = "", *options: str) -> Path:
    file = service.data.parent / "backup"
    done(service, "backup", str(file), *options, passphrase=passphrase)
    return file


def test_it_works(stopped: Platform) -> None:
    service = stopped.service
    with sqlite3.connect(service.data / "db/postroom.db") as database:
        database.execute(PENDING)
        database.execute("UPDATE webhooks SET messages_since = 1")
        database.execute("INSERT INTO passing_messages VALUES (1, 1, 1, 1, 1, 'waiting', 1, 1, 1, NULL, NULL)")
    before = state(service)
    key = (service.data / "db/digest.key").read_bytes()
    file = service.data.parent / "backup"
    said = done(service, "backup", str(file))
    assert "NOT encrypted" in said
    assert "verified" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(service.data.parent.glob("*.part"))
    shutil.rmtree(service.data)
    assert "Restored 3 accounts" in done(service, "restore", str(file))
    after = state(service)
    assert after.pop("sqlite_sequence") != before.pop("sqlite_sequence")
    for table in ("setup_links", "owner_sessions", "mail_tokens", "mail_token_accounts"):  # may have ended since
        assert (len(before.pop(table)), after.pop(table)) == (1, [])
    # What was pending may have arrived since, and a copy must not call others. (decision 0297)
    made, hooks = before.pop("webhook_deliveries"), before.pop("webhooks")
    assert [row[0] for row in after.pop("webhook_deliveries")] == [row[0] for row in made]
    assert {row[0] for row in query(service, "SELECT status FROM webhook_deliveries")} == {"failed"}
    newest = query(service, "SELECT MAX(id) FROM events")[0]
    # Mail from before the restore may have been sent since; what is delivered from now on is sent.
    ((after_event, since),) = query(service, "SELECT after_event_id, messages_since FROM webhooks")
    assert (after_event,) == newest
    assert since > 1
    assert [row[:5] for row in after.pop("webhooks")] == [row[:5] for row in hooks]
    # What a route has not sent yet has seven days again, so that it can be sent once more.
    assert len(before.pop("passing_messages")) == len(after.pop("passing_messages")) == 1
    ((due_at,),) = query(service, "SELECT due_at FROM passing_messages")
    assert 0 <= due_at - since - 7 * 24 * 3600 * 1000 <= 60_000
    assert after == before
    assert (service.data / "db/digest.key").read_bytes() == key  # app passwords still work
    for path, mode in {"db": 0o700, "mail": 0o700, "db/postroom.db": 0o600, "db/digest.key": 0o600}.items():
        status = (service.data / path).stat()
        assert stat.S_IMODE(status.st_mode) == mode
        assert status.st_uid == (service.data / "mail").stat().st_uid
    service.start()


def test_an_id_is_never_given_again(stopped: Platform) -> None:
    """Mail folders and queued mail have the account's id in their name."""
    service = stopped.service
    file = backup(service)
    service.start()
    later = stopped.create("later")
    service.stop()
    done(service, "restore", str(file), "--force", "--yes")
    service.start()
    assert stopped.create("other").id > later.id


def test_encrypted(stopped: Platform) -> None:
    service = stopped.service
    file = backup(service, SECRET)
    assert stopped.domain.encode() not in file.read_bytes()
    assert "is encrypted" in refused(service, "restore", str(file), "--force")
    assert "passphrase is wrong" in refused(service, "restore", str(file), "--force", passphrase="wrong")
    before = state(service)
    done(service, "restore", str(file), "--force", passphrase=SECRET)
    assert state(service)["accounts"] == before["accounts"]


def test_it_opens_without_postroom(stopped: Platform, tmp_path: Path) -> None:
    service = stopped.service
    file, plain = backup(service, SECRET), tmp_path / "backup.tar.zst"
    typed_at_terminal(SECRET, "age", "-d", "-o", plain, file)
    subprocess.run(["zstd", "-q", "-t", plain], check=True)
    subprocess.run(["tar", "-xf", plain, "-C", tmp_path], check=True)
    with sqlite3.connect(tmp_path / "database") as database:
        assert database.execute("SELECT * FROM accounts").fetchall() == state(service)["accounts"]


def test_what_age_encrypted_is_restored(stopped: Platform, tmp_path: Path) -> None:
    service = stopped.service
    before = state(service)
    typed_at_terminal(SECRET, "age", "-p", "-o", tmp_path / "encrypted", backup(service))
    refused(service, "restore", str(tmp_path / "encrypted"), "--force", "--yes", passphrase="wrong")
    done(service, "restore", str(tmp_path / "encrypted"), "--force", "--yes", passphrase=SECRET)
    assert state(service)["accounts"] == before["accounts"]


@pytest.mark.parametrize("start", [b"postroom-sealed-1\n", b"manifest.json\0"])
def test_an_older_format(stopped: Platform, tmp_path: Path, start: bytes) -> None:
    (tmp_path / "old").write_bytes(start + bytes(10_000))
    assert "older format" in refused(stopped.service, "restore", str(tmp_path / "old"), "--force", passphrase=SECRET)


@pytest.mark.parametrize("passphrase", ["", SECRET])
def test_damage_is_found(stopped: Platform, passphrase: str) -> None:
    service = stopped.service
    file = backup(service, passphrase)
    whole, before = file.read_bytes(), state(service)
    places = [0, 40, 70, 700, len(whole) // 3, len(whole) // 2, len(whole) - 300, len(whole) - 1]
    damaged = [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in places]
    damaged += [whole[:at] for at in (0, 10, 60, 160, 600, len(whole) // 2, len(whole) - 1)]
    damaged += [whole + b"x", b"hello"]
    for content in damaged[:: 3 if passphrase else 1]:  # each passphrase takes a second
        with pytest.raises(BadBackup, match=r"damaged|cut short|no backup"):
            restore.stage(BytesIO(content), passphrase, service.data, lambda _: None)
        assert not list(service.data.glob("rest*"))
    for content in (damaged[5], damaged[-3]):
        file.write_bytes(content)
        line = refused(service, "restore", str(file), "--force", "--yes", passphrase=passphrase)
        assert "damaged" in line or "cut short" in line, line
    assert state(service) == before
    assert not list(service.data.glob("rest*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="it acts as the system user")
def test_a_file_that_the_disk_damaged_is_not_a_backup(stopped: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is read back before it replaces the previous backup."""
    data, write = stopped.service.data, archive.write
    file = backup(stopped.service)
    before = file.read_bytes()

    def write_badly(output: BinaryIO, *arguments: Any, **more: Any) -> None:
        write(output, *arguments, **more)
        output.seek(len(before) // 2)
        byte = output.read(1)
        output.seek(-1, os.SEEK_CUR)
        output.write(bytes([byte[0] ^ 4]))

    monkeypatch.setattr(archive, "write", write_badly)
    url = f"sqlite:///{data / 'db' / 'postroom.db'}"
    with pytest.raises(BadBackup, match="damaged"):
        make(data, url, file, system_user.ensure(), "", mail=True, said=lambda _: None)
    assert file.read_bytes() == before
    assert not list(file.parent.glob("*.part"))


def test_it_refuses(stopped: Platform) -> None:
    service = stopped.service
    file = backup(service)
    assert "--force" in refused(service, "restore", str(file))
    assert "No such file" in refused(service, "restore", f"{file}.nope")
    assert "cannot be written" in refused(service, "backup", "/no/such/folder/backup")
    service.start()
    assert "runs on" in refused(service, "restore", str(file), "--force", "--yes")
    assert service.ready()


def test_a_newer_schema(stopped: Platform) -> None:
    service = stopped.service
    with sqlite3.connect(service.data / "db" / "postroom.db") as database:
        database.execute("INSERT INTO schema_migrations VALUES ('9999_future.sql', 'x', 1)")
    file = backup(service)
    assert "newer version" in refused(service, "restore", str(file), "--force")


def test_a_database_that_is_damaged_can_be_replaced(stopped: Platform) -> None:
    service = stopped.service
    file = backup(service)
    (service.data / "db" / "postroom.db").write_bytes(b"x" * 100_000)
    assert "cannot be read" in done(service, "restore", str(file), "--force", "--yes")
    service.start()


def test_killed_at_any_moment(stopped: Platform) -> None:
    """After a kill, the data is completely old or completely new. The next command finishes a
    restore that was decided."""
    service = stopped.service
    mail = service.data / "mail" / "02" / "2" / "Maildir" / "cur"
    mail.mkdir(parents=True)
    (mail / "1.then:2,").write_text("then")

    for path in (service.data / "mail").rglob("*"):
        owner = (service.data / "db").stat()
        os.chown(path, owner.st_uid, owner.st_gid)
    file = backup(service, "", "--mail")
    then = state(service)
    done(service, "domains", "create", "since.test", "--organization", "demo")
    (mail / "2.since:2,").write_text("since")
    now = state(service)
    spare = service.data.parent / "spare"
    subprocess.run(["cp", "-a", service.data, spare], check=True)
    seen = set()
    for call in range(1, 60):
        shutil.rmtree(service.data)
        subprocess.run(["cp", "-a", spare, service.data], check=True)
        killed = killed_at(service, file, call)
        # Any command that opens the data finishes the restore.
        done(service, "keys", "list", "--organization", "demo")
        found = {name: rows for name, rows in state(service).items() if name in ("domains", "mail") or "/" in name}
        old = found == {name: now[name] for name in now if name in found or "/" in name}
        new = found == {name: then[name] for name in then if name in found or "/" in name}
        assert old != new, found
        seen.add("old" if old else "new")
        assert not list(service.data.glob("restored-*"))
        if not killed:
            break
    assert seen == {"old", "new"}


KILL = """
import os, signal, sys
from pathlib import Path
left = [int(sys.argv.pop(1))]
def counted(real):
    def call(*a, **k):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*a, **k)
    return call
os.rename = counted(os.rename); os.rmdir = counted(os.rmdir); os.mkdir = counted(os.mkdir)
from postroom.cli.main import main
main()
"""


def killed_at(service: Service, file: Path, call: int) -> bool:
    """Runs a restore that is killed just before its nth change of a directory. False if it ended
    before."""
    command = [str(COMMAND.with_name("python")), "-c", KILL, str(call), "restore", str(file), "--force", "--yes"]
    ended = subprocess.run(command, env=service.environment, cwd="/", capture_output=True, text=True, timeout=60)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="delivery needs Postfix, and Postfix needs root")
def test_under_load(tmp_path: Path) -> None:
    """Whatever was acknowledged before the backup is in the backup, the database is consistent, and
    logins and mail work."""
    with Service.new(rate_limit="off") as service, Service.new() as other:
        service.start()
        platform = Platform.new(service)
        first = [platform.create(f"before{number}") for number in range(20)]
        first[0].receive("kept")
        first[0].wait_for("kept")
        ending = threading.Event()

        def load(writer: int) -> int:
            made = 0
            while not ending.is_set():
                box = platform.create(f"during{writer}x{made}")
                box.reset()
                made += 1
            return made

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(load, writer) for writer in range(4)]
            try:
                wait_for("some load", lambda: service.get("/healthz"))
                done(service, "backup", str(tmp_path / "backup"), "--mail")
            finally:
                ending.set()
            assert all(future.result() for future in futures)
        service.stop()
        done(other, "restore", str(tmp_path / "backup"))
        other.start()
        for box in first:
            imap_login(other, box.address, box.password).logout()
        with imap_login(other, first[0].address, first[0].password) as imap:
            assert imap.subjects() == ["kept"]
        with sqlite3.connect(f"file:{other.data}/db/postroom.db?mode=ro", uri=True) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            accounts = database.execute("SELECT COUNT(*) FROM accounts WHERE deleted_at IS NULL").fetchone()
            counted = database.execute("SELECT SUM(accounts) FROM account_counts WHERE user_id = ''").fetchone()
            assert accounts == counted


@pytest.mark.parametrize("passphrase", ["", SECRET])
def test_a_dump_of_postgresql(postgres: Any, tmp_path: Path, passphrase: str) -> None:
    """pg_restore can read the member `database` of the archive."""
    url = postgres.new_database()
    with Service.new(mail="off", database_url=url) as service:
        service.start()
        box = Platform.new(service).create("one")
        plain = file = backup(service, passphrase)
        if passphrase:
            plain = tmp_path / "plain"
            typed_at_terminal(SECRET, "age", "-d", "-o", plain, file)
        subprocess.run(["tar", "-xf", plain, "-C", tmp_path], check=True)
        assert (tmp_path / "digest.key").read_bytes() == (service.data / "db/digest.key").read_bytes()
        other = postgres.new_database()
        subprocess.run(["pg_restore", "--no-owner", "-d", other, tmp_path / "database"], check=True)
        import psycopg

        with psycopg.connect(other) as connection:
            assert (box.address,) in connection.execute("SELECT address FROM accounts").fetchall()
        service.stop()
        assert "POSTROOM_DATABASE_URL" in refused(service, "restore", str(file))


def test_a_pipe_does_not_block_a_backup(stopped: Platform) -> None:
    """A backup leaves out sockets and pipes in a mail folder."""
    service = stopped.service
    folder = service.data / "mail" / "02" / "2" / "Maildir" / "cur"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    (folder / "1.kept:2,").write_text("kept")
    owner = (service.data / "db").stat()
    for path in (service.data / "mail").rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid)
    file = backup(service, "", "--mail")
    shutil.rmtree(service.data / "mail" / "02")
    done(service, "restore", str(file), "--force", "--yes")
    assert [path.name for path in folder.iterdir()] == ["1.kept:2,"]
