"""Keys: rules that the key functions enforce themselves, whatever the API has already checked."""

from collections.abc import Iterator

import pytest

from postroom.actor import Actor
from postroom.auth import keys
from postroom.auth.keys import CreateKey
from postroom.db import Database, Tx
from postroom.errors import Refused
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def holder(tx: Tx, secret: str) -> Actor:
    found = keys.authenticate(tx, secret, "192.0.2.7")
    assert found
    return found[0]


def refused(tx: Tx, actor: Actor, command: CreateKey) -> str:
    before = keys.get_all(tx, actor.organization_id)
    with pytest.raises(Refused) as error:
        keys.create(tx, actor, command)
    assert keys.get_all(tx, actor.organization_id) == before
    return error.value.code


def test_it_works(database: Database) -> None:
    def work(tx: Tx) -> None:
        operator = Actor(organizations.ensure(tx, "keys"))
        made, secret = keys.create(tx, operator, CreateKey(user_id="u", scopes=("keys:write",)))
        actor = holder(tx, secret)
        assert actor == Actor(operator.organization_id, frozenset({"keys:write"}), "u", made.id, made.id)
        child, _ = keys.create(tx, actor, CreateKey())
        assert (child.user_id, child.scopes, child.parent_id) == ("u", ("keys:write",), made.id)
        assert keys.get_all(tx, operator.organization_id)[-2:] == [made, child]

    database.write_sync(work)


def test_never_for_another_user(database: Database) -> None:
    def work(tx: Tx) -> None:
        operator = Actor(organizations.ensure(tx, "keys"))
        actor = holder(tx, keys.create(tx, operator, CreateKey(user_id="u"))[1])
        assert refused(tx, actor, CreateKey(user_id="v")) == "not_found"

    database.write_sync(work)


def test_a_key_that_was_revoked_after_its_lookup_creates_none(database: Database) -> None:
    def work(tx: Tx) -> None:
        operator = Actor(organizations.ensure(tx, "keys"))
        made, secret = keys.create(tx, operator, CreateKey())
        actor = holder(tx, secret)
        keys.revoke(tx, operator, made.id)
        assert refused(tx, actor, CreateKey()) == "unauthorized"
        made, secret = keys.create(tx, operator, CreateKey(expires_at=tx.now + 1))
        actor = holder(tx, secret)
        tx.now += 1
        assert refused(tx, actor, CreateKey()) == "unauthorized"

    database.write_sync(work)
