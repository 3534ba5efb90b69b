"""A PostgreSQL primary dies and its synchronous standby takes over. Postroom needs no restart and
loses nothing that was acknowledged. If the outcome of a commit is unknown, the answer says so."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom.db.postgres import PostgresConnection
from postroom.errors import Busy, OutcomeUnknown
from tests.faults.client import Client
from tests.faults.conftest import new_ledger
from tests.faults.ledger import ACCOUNTS, Ledger
from tests.faults.load import Load, settled
from tests.harness.service import LONG, Service, wait_for
from tests.harness.standby import Pair

BACK_WITHIN = 5.0
# A server and two connections in their own network namespace, whose network goes away. Prints the
# result of each connection.
VANISH = """
import subprocess, threading
from postroom.db.postgres import PostgresConnection
from postroom.errors import Busy
from tests.harness.postgres import PostgresServer

def ask(connection, sql):
    try:
        connection.fetch(sql, {})
    except Busy as error:
        print(error.code, flush=True)

with PostgresServer.start() as server:
    reading, writing = (PostgresConnection(server.url("postgres")) for _ in range(2))
    reader = threading.Thread(target=ask, args=(reading, "SELECT pg_sleep(600)"))
    reader.start()
    while writing.fetch("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", {}) == []:
        continue  # before BEGIN: in a transaction this view does not change
    writing.fetch("BEGIN", {})
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    reader.join()
    ask(writing, "COMMIT")
    ask(PostgresConnection(server.url("postgres")), "SELECT 1")
"""
ROUNDS = 10


@dataclass
class World:
    """A pair of servers, a service on them, and the ledger of what the service acknowledged."""

    pair: Pair
    service: Service
    ledger: Ledger
    key: str
    """Of another organization, which the ledger does not know."""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any] | None:
        client = Client(self.service.ports["port"], self.key, **headers)
        try:
            return client.call(method, path, body)
        finally:
            client.close()

    def create_once(self, name: str) -> tuple[int, Any, Any] | None:
        """Creates an account with a new Idempotency-Key."""
        body = {"domain": "other.test", "local_part": name, "user_id": "user_1"}
        return self.call("POST", f"{ACCOUNTS}/create", body, **{"Idempotency-Key": name})

    def find(self, path: str) -> list[Any]:
        answer = self.call("GET", path)
        assert answer
        assert answer[0] == 200, answer
        found: list[Any] = answer[2]["items"]
        return found

    def has(self, name: str) -> bool:
        """Returns whether an account of this name exists. There must be at most one, with its
        event."""
        accounts = self.find(f"{ACCOUNTS}?q={name}@other.test")
        events = [event for a in accounts for event in self.find(f"/v2/events?account_id={a['id']}")]
        assert [event["type"] for event in events] == ["account.created"] * len(accounts)
        assert len(accounts) <= 1
        return len(accounts) == 1

    def run(self, *arguments: str) -> str:
        """Runs a command line that must succeed."""
        done = self.service.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def started() -> Iterator[World]:
    with Pair.start() as pair, Service.new(mail="off", rate_limit="off", database_url=pair.url) as service:
        service.start()
        world = World(pair, service, new_ledger(service), "")
        world.key = world.run("keys", "create", "--organization", "other")
        world.run("domains", "create", "other.test", "--organization", "other", "--active")
        yield world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with started() as world:
        yield world


def fail_over(world: World) -> float:
    """Kills the primary under load and promotes the standby. Returns the seconds until the first
    201."""
    pair, ledger = world.pair, world.ledger
    with Load(ledger) as load:
        load.wait_for(50)
        pair.primary.kill()
        refused = ledger.busy
        wait_for("503", lambda: ledger.busy > refused + 4)
        created = ledger.created
        pair.promote()
        promoted = time.monotonic()
        wait_for("201", lambda: ledger.created > created)
        took = time.monotonic() - promoted
        load.wait_for(50)
    wait_for("all readers", lambda: settled(ledger))
    ledger.compare()
    return took


@contextmanager
def hanging_create(world: World, name: str) -> "Iterator[Future[tuple[int, Any, Any] | None]]":
    """A create that is committed on the primary but not on the standby."""
    world.pair.standby.stop()
    with ThreadPoolExecutor(1) as pool:
        create = pool.submit(world.create_once, name)
        wait_for("the commit", lambda: world.pair.holds_back("accounts"))
        assert not create.done()
        yield create


def assert_unknown(answer: tuple[int, Any, Any] | None) -> None:
    assert answer
    status, headers, problem = answer
    assert (status, problem["code"]) == (503, "outcome_unknown")
    assert int(headers["Retry-After"]) > 0
    assert "Idempotency-Key" in problem["detail"]


def assert_answered(answer: tuple[int, Any, Any] | None, *, replayed: bool) -> None:
    assert answer
    assert (answer[0], answer[1]["Idempotent-Replayed"] == "true") == (201, replayed)


def test_a_commit_that_waits_too_long(world: World) -> None:
    """The answer is `outcome_unknown`. While the commit waits on the server, no other is sent after
    it, and nothing cancels it."""
    pair = world.pair
    pair.primary.execute("CREATE TABLE notes (text TEXT)", "postroom")
    note = "INSERT INTO notes VALUES (:text)"
    with closing(PostgresConnection(pair.url, 10.0)) as connection:
        pair.standby.stop()
        connection.fetch("BEGIN", {})
        connection.fetch(note, {"text": "waits"})
        with pytest.raises(OutcomeUnknown):
            connection.fetch("COMMIT", {})
        for _ in range(2):
            with pytest.raises(Busy, match="standby"):
                connection.fetch("BEGIN", {})
        assert pair.primary.execute("SELECT text FROM notes", "postroom") == []
        pair.standby.start()
        wait_for("the commit", lambda: pair.primary.execute("SELECT text FROM notes", "postroom"))
        connection.fetch("BEGIN", {})
        connection.fetch(note, {"text": "follows"})
        connection.fetch("COMMIT", {})
    assert pair.primary.execute("SELECT text FROM notes", "postroom") == [("waits",), ("follows",)]


def test_a_commit_that_the_primary_alone_has(world: World) -> None:
    """The wait for the standby is cancelled. PostgreSQL reports this as a success with a
    warning."""
    pair = world.pair
    with hanging_create(world, "alone") as create:
        pair.break_off()
        assert_unknown(create.result())
        pair.standby.start()
    assert world.has("alone")
    assert_answered(world.create_once("alone"), replayed=True)
    assert world.has("alone")


def test_a_commit_that_died_with_the_primary(world: World) -> None:
    pair = world.pair
    with hanging_create(world, "died") as create:
        pair.primary.kill()
        assert_unknown(create.result())
        pair.standby.start()
        pair.promote()
    wait_for("all readers", lambda: settled(world.ledger))
    assert not world.has("died")
    assert_answered(world.create_once("died"), replayed=False)
    assert world.has("died")


def test_the_primary_is_killed_under_load(world: World, tmp_path: Path) -> None:
    """API, worker, command line and backup find the new primary."""
    api, worker = world.service.pid("api"), world.service.pid("worker")
    world.pair.add_standby()
    fail_over(world)
    made = world.create_once("purged")
    assert_answered(made, replayed=False)
    assert made
    world.call("POST", f"{ACCOUNTS}/delete", {"id": made[2]["account"]["id"], "purge": True})
    wait_for("the worker", lambda: world.find("/v2/events?type=account.purged"))
    assert world.run("keys", "create", "--organization", "demo").startswith("pr_")
    world.run("backup", str(tmp_path / "backup"))
    assert (world.service.pid("api"), world.service.pid("worker")) == (api, worker)


@pytest.mark.long
def test_ten_times_in_a_row() -> None:
    """Each time the other of the two hosts becomes the primary. The only bound on time: five
    seconds."""
    with started() as world:
        api = world.service.pid("api")
        took = []
        for _ in range(ROUNDS):
            took.append(fail_over(world))
            world.pair.add_standby()
        print("seconds from the promotion to the first 201:", *(f"{seconds:.2f}" for seconds in took))
        assert max(took) < BACK_WITHIN
        assert world.service.pid("api") == api


@pytest.mark.long
def test_a_host_that_vanishes() -> None:
    """No packet announces it to a waiting statement, a commit in progress, or a new connection."""
    script = 'ip link set lo up && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable, VANISH], capture_output=True, text=True, timeout=LONG
    )
    assert (done.stdout.split(), done.returncode) == (["busy", "outcome_unknown", "busy"], 0), done.stderr
