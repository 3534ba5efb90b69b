"""Which events reach which webhooks, and that none is skipped, on both engines."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.service import webhook_fan_out
from postroom.service.webhook_fan_out import FanOut
from postroom.webhooks import fan_out
from tests.webhooks.endpoint import Endpoint
from tests.webhooks.world import World

URL = "http://127.0.0.1:1/"
# SQLite has one writer at a time, so ids are in the order of the commits.
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def make(world: World, used: FanOut | None = None) -> None:
    asyncio.run((used or FanOut(world.database))())


def got(world: World, hook: Any) -> list[int]:
    return [event for event, _, _ in world.statuses(hook)]


@pytest.mark.parametrize(
    ("patterns", "bounds", "wanted"),
    [
        (("*",), (), "abcd"),
        (("account.*",), (), "ab"),
        (("account.deleted", "domain.lost"), (), "bc"),
        (("*",), ("user_id",), "ac"),
        (("*",), ("domain_id",), "ad"),
        (("*",), ("account_id",), "b"),
        (("key.*",), (), ""),
    ],
)
def test_it_works(world: World, patterns: tuple[str, ...], bounds: tuple[str, ...], wanted: str) -> None:
    """A webhook gets what its patterns name and its bounds allow, of its own organization, from its
    creation on."""
    (domain, account), other = world.account("u"), world.actor()
    actor = Actor(domain.organization_id)
    hook = world.hook(URL, *patterns, actor=actor)
    here = {"user_id": "u", "domain_id": domain.id, "account_id": account}
    for name in bounds:
        world.run(f"UPDATE webhooks SET {name} = :value WHERE id = :id", value=here[name], id=hook.id)
    ids = {
        "a": world.event(actor, "account.created", user_id="u", domain_id=domain.id),
        "b": world.event(actor, "account.deleted", user_id="v", domain_id=8, account_id=account),
        "c": world.event(actor, "domain.lost", user_id="u"),
        "d": world.event(actor, "limits.changed", domain_id=domain.id),
    }
    world.event(other)
    make(world)
    assert [id_ for id_ in got(world, hook) if id_ >= ids["a"]] == [ids[letter] for letter in wanted]
    assert len(got(world, hook)) == len(wanted) + int(patterns == ("*",) and not bounds)


@ON_POSTGRESQL
def test_an_event_that_commits_late_is_not_skipped(world: World, database_url: str) -> None:
    """On PostgreSQL a transaction that took a low id may commit after one with a higher id."""
    hook = world.hook(URL)
    used = FanOut(world.database)
    make(world, used)
    for end in ("commit", "rollback"):
        before = got(world, hook)
        with _open_event(hook.actor, database_url, end) as early:
            late = world.event(hook.actor)
            for _ in range(3):  # what is visible does not wait, and is not made twice
                make(world, used)
                assert got(world, hook) == [*before, late]
            later = world.event(hook.actor)
            make(world, used)
            assert got(world, hook) == [*before, late, later]
        assert early < late
        make(world, used)
        assert got(world, hook) == [*before, *([early] if end == "commit" else []), late, later]
    make(world, used)
    assert world.rows("SELECT event_id FROM webhook_cursors") == [(later,)]
    make(world)  # another worker finds nothing new
    assert len(got(world, hook)) == 5


@contextmanager
def _open_event(actor: Actor, url: str, end: str = "commit") -> Iterator[int]:
    """The id of an event whose transaction ends with the block."""
    with closing(engine_for(url).writer(has_deadlines=False)) as connection, connection.transaction():
        tx = Tx(connection)
        events.record(tx, actor, "account.created")
        yield int(tx.all("SELECT MAX(id) FROM events")[0][0])
        connection.fetch("COMMIT" if end == "commit" else "ROLLBACK", {})


@ON_POSTGRESQL
def test_a_restart_goes_on_behind_an_open_transaction(world: World, database_url: str) -> None:
    """The stored cursor never passes an id that can still appear, so a worker that dies loses
    nothing either."""
    hook = world.hook(URL)
    make(world)
    with _open_event(hook.actor, database_url) as early:
        late = world.event(hook.actor)
        make(world)  # a worker that then dies
        assert got(world, hook) == [late]
    make(world)  # the next one
    assert got(world, hook) == [early, late]


def test_without_webhooks_nothing_is_written(world: World) -> None:
    """An instance without an active webhook costs one read a look, and no row."""
    actor = world.actor()
    world.event(actor)
    before = world.rows("SELECT event_id FROM webhook_cursors")
    make(world)
    assert world.rows("SELECT event_id FROM webhook_cursors") == before
    hook = world.hook(URL, actor=actor)
    world.run("UPDATE webhooks SET status = 'disabled' WHERE id = :id", id=hook.id)
    world.event(actor)
    make(world)
    assert got(world, hook) == []


def test_many_events_are_made_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "EVENTS", 3)
    monkeypatch.setattr(fan_out, "STEP", 2)
    monkeypatch.setattr(webhook_fan_out, "BEHIND", 1)
    hook, quiet = world.hook(URL), world.hook(URL, "domain.lost")
    ids = [world.event(hook.actor) for _ in range(10)]
    make(world)
    assert got(world, hook) == ids
    assert got(world, quiet) == []
    assert world.rows("SELECT event_id FROM webhook_cursors") == [(ids[-1],)]


def test_two_workers_make_one_delivery(world: World, endpoint: Endpoint) -> None:
    """Workers of several machines read the same events, and each delivery is made and sent once."""
    hook = world.hook(endpoint.url())
    one, two = world.worker(), world.worker()
    ids = [world.event(hook.actor) for _ in range(20)]

    async def work() -> None:
        await asyncio.gather(one.look(), two.look())
        await asyncio.gather(one.look(), two.look())
        await asyncio.gather(one.finish(), two.finish())

    asyncio.run(work())
    world.send(one)
    assert sorted(post.id for post in endpoint.posts) == sorted(f"evt_{id_}" for id_ in ids)
    assert {(status, attempts) for _, status, attempts in world.statuses(hook)} == {("delivered", 1)}
