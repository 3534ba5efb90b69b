"""Which key of app passwords the nodes share: none that would replace the key in force."""

from pathlib import Path

import pytest

from postroom.cluster import digest_keys, node_trust, nodes, trust_keeper
from postroom.cluster.nodes import Node
from postroom.cluster.trust_keeper import CURRENT, Trusting, View
from postroom.db import Database, Tx
from postroom.instance import digest_key
from postroom.mailplane import node_pair
from tests.cluster.test_placement import database

__all__ = ["database"]  # a fixture


def start(database: Database, folder: Path, name: str, address: str) -> Trusting:
    """Returns a node that has just joined, with its own data directory."""
    (folder / "db").mkdir(parents=True)

    def work(tx: Tx) -> Node:
        node = nodes.add(tx, name, address, 1700)
        pair = node_pair.new(node.host, address)
        trust_keeper.write(folder, CURRENT, pair)
        node_trust.publish(tx, node.id, pair.certificate)
        return node

    return Trusting(database.write_sync(work), "", folder)


def shared(database: Database, node: Trusting) -> str:
    """Returns the key that a node knows after one round."""
    database.write_sync(node.act)
    return node.digest_key(database.write_sync(View.look))


def test_a_new_node_waits_for_a_key_that_exists(database: Database, tmp_path: Path) -> None:
    """Also while the certificate of the node that has the key is for its former address."""
    old = start(database, tmp_path / "a", "a", "192.0.2.1")
    key = shared(database, old)
    assert key == digest_key.read(tmp_path / "a")
    database.write_sync(lambda tx: nodes.add(tx, "a", "192.0.2.9", 1700))
    new = start(database, tmp_path / "b", "b", "192.0.2.2")
    assert shared(database, new) == ""
    database.write_sync(lambda tx: nodes.add(tx, "a", "192.0.2.1", 1700))
    assert shared(database, old) == key
    assert shared(database, new) == key


def test_a_node_with_the_key_in_force_needs_no_other(database: Database, tmp_path: Path) -> None:
    """Its certificate is new, and the other node does not run any more."""
    old = start(database, tmp_path / "a", "a", "192.0.2.1")
    key = shared(database, old)
    database.write_sync(lambda tx: digest_keys.claim(tx, digest_key.fingerprint(key)))
    new = start(database, tmp_path / "b", "b", "192.0.2.2")
    digest_key.keep(tmp_path / "b", key)
    assert shared(database, new) == key


@pytest.mark.parametrize("former", ["1" * 64, None])
def test_a_key_is_replaced_and_the_former_one_kept(tmp_path: Path, former: str | None) -> None:
    (tmp_path / "db").mkdir()
    if former:
        digest_key.keep(tmp_path, former)
    digest_key.replace(tmp_path, "2" * 64)
    assert digest_key.read(tmp_path) == "2" * 64
    kept = digest_key.path(tmp_path).with_name("digest.key.former")
    assert (kept.read_text().strip() if kept.exists() else None) == former
