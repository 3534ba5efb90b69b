"""The placement of new accounts, and nodes that come and go."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import purges
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.cluster import moves, nodes
from postroom.cluster.nodes import Ports
from postroom.db import Database, Tx, migrate, open_database
from postroom.db.migrations import SCHEMA, VIEWS
from postroom.errors import Busy, Refused
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.postgres import PostgresServer

PORTS = Ports(1993, 1995, 4190)


@pytest.fixture
def database(postgres: PostgresServer) -> Any:
    url = postgres.new_database()
    migrate(url)
    found = open_database(url)
    yield found
    found.close()


def _make(tx: Tx, number: int) -> int:
    actor = Actor(organizations.ensure(tx, "o"))
    if number == 0:
        bootstrap.create_domain(tx, "o", "o.example", "u", "active", None)
    return accounts.create(tx, actor, CreateAccount("o.example", f"a{number}", "u", None, "{SSHA512}x")).id


def _make_as_before(tx: Tx) -> tuple[int, int, int]:
    """Creates an account as a version with schema 0016 does, on the first of two nodes. Returns its
    id, its node and the other node."""
    ((home,), (target,)) = tx.all("SELECT id FROM nodes WHERE id > 0 ORDER BY id")
    organization = organizations.ensure(tx, "o")
    ((domain,),) = tx.all(
        """INSERT INTO domains (organization_id, user_id, name, status, created_at, updated_at)
           VALUES (:organization, 'u', 'o.example', 'active', 1, 1) RETURNING id""",
        organization=organization,
    )
    ((id_,),) = tx.all(
        """INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
             created_at, updated_at)
           VALUES (:organization, :domain, 'u', 'a0@o.example', 'active', 1, '{SSHA512}x', 1, 1, 1) RETURNING id""",
        organization=organization,
        domain=domain,
    )
    tx.run("INSERT INTO account_homes (account_id, node_id) VALUES (:id, :home)", id=id_, home=home)
    return id_, home, target


def _add(database: Database, name: str) -> None:
    database.write_sync(lambda tx: nodes.add(tx, name, "192.0.2.1", 1700))


def _begin(database: Database, name: str, folder: str | None = None) -> int:
    return database.write_sync(lambda tx: nodes.begin(tx, name, folder, PORTS))[1]


def _loads(database: Database) -> dict[str, int]:
    return {node.name: node.accounts for node in database.write_sync(nodes.everything)}


def test_it_works(database: Database) -> None:
    """The first node takes over the existing accounts when it starts. A new account goes to the
    node with the fewest."""
    for number in range(3):
        database.write_sync(lambda tx, number=number: _make(tx, number))
    _add(database, "a")
    database.write_sync(lambda tx: _make(tx, 3))  # created by the single machine before its start as a node
    _add(database, "b")
    with pytest.raises(Refused, match="Start the first node first"):
        _begin(database, "b")
    assert _begin(database, "a") == 4
    database.write_sync(lambda tx: _make(tx, 4))
    assert _loads(database) == {"a": 5, "b": 0}  # b has never run
    assert _begin(database, "b") == 0
    for number in range(5, 11):
        database.write_sync(lambda tx, number=number: _make(tx, number))
    before = _loads(database)
    assert sorted(before.values()) == [5, 6]
    database.write_sync(lambda tx: nodes.drain(tx, "a", True))
    for number in range(11, 15):
        database.write_sync(lambda tx, number=number: _make(tx, number))
    assert _loads(database) == {"a": before["a"], "b": before["b"] + 4}
    database.write_sync(lambda tx: nodes.drain(tx, "b", True))
    with pytest.raises(Busy, match="No node takes new accounts"):
        database.write_sync(lambda tx: _make(tx, 15))
    database.write_sync(lambda tx: nodes.drain(tx, "a", False))
    database.write_sync(lambda tx: _make(tx, 15))
    assert _loads(database)["a"] == before["a"] + 1


def test_a_node_is_not_another_machine(database: Database) -> None:
    """A machine with the name of a node but other data is not that node."""
    _add(database, "a")
    _begin(database, "a")
    folder = database.write_sync(nodes.everything)[0].folder
    assert folder
    for other in (None, "another"):
        with pytest.raises(Refused, match="another data directory"):
            _begin(database, "a", other)
    _begin(database, "a", folder)
    _add(database, "a")
    _begin(database, "a", "another")


def test_a_node_is_removed_when_it_has_nothing(database: Database) -> None:
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)
    id_ = database.write_sync(lambda tx: _make(tx, 0))
    a, b = database.write_sync(nodes.everything)
    if database.write_sync(lambda tx: nodes.home(tx, id_)) == a.id:
        assert database.write_sync(lambda tx: nodes.relocate(tx, id_, a.id, b.id))
    assert not database.write_sync(lambda tx: nodes.relocate(tx, id_, a.id, b.id))
    assert _loads(database) == {"a": 0, "b": 1}
    database.write_sync(lambda tx: nodes.drain(tx, "b", True))
    for name in ("a", "b"):
        with pytest.raises(Refused):
            database.write_sync(lambda tx, name=name: nodes.remove(tx, name))
    database.write_sync(lambda tx: moves.request(tx, id_, "a"))
    database.write_sync(lambda tx: nodes.leave(tx, id_))
    with pytest.raises(Refused, match="wait for the ends of moves"):
        database.write_sync(lambda tx: nodes.remove(tx, "b"))
    database.write_sync(lambda tx: moves.finish(tx, id_))
    database.write_sync(lambda tx: nodes.remove(tx, "b"))
    assert _loads(database) == {"a": 0}


@pytest.mark.parametrize(("phase", "due"), [("copy", False), ("frozen", False), ("clean", True)])
def test_a_purge_waits_for_no_other_machine(database: Database, phase: str, due: bool) -> None:
    """A purge waits only while the mail might be on its way. Another node erases its leftovers when
    it is back."""
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)

    def work(tx: Tx) -> list[int]:
        id_ = _make(tx, 0)
        home = nodes.home(tx, id_)
        assert home
        moves.request(tx, id_, "b" if home == nodes.get(tx, "a").id else "a")
        tx.run("UPDATE account_moves SET phase = :phase", phase=phase)
        tx.run("UPDATE accounts SET deleted_at = 1, purge_at = 1 WHERE id = :id", id=id_)
        return purges.due_purges(tx, home)

    assert bool(database.write_sync(work)) is due


def _moved(tx: Tx) -> moves.Move:
    """Returns the move of a new account."""
    id_ = _make(tx, 0)
    return moves.request(tx, id_, "b" if nodes.home(tx, id_) == nodes.get(tx, "a").id else "a")


def test_a_cancelled_move_goes_no_further(database: Database) -> None:
    """Whatever its worker is about to do, it neither closes the account nor moves it."""
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)
    move = database.write_sync(_moved)
    id_ = move.account_id
    database.write_sync(lambda tx: moves.cancel(tx, id_))
    assert not database.write_sync(lambda tx: moves.freeze(tx, id_))
    database.write_sync(lambda tx: tx.run("UPDATE account_moves SET phase = 'frozen'"))
    assert not database.write_sync(lambda tx: moves.switch(tx, move))
    assert database.write_sync(lambda tx: moves.cancel(tx, id_))  # a second time
    database.write_sync(lambda tx: moves.thaw(tx, id_, "late"))
    due = database.write_sync(lambda tx: moves.next_due(tx, move.source))
    assert due
    assert (due.phase, due.cancelled) == ("copy", True)
    assert database.write_sync(lambda tx: nodes.next_leftover(tx, move.target)) is None
    database.write_sync(lambda tx: moves.take_back(tx, move))
    assert database.write_sync(lambda tx: nodes.home(tx, id_)) == move.source
    assert database.write_sync(lambda tx: nodes.next_leftover(tx, move.target)) == id_
    assert database.write_sync(lambda tx: nodes.next_leftover(tx, move.source)) is None
    assert database.write_sync(lambda tx: moves.cancel(tx, id_)) is None


def test_a_move_that_was_cancelled_before_the_upgrade(postgres: PostgresServer, tmp_path: Path) -> None:
    """Before the upgrade, "cancelled" was a phase that the target had to end."""
    for file in SCHEMA.glob("*.sql"):
        if file.name < "0017":
            shutil.copy(file, tmp_path)
    (tmp_path / VIEWS).write_text("-- Those of today ask for tables that came later.\n")
    url = postgres.new_database()
    migrate(url, tmp_path)
    found = open_database(url)
    try:
        # SQL as in that version, because today's statements need newer columns.
        machine = """INSERT INTO nodes (name, address, port, founder, created_at, seen_at)
            VALUES (:name, '192.0.2.1', 1700, :founder, 1, :now) RETURNING id"""
        for name, founder in (("a", 1), ("b", 0)):
            found.write_sync(
                lambda tx, name=name, founder=founder: tx.all(machine, name=name, founder=founder, now=tx.now)
            )
        id_, home, target = found.write_sync(_make_as_before)
        sql = """INSERT INTO account_moves (account_id, source, target, phase, created_at)
            VALUES (:id, :home, :target, 'cancelled', 1)"""
        found.write_sync(lambda tx: tx.run(sql, id=id_, home=home, target=target))
        migrate(url)
        assert found.write_sync(lambda tx: moves.get(tx, id_)) is None
        assert found.write_sync(lambda tx: nodes.next_leftover(tx, target)) == id_
    finally:
        found.close()


def test_what_is_at_home_is_no_leftover(database: Database) -> None:
    """Whatever the tables contain, nothing is erased at the home of an account."""
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)
    move = database.write_sync(_moved)
    database.write_sync(lambda tx: moves.take_back(tx, move))
    database.write_sync(lambda tx: nodes.relocate(tx, move.account_id, move.source, move.target))
    assert database.write_sync(lambda tx: nodes.next_leftover(tx, move.target)) is None


def test_a_node_that_is_lost_is_removed(database: Database) -> None:
    """The lost node has leftovers of cancelled moves. A node that is alive must erase them before
    its removal. Meanwhile other nodes can be emptied."""
    for name in ("a", "b", "c"):
        _add(database, name)
        _begin(database, name)
    database.write_sync(lambda tx: [nodes.drain(tx, name, True) for name in ("b", "c")])
    id_ = database.write_sync(lambda tx: _make(tx, 0))
    database.write_sync(lambda tx: [nodes.drain(tx, name, name == "a") for name in ("a", "b", "c")])
    move = database.write_sync(lambda tx: moves.request(tx, id_, "c"))
    database.write_sync(lambda tx: nodes.drain(tx, "c", True))
    with pytest.raises(Refused, match="list-moves"):
        database.write_sync(lambda tx: nodes.remove(tx, "c"))
    database.write_sync(lambda tx: moves.take_back(tx, move))
    with pytest.raises(Refused, match="in a moment"):
        database.write_sync(lambda tx: nodes.remove(tx, "c"))
    database.write_sync(lambda tx: [nodes.drain(tx, name, name != "c") for name in ("b", "c")])
    assert database.write_sync(lambda tx: moves.request_more(tx, "a", 10)) == 1  # the other waits for c
    assert database.write_sync(lambda tx: moves.get(tx, id_)) is None
    database.write_sync(lambda tx: [nodes.drain(tx, name, name != "b") for name in ("b", "c")])
    assert database.write_sync(lambda tx: moves.request_more(tx, "a", 10)) == 1
    database.write_sync(lambda tx: tx.run("UPDATE nodes SET seen_at = 1 WHERE name = 'c'"))
    database.write_sync(lambda tx: nodes.remove(tx, "c"))
    assert _loads(database) == {"a": 1, "b": 0}


def test_a_node_that_is_away_gets_none(database: Database) -> None:
    """While another node is alive, a silent node gets no accounts, because their mailboxes could
    not be used."""
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)
    database.write_sync(lambda tx: tx.run("UPDATE nodes SET seen_at = 1 WHERE name = 'a'"))
    for number in range(2):
        database.write_sync(lambda tx, number=number: _make(tx, number))
    assert _loads(database) == {"a": 0, "b": 2}
    database.write_sync(lambda tx: tx.run("UPDATE nodes SET seen_at = 1"))
    database.write_sync(lambda tx: _make(tx, 2))
    assert _loads(database) == {"a": 1, "b": 2}
