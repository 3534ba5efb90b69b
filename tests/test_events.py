"""Events are written in the transaction of the change that they record."""

from collections.abc import Iterator

import pytest

from postroom import events
from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import DEFAULT_SCOPES, Actor
from postroom.auth import keys
from postroom.auth.keys import CreateKey
from postroom.db import Database, Tx
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def all_events(tx: Tx, actor: Actor) -> list[events.Event]:
    return events.page(tx, actor, after=0, limit=1000)


def test_it_works(database: Database) -> None:
    def work(tx: Tx) -> None:
        actor = Actor(
            organizations.ensure(tx, "events"), key_id=7, request_id="r", client_address="2001:db8::1", user_id="bound"
        )
        events.record(tx, actor, "thing.happened", account_id=1, domain_id=2, user_id="u", data={"a": [1, "é"]})
        events.record(tx, actor, "thing.ended")
        first, second = all_events(tx, actor)
        expected = ("thing.happened", 1, 2, "u", 7, "r", "2001:db8::1", {"a": [1, "é"]}, tx.now)
        assert tuple(getattr(first, name) for name in first.__struct_fields__[1:]) == expected
        assert (second.type, second.account_id, second.user_id, second.data) == ("thing.ended", None, None, {})
        assert second.id > first.id

    database.write_sync(work)


def test_nothing_happened_when_the_transaction_did_not(database: Database) -> None:
    actor = Actor(database.write_sync(lambda tx: organizations.ensure(tx, "rolled back")))

    def work(tx: Tx) -> None:
        events.record(tx, actor, "thing.happened")
        raise KeyError

    with pytest.raises(KeyError):
        database.write_sync(work)
    assert database.write_sync(lambda tx: all_events(tx, actor)) == []


def test_a_page(database: Database) -> None:
    def work(tx: Tx) -> None:
        actor, other = (Actor(organizations.ensure(tx, name)) for name in ("page", "other page"))
        for number in range(6):
            user = f"u{number % 2}"
            events.record(tx, actor, f"n.{number}", account_id=number % 3, domain_id=number // 3, user_id=user)
            events.record(tx, other, "not.ours", account_id=number % 3, domain_id=number // 3, user_id=user)
        every = all_events(tx, actor)
        assert [event.type for event in every] == [f"n.{number}" for number in range(6)]
        assert events.page(tx, actor, after=every[1].id, limit=2) == every[2:4]
        assert events.page(tx, actor, after=0, limit=9, user_id="u1") == every[1::2]
        assert events.page(tx, actor, after=0, limit=9, account_id=2) == every[2::3]
        assert events.page(tx, actor, after=0, limit=9, domain_id=1, user_id="u0") == [every[4]]
        assert events.page(tx, actor, after=every[-1].id, limit=9) == []

    database.write_sync(work)


def test_what_the_operator_does_is_recorded_too(database: Database) -> None:
    def work(tx: Tx) -> None:
        made = bootstrap.create_domain(tx, "operated", "operated.test", "u1", "active")
        key = bootstrap.create_key(tx, "operated", CreateKey(user_id="u1"))
        actor = Actor(made.organization_id)
        (key_id,) = [found.id for found in keys.get_all(tx, actor.organization_id)]
        keys.revoke(tx, actor, key_id)
        recorded = all_events(tx, actor)
        assert [event.type for event in recorded] == ["domain.created", "key.created", "key.revoked"]
        assert [event.key_id for event in recorded] == [None] * 3
        assert recorded[1].data == {"key_id": key_id, "prefix": key[:10], "scopes": list(DEFAULT_SCOPES)}
        assert key not in repr(recorded)

    database.write_sync(work)


def test_no_event_holds_a_password(database: Database) -> None:
    def work(tx: Tx) -> None:
        bootstrap.create_domain(tx, "secret", "secret.test", None, "active")
        actor = Actor(organizations.ensure(tx, "secret"))
        made = accounts.create(tx, actor, CreateAccount("secret.test", "a", "u", None, "{SSHA512}hash"))
        accounts.reset(tx, actor, made.id, None, "{ARGON2ID}hash")
        assert "hash" not in repr(all_events(tx, actor))

    database.write_sync(work)
