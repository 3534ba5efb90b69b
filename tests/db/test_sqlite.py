"""The SQLite engine: durable commits, honest answers when the file is locked or the disk is full,
and checkpoints of the WAL."""

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import shutil
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postroom.db import Database, Tx, open_database
from postroom.db import sqlite as sqlite_engine
from postroom.errors import Busy, OutcomeUnknown
from tests.harness.service import wait_for

ADD = "INSERT INTO organizations (name, created_at) VALUES (:name, 1) RETURNING id"
FIND = "SELECT name FROM organizations WHERE name = :name"


def add(name: str) -> Callable[[Tx], str]:
    def work(tx: Tx) -> str:
        tx.run(ADD, name=name)
        return name

    return work


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{path}")
    opened.write_sync(lambda tx: tx.run("CREATE TABLE organizations (id INTEGER PRIMARY KEY, name TEXT, created_at)"))
    yield opened
    opened.close()


def test_sqlite_is_durable(path: Path, database: Database) -> None:
    def pragmas(tx: Tx) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys", "query_only", "busy_timeout")
        return {name: tx.one(f"PRAGMA {name}")[0] for name in names}  # type: ignore[index]

    expected = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0, "foreign_keys": 1, "query_only": 0}
    expected["busy_timeout"] = 0  # writers wait in our own code, which can skip the wait
    assert asyncio.run(_write(database, pragmas)) == expected
    assert database.write_sync(pragmas) == expected
    read = asyncio.run(_read(database, pragmas))
    assert (read["query_only"], read["wal_autocheckpoint"]) == (1, 0)
    assert path.stat().st_mode & 0o777 == 0o600


async def _write(database: Database, work: Callable[[Tx], Any]) -> Any:
    return await database.write(work)


async def _read(database: Database, work: Callable[[Tx], Any]) -> Any:
    assert await database.read_slow(work) == await database.read(work)
    return await database.read(work)


def test_readers_cannot_write(database: Database) -> None:
    for read in (database.read, database.read_slow):
        with pytest.raises(Exception, match=r"readonly|cannot be written"):
            asyncio.run(_call(read, add("x")))


async def _call(read: Callable[..., Any], work: Callable[[Tx], Any]) -> Any:
    return await read(work)


def test_a_database_locked_by_another(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes fail as busy after a while, reads still work, and afterwards everything works."""
    assert sqlite_engine.BUSY_SECONDS <= 5
    monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.2)
    database.write_sync(add("before"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def go() -> None:
        writes = [asyncio.create_task(database.write(add(f"n{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        for read in (database.read, database.read_slow):
            assert await read(lambda tx: tx.one(FIND, name="before")) == ("before",)
        for answer in await asyncio.gather(*writes, return_exceptions=True):
            assert isinstance(answer, Busy)
            assert answer.seconds >= 1
        other.execute("ROLLBACK")
        assert await database.write(add("after")) == "after"

    asyncio.run(go())
    other.close()


def test_long_lists_that_are_kept_out_do_not_wait_for_each_other(database: Database) -> None:
    """Otherwise the last of many lists would wait for all others, each as long as SQLite's
    timeout."""

    def keep_out(_: Tx) -> None:
        raise Busy("Another process keeps readers out.")

    async def go() -> None:
        with pytest.raises(Busy):
            await database.read(keep_out)
        both_wait = threading.Barrier(2)
        await asyncio.gather(*(database.read_many(lambda _: both_wait.wait(10)) for _ in range(2)))

    asyncio.run(go())


def test_one_process_writes_at_a_time(path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint during another process's commit can corrupt the file, so a writer waits for the
    lock file."""
    with Path(f"{path}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.1)
        for write in (lambda work: asyncio.run(_write(database, work)), database.write_sync):
            with pytest.raises(Busy):
                write(add("kept out"))
        assert asyncio.run(_read(database, lambda tx: tx.one(FIND, name="kept out"))) is None
    assert asyncio.run(_write(database, add("let in"))) == "let in"


@pytest.mark.parametrize("how", ["a writer of ours", "another program"])
def test_whoever_keeps_it_from_writing_does_not_hold_up_the_loop(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The writer thread waits for the lock; the event loop does not."""
    waited, pause = [], time.sleep

    def sleep(seconds: float) -> None:
        waited.append(threading.current_thread().name)
        pause(seconds)

    async def go() -> None:
        with contextlib.ExitStack() as held:
            if how == "another program":
                other = held.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
                other.execute("BEGIN IMMEDIATE")
            else:
                held.enter_context(sqlite_engine.exclusive(path))
            writing = asyncio.create_task(database.write(add("kept waiting")))
            while not waited:
                await asyncio.sleep(0)
            assert not writing.done()
        await writing

    monkeypatch.setattr(time, "sleep", sleep)
    asyncio.run(go())
    assert set(waited) == {"writer"}


def test_whoever_waits_is_next(path: Path) -> None:
    """A process that has just written cannot overtake a process that waits, however fast it is."""
    order = []

    def wait_and_write() -> None:
        with sqlite_engine.exclusive(path):
            order.append("waited")

    with ThreadPoolExecutor(1) as pool:
        with sqlite_engine.exclusive(path):
            other = pool.submit(wait_and_write)
            wait_for("the turn to be taken", lambda: _is_locked(Path(f"{path}-turn")))
        with sqlite_engine.exclusive(path):
            order.append("again")
        other.result()
    assert order == ["waited", "again"]


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_lock_is_not_asked_for_before_a_checkpoint_is_due(path: Path, database: Database) -> None:
    """Between two batches, another process may hold the lock."""
    connection = sqlite_engine.SQLiteWriter(path)
    connection.checkpoint(idle=False)
    with sqlite_engine.exclusive(path):
        connection.checkpoint(idle=False)
    connection.close()


def test_reads_of_many_rows_take_turns_with_the_loop(database: Database) -> None:
    turns, seen = 0, []

    async def watch() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def go() -> None:
        watcher = asyncio.create_task(watch())
        await asyncio.gather(*(database.read_many(lambda _: seen.append(turns)) for _ in range(8)))
        watcher.cancel()

    asyncio.run(go())
    assert len(seen) == len(set(seen)) == 8


def test_opening_the_file_again_drops_no_lock(path: Path, database: Database) -> None:
    """Closing any descriptor of the file would drop every lock of this process on the file."""
    asyncio.run(_read(database, lambda tx: tx.one(FIND, name="")))
    held = f":{path.stat().st_ino} "
    assert held in Path("/proc/locks").read_text()
    database.write_sync(add("another connection"))
    assert held in Path("/proc/locks").read_text()


def test_a_full_disk_is_busy_and_passes(path: Path, database: Database) -> None:
    def fill(tx: Tx) -> None:
        tx.run(f"PRAGMA max_page_count = {tx.one('PRAGMA page_count')[0]}")  # type: ignore[index]

    def much(tx: Tx) -> None:
        tx.run("INSERT INTO organizations (name) VALUES (:name)", name="x" * 100_000)

    async def go() -> None:
        await database.write(fill)
        answers = await asyncio.gather(
            database.write(add("a")), database.write(much), database.write(add("b")), return_exceptions=True
        )
        assert isinstance(answers[1], Busy)
        await database.write(lambda tx: tx.run("PRAGMA max_page_count = 100000"))
        await database.write(much)
        for name, answer in (("a", answers[0]), ("b", answers[2])):
            seen = await database.read(lambda tx, name=name: tx.one(FIND, name=name))  # type: ignore[misc]
            assert (seen is not None) == (answer == name)

    asyncio.run(go())


def test_the_wal_is_folded_in(path: Path, database: Database) -> None:
    wal = path.with_name("test.db-wal")

    async def go() -> None:
        for number in range(20):
            await database.write(add(f"n{number}"))
        while wal.stat().st_size:  # the writer runs a checkpoint when it is idle
            await asyncio.sleep(0.01)

    asyncio.run(go())
    other = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    assert other.execute("SELECT count(*) FROM organizations").fetchone() == (20,)
    other.close()


def test_a_commit_that_the_disk_has_not_taken(path: Path, database: Database) -> None:
    """The kernel fails every sync of one thread. By then the whole transaction is in the WAL, and
    the first process that opens the database after a crash finds it there, so the write must not be
    reported as undone."""

    def add_without_a_disk() -> None:
        refuse_syncs()
        database.write_sync(add("unsure"))

    names = partial(_read, database, lambda tx: tx.all("SELECT name FROM organizations"))
    assert asyncio.run(names()) == []  # an open reader keeps the WAL
    database.write_sync(add("sure"))
    with ThreadPoolExecutor(1) as pool, pytest.raises(OutcomeUnknown):
        pool.submit(add_without_a_disk).result()
    crashed = path.with_name("crashed.db")
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{crashed}{end}")
    with closing(sqlite3.connect(crashed)) as found:
        assert found.execute("SELECT name FROM organizations").fetchall() == [("sure",), ("unsure",)]
    database.write_sync(add("after it"))
    assert asyncio.run(names()) == [("sure",), ("after it",)]


def refuse_syncs() -> None:
    """Makes fsync and fdatasync fail with EIO in the calling thread from now on (seccomp(2))."""
    equals, load, answer, allow = 0x15, 0x20, 0x06, 0x7FFF_0000
    calls = {"x86_64": (74, 75), "aarch64": (82, 83)}[platform.machine()]
    steps = [(load, 0, 0, 0), (equals, 1, 0, calls[0]), (equals, 0, 1, calls[1])]
    steps += [(answer, 0, 0, 0x0005_0000 | errno.EIO), (answer, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, by_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(seccomp, by_filter, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())
