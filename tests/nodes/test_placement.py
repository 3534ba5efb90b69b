"""Where new accounts are placed, and machines that come and go."""

from typing import Any

import pytest

from postroom import accounts, moves, nodes, operator, organizations
from postroom.accounts import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from postroom.errors import Busy, Refused
from postroom.nodes import Authority, Ports
from tests.postgres import PostgresServer

PORTS = Ports(1993, 1995, 4190)
AUTHORITY = Authority("certificate", "key")


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
        operator.create_domain(tx, "o", "o.example", "u", "active", None)
    return accounts.create(tx, actor, CreateAccount("o.example", f"a{number}", "u", None, "{SSHA512}x")).id


def _add(database: Database, name: str) -> None:
    database.write_alone(lambda tx: nodes.add(tx, name, "192.0.2.1", 1700, AUTHORITY))


def _begin(database: Database, name: str, folder: str | None = None) -> int:
    return database.write_alone(lambda tx: nodes.begin(tx, name, folder, PORTS))[1]


def _loads(database: Database) -> dict[str, int]:
    return {node.name: node.accounts for node in database.write_alone(nodes.everything)}


def test_it_works(database: Database) -> None:
    """The first node takes over what was there when it starts; a new account goes where there are fewest."""
    for number in range(3):
        database.write_alone(lambda tx, number=number: _make(tx, number))
    _add(database, "a")
    database.write_alone(lambda tx: _make(tx, 3))  # by the one machine, which has not been started as a node yet
    _add(database, "b")
    with pytest.raises(Refused, match="Start the first node first"):
        _begin(database, "b")
    assert _begin(database, "a") == 4
    database.write_alone(lambda tx: _make(tx, 4))
    assert _loads(database) == {"a": 5, "b": 0}  # b has never run
    assert _begin(database, "b") == 0
    for number in range(5, 11):
        database.write_alone(lambda tx, number=number: _make(tx, number))
    before = _loads(database)
    assert sorted(before.values()) == [5, 6]
    database.write_alone(lambda tx: nodes.drain(tx, "a", True))
    for number in range(11, 15):
        database.write_alone(lambda tx, number=number: _make(tx, number))
    assert _loads(database) == {"a": before["a"], "b": before["b"] + 4}
    database.write_alone(lambda tx: nodes.drain(tx, "b", True))
    with pytest.raises(Busy, match="No node takes new accounts"):
        database.write_alone(lambda tx: _make(tx, 15))
    database.write_alone(lambda tx: nodes.drain(tx, "a", False))
    database.write_alone(lambda tx: _make(tx, 15))
    assert _loads(database)["a"] == before["a"] + 1


def test_a_node_is_not_another_machine(database: Database) -> None:
    """Its name alone does not make a machine the one that has the mail."""
    _add(database, "a")
    _begin(database, "a")
    folder = database.write_alone(nodes.everything)[0].folder
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
    id_ = database.write_alone(lambda tx: _make(tx, 0))
    a, b = database.write_alone(nodes.everything)
    if database.write_alone(lambda tx: nodes.home(tx, id_)) == a.id:
        assert database.write_alone(lambda tx: nodes.relocate(tx, id_, a.id, b.id))
    assert not database.write_alone(lambda tx: nodes.relocate(tx, id_, a.id, b.id))
    assert _loads(database) == {"a": 0, "b": 1}
    database.write_alone(lambda tx: nodes.drain(tx, "b", True))
    for name in ("a", "b"):
        with pytest.raises(Refused):
            database.write_alone(lambda tx, name=name: nodes.remove(tx, name))
    database.write_alone(lambda tx: moves.request(tx, id_, "a"))
    database.write_alone(lambda tx: nodes.leave(tx, id_))
    with pytest.raises(Refused, match="wait for the ends of moves"):
        database.write_alone(lambda tx: nodes.remove(tx, "b"))
    database.write_alone(lambda tx: moves.finish(tx, id_))
    database.write_alone(lambda tx: nodes.remove(tx, "b"))
    assert _loads(database) == {"a": 0}


@pytest.mark.parametrize(("phase", "due"), [("copy", False), ("frozen", False), ("cancelled", True), ("clean", True)])
def test_a_purge_waits_for_no_other_machine(database: Database, phase: str, due: bool) -> None:
    """Only while the mail might be on its way. What is left elsewhere that machine erases, whenever it is back."""
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
        return accounts.due_purges(tx, home)

    assert bool(database.write_alone(work)) is due


def test_a_node_that_is_away_gets_none(database: Database) -> None:
    """While another one is there: nobody could use a mailbox on it."""
    for name in ("a", "b"):
        _add(database, name)
        _begin(database, name)
    database.write_alone(lambda tx: tx.run("UPDATE nodes SET seen_at = 1 WHERE name = 'a'"))
    for number in range(2):
        database.write_alone(lambda tx, number=number: _make(tx, number))
    assert _loads(database) == {"a": 0, "b": 2}
    database.write_alone(lambda tx: tx.run("UPDATE nodes SET seen_at = 1"))
    database.write_alone(lambda tx: _make(tx, 2))
    assert _loads(database) == {"a": 1, "b": 2}
