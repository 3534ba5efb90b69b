"""A webhook on PostgreSQL while its key is revoked: no webhook outlives the key."""

from collections.abc import Callable

import msgspec
import pytest

from postroom.actor import Actor
from postroom.auth import keys
from postroom.auth.keys import CreateKey
from postroom.cluster import digest_keys
from postroom.db import Tx
from postroom.instance import digest_key
from postroom.webhooks import webhooks
from postroom.webhooks.webhooks import CreateWebhook, UpdateWebhook
from tests.db import test_postgres_races
from tests.db.test_postgres_races import Work, World

url, world = test_postgres_races.url, test_postgres_races.world
SEAL = "5" * 64
HOOK = CreateWebhook("https://platform.example/", ("*",))
OTHER = UpdateWebhook(url="https://thief.example/")


@pytest.fixture
def thief(world: World) -> Actor:
    """The actor of a key."""
    made, _ = world.do(lambda tx: keys.create(tx, world.actor, CreateKey()))
    world.do(lambda tx: digest_keys.claim(tx, digest_key.fingerprint(SEAL)))
    return msgspec.structs.replace(world.actor, key_id=made.id)


def create(world: World, thief: Actor) -> Work:
    return lambda tx: webhooks.create(tx, thief, None, HOOK, SEAL)


def redirect(world: World, thief: Actor) -> Work:
    made, _ = world.do(create(world, world.actor))
    return lambda tx: webhooks.update(tx, thief, made.id, None, OTHER)


def revoke(world: World, thief: Actor) -> Work:
    def work(tx: Tx) -> int:
        ended = keys.revoke(tx, world.actor, thief.key_id or 0)
        return webhooks.disable_of_keys(tx, world.actor, [key.id for key in ended])

    return work


def statuses(world: World, thief: Actor) -> list[str]:
    sql = "SELECT status FROM webhooks WHERE key_id = :key_id"
    return [row[0] for row in world.do(lambda tx: tx.all(sql, key_id=thief.key_id))]


@pytest.mark.parametrize("what", [create, redirect])
@pytest.mark.parametrize("revoked_first", [False, True])
def test_no_webhook_outlives_its_key(
    world: World, thief: Actor, what: Callable[[World, Actor], Work], revoked_first: bool
) -> None:
    work, end = what(world, thief), revoke(world, thief)
    if revoked_first:
        assert world.beside(end, work) == [0, "unauthorized"]
        assert statuses(world, thief) == []
    else:
        assert world.beside(work, end)[1] == 1
        assert statuses(world, thief) == ["disabled"]
