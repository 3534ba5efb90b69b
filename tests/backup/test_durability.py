"""A backup and a restore are on the disk before they report success, not only in the kernel's
memory. The tests read the order of the real commands' system calls with strace, because a test
cannot cut the power (decision 0181)."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.service import COMMAND, Service
from tests.mail.platform import Platform

CALLS = "fsync,fdatasync,write,pwrite64,rename,renameat,renameat2"
LINE = re.compile(r"^\d+ +(\w+)\((.*)$")


@dataclass(frozen=True)
class Step:
    """A system call: `sync` or `write` of a path, or `rename` from one path to another."""

    kind: str
    path: str
    to: str = ""


def steps(service: Service, folder: Path, *arguments: str) -> list[Step]:
    """The system calls of a command that change or sync files, in order."""
    trace = folder / "trace"
    command = ["strace", "-f", "-y", "-o", str(trace), "-e", f"trace={CALLS}", str(COMMAND), *arguments]
    done = subprocess.run(command, env=service.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(_read(trace.read_text(encoding="utf-8", errors="replace")))


def _read(text: str) -> Iterator[Step]:
    for name, rest in (found.groups() for line in text.splitlines() if (found := LINE.match(line))):
        if name.startswith("rename"):
            paths = re.findall(r'"([^"]*)"', rest)
            yield Step("rename", *paths[:2])
        elif path := re.match(r"\d+<([^>]*)>", rest):
            yield Step("sync" if name.endswith("sync") else "write", path[1])


def last(found: list[Step], wanted: Step) -> int:
    """The index of the last such step; fails if there is none."""
    places = [at for at, step in enumerate(found) if step == wanted]
    assert places, f"{wanted} is missing"
    return places[-1]


@pytest.fixture
def platform() -> Iterator[Platform]:
    """A stopped instance with an account and two messages in nested folders."""
    with Service.new(mail="off") as service:
        service.start()
        platform = Platform.new(service)
        platform.create("one")
        service.stop()
        for name in ("Maildir/cur/1.kept:2,S", "Maildir/.Archive/new/2.kept"):
            file = service.data / "mail" / "02" / "2" / name
            file.parent.mkdir(parents=True)
            file.write_text("kept")
        owner = (service.data / "db").stat()
        for path in (service.data / "mail").rglob("*"):
            os.chown(path, owner.st_uid, owner.st_gid)
        yield platform


def test_a_backup_is_on_the_disk_before_it_has_its_name(platform: Platform, tmp_path: Path) -> None:
    file = platform.service.data.parent / "kept" / "backup"
    file.parent.mkdir()
    part = f"{file}.part"
    found = steps(platform.service, tmp_path, "backup", str(file), "--mail")
    synced, renamed = last(found, Step("sync", part)), last(found, Step("rename", part, str(file)))
    assert last(found, Step("write", part)) < synced < renamed
    # Without this sync, a crash could lose the new name and the older backup.
    assert renamed < last(found, Step("sync", str(file.parent)))


def test_a_restore_is_on_the_disk_before_it_is_decided(platform: Platform, tmp_path: Path) -> None:
    service = platform.service
    data, file = service.data, service.data.parent / "backup"
    assert service.run("backup", str(file), "--mail").returncode == 0
    kept = {path.relative_to(data) for path in (data / "mail").rglob("*")} | {Path("db/postroom.db")}
    found = steps(service, tmp_path, "restore", str(file), "--force", "--yes")
    staging = data / "restoring"
    (decided,) = [at for at, step in enumerate(found) if step.kind == "rename" and step.path == str(staging)]
    # Every file is synced after its last write, and every folder is synced too, for the names in
    # it.
    for path in kept | {Path("db"), Path("mail"), Path()}:
        synced = last(found[:decided], Step("sync", str(staging / path)))
        assert Step("write", str(staging / path)) not in found[synced:], path
    into = [at for at, step in enumerate(found) if step.kind == "rename" and step.to in (f"{data}/db", f"{data}/mail")]
    assert decided < into[0]
    syncs = [at for at, step in enumerate(found) if step == Step("sync", str(data))]
    # The decision is on disk before any folder moves.
    assert any(decided < at < into[0] for at in syncs)
    assert into[-1] < syncs[-1]
    assert {path for path in kept if not (data / path).exists()} == set()
