"""Retries, lanes and leases: what becomes of endpoints that fail, and that they cost others
nothing. On both engines."""

import asyncio
import socket
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from postroom.service import webhooks as service
from postroom.webhooks import attempts, courses, lanes, secrets, sender, webhooks
from postroom.webhooks.webhooks import UpdateWebhook
from tests.harness.server import KEY
from tests.webhooks.endpoint import OK, Endpoint, Post, answers
from tests.webhooks.world import World


def hang(connection: socket.socket, _post: Post) -> None:
    connection.recv(1)  # until the peer ends the connection


def test_retries_follow_the_schedule(world: World, endpoint: Endpoint) -> None:
    """The same webhook-id and body at each attempt, later and later, and then failed."""
    hook, endpoint.answer = world.hook(endpoint.url()), answers(500)
    event = world.event(hook.actor)
    waits = []
    for _ in range(len(attempts.RETRIES) + 1):
        world.send()
        ((next_at, now),) = world.rows(
            "SELECT next_at, (SELECT leased_until FROM webhook_lanes WHERE webhook_id = :id) FROM webhook_deliveries",
            id=hook.id,
        )
        assert now == 0
        waits.append(next_at)
        world.make_due(hook)
    assert waits[-1] is None
    for at, wait, post in zip(waits, attempts.RETRIES, endpoint.posts, strict=False):
        assert wait * 1000 <= at - post.at * 1000 <= wait * 1000 * (1 + attempts.JITTER) + 20_000
    assert world.statuses(hook) == [(event, "failed", 10)]
    assert {post.id for post in endpoint.posts} == {f"evt_{event}"}
    assert len({post.body for post in endpoint.posts}) == 1
    row = world.rows("SELECT last_status_code, last_error, ended_at IS NULL FROM webhook_deliveries")[0]
    assert tuple(row)[:2] == (500, "The endpoint has answered 500.")
    world.send()
    assert len(endpoint.posts) == 10


def test_a_failing_endpoint_is_probed_with_the_oldest_delivery(world: World, endpoint: Endpoint) -> None:
    """After five failures one delivery a minute goes out. When it arrives, the others follow."""
    hook, endpoint.answer = world.hook(endpoint.url()), answers(503)
    ids = [world.event(hook.actor) for _ in range(8)]
    for pause in courses.PAUSES_MS:
        world.send()
        world.send()
        since = endpoint.posts[-1].at * 1000
        assert pause <= world.state(hook)["probe_at"] - since <= pause * (1 + courses.JITTER) + 20_000
        world.end_pause(hook)
    world.send()
    assert [post.id for post in endpoint.posts] == [f"evt_{id_}" for id_ in ids[:5]]
    state = world.state(hook)
    assert state["failures"] == 5
    assert courses.PROBE_MS - 30_000 <= state["probe_at"] - state["failing_since"] <= courses.PROBE_MS + 30_000
    (later,) = [world.event(hook.actor)]
    world.send()
    assert len(endpoint.posts) == 5, "a new event does not end the wait"
    world.make_due(hook)
    world.send()
    world.send()
    assert [post.id for post in endpoint.posts[5:]] == [f"evt_{ids[0]}"]
    retries = dict(world.rows("SELECT source_id, retry FROM webhook_deliveries"))
    assert retries[ids[0]] == 2
    world.run("UPDATE webhooks SET failing_since = failing_since - 3600000")
    world.make_due(hook)
    world.send()
    state = world.state(hook)
    assert state["probe_at"] - state["failing_since"] - 3_600_000 >= courses.LATER_PROBE_MS
    endpoint.answer = OK
    world.make_due(hook)
    for _ in range(2):
        world.send()
    assert {status for _, status, _ in world.statuses(hook)} == {"delivered"}
    assert len(world.statuses(hook)) == len([*ids, later])
    assert world.state(hook) | {"last_success_at": 0} == {
        "status": "active", "disabled_reason": None, "failures": 0, "failing_since": None, "probe_at": None,
        "last_success_at": 0,
    }  # fmt: skip


def test_a_probe_before_its_time_takes_no_retry_away(world: World, endpoint: Endpoint) -> None:
    hook, endpoint.answer = world.hook(endpoint.url()), answers(500)
    world.event(hook.actor)
    world.run("UPDATE webhooks SET failures = 7, failing_since = 1 WHERE id = :id", id=hook.id)
    world.run("UPDATE webhooks SET failing_since = created_at WHERE id = :id", id=hook.id)
    world.send()
    world.run("UPDATE webhook_lanes SET due_at = 1")
    before = world.rows("SELECT retry, next_at FROM webhook_deliveries")
    world.send()
    assert len(endpoint.posts) == 2
    assert world.rows("SELECT retry, next_at FROM webhook_deliveries") == before


@pytest.mark.parametrize(
    ("answer", "since", "failures", "reason"),
    [
        (answers(410), 0, 9, "gone"),
        (answers(500), courses.GIVE_UP_MS, courses.GIVE_UP_AFTER - 1, "failing"),
        (answers(500), courses.GIVE_UP_MS, courses.GIVE_UP_AFTER - 2, None),
        (answers(500), courses.HOUR_MS, courses.GIVE_UP_AFTER, None),
    ],
)
def test_an_endpoint_is_given_up(
    world: World, endpoint: Endpoint, answer: bytes, since: int, failures: int, reason: str | None
) -> None:
    """410 disables a webhook at once, a hundred failures in a row in three days or more do so too;
    an event says why."""
    hook, endpoint.answer = world.hook(endpoint.url()), answer
    for _ in range(3):
        world.event(hook.actor)
    if since:
        sql = "UPDATE webhooks SET failures = :failures, failing_since = created_at - :since WHERE id = :id"
        world.run(sql, failures=failures, since=since, id=hook.id)
    world.send()
    state = world.state(hook)
    assert (state["status"], state["disabled_reason"]) == ("disabled" if reason else "active", reason)
    told = world.rows("SELECT data FROM events WHERE type = 'webhook.disabled' AND organization_id = :id",
                      id=hook.actor.organization_id)  # fmt: skip
    assert len(told) == (1 if reason else 0)
    posts = len(endpoint.posts)
    world.make_due(hook)
    world.send()
    if reason:
        assert {status for _, status, _ in world.statuses(hook)} == {"failed"}
        assert world.rows("SELECT due_at FROM webhook_lanes") == [(None,)]
        assert len(endpoint.posts) == posts


def test_dead_endpoints_have_slots_of_their_own(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While endpoints that hang hold every slot for those that fail, one that lives gets its events
    at once."""
    monkeypatch.setattr(service, "FAILING_LANES", 2)
    monkeypatch.setattr(service, "SLOW_SECONDS", 3600)  # else a slow answer of the living one counts too
    endpoint.answer_of = {"/dead": hang}
    actor = world.actor()
    dead = [world.hook(endpoint.url("/dead"), actor=actor) for _ in range(6)]
    for hook in dead:
        world.run("UPDATE webhooks SET failures = 9, failing_since = created_at WHERE id = :id", id=hook.id)
        sql = "INSERT INTO webhook_lanes (webhook_id, failing, due_at) VALUES (:id, 1, NULL)"
        world.run(sql, id=hook.id)
    alive = world.hook(endpoint.url("/alive"), actor=actor)
    worker = world.worker()

    async def work() -> None:
        for number in range(3):
            await asyncio.to_thread(world.event, actor)
            await worker.look()
            wanted = lambda found, number=number: len(found.of("/alive")) > number  # noqa: E731
            await asyncio.to_thread(endpoint.wait, wanted)
            while any(busy for busy in worker._running[False]):
                await asyncio.sleep(0.01)
        assert len(worker._running[True]) == 2
        for task in list(worker._tasks):
            task.cancel()

    asyncio.run(work())
    assert len(endpoint.of("/dead")) == 2
    assert {status for _, status, _ in world.statuses(alive)} == {"delivered"}


def test_endpoints_that_begin_to_hang_free_their_slots(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More endpoints than there are slots hang for the first time: one that lives gets its event
    before any of them is given up."""
    monkeypatch.setattr(service, "HEALTHY_LANES", 2)
    monkeypatch.setattr(service, "SLOW_SECONDS", 0.05)
    endpoint.answer_of = {"/dead": hang}
    actor = world.actor()
    for _ in range(5):
        world.hook(endpoint.url("/dead"), actor=actor)
    alive = world.hook(endpoint.url("/alive"), actor=actor)
    world.event(actor)
    worker = world.worker()

    async def work() -> None:
        while not endpoint.of("/alive"):
            await worker.look()
            assert len(worker._running[False]) <= 2
            await asyncio.sleep(0.02)
        assert {status for _, status, _ in world.statuses(alive)} <= {"delivered", "pending"}
        sql = "SELECT MAX(attempts) FROM webhook_deliveries WHERE webhook_id <> :id"
        assert world.rows(sql, id=alive.id) == [(0,)], "one that hangs was given up before"
        for task in list(worker._tasks):
            task.cancel()

    asyncio.run(work())
    assert world.state(alive)["status"] == "active"


def test_an_endpoint_has_at_most_four_at_once(world: World, endpoint: Endpoint) -> None:
    """The first delivery goes alone; then four go beside each other, on connections that are used
    again."""

    def answer(connection: socket.socket, post: Post) -> None:
        if len(endpoint.posts) > 1:
            endpoint.wait(lambda found: found.open_now >= 4 or len(found.posts) > 10)
        connection.sendall(OK)

    hook, endpoint.answer = world.hook(endpoint.url()), answer
    for _ in range(12):
        world.event(hook.actor)
    world.send()
    assert endpoint.most_at_once == 4
    assert len(endpoint.posts) == 12
    assert len({post.port for post in endpoint.posts}) <= 5


def test_a_leased_lane_is_left_alone(world: World, endpoint: Endpoint) -> None:
    """Another worker sends nothing of it until the lease has run out; then it sends with the same
    webhook-id, since the first worker may have died."""
    hook = world.hook(endpoint.url())
    one, two = world.worker(), world.worker()
    endpoint.answer = hang
    event = world.event(hook.actor)

    async def work() -> None:
        await one.look()
        await asyncio.to_thread(endpoint.wait, lambda found: found.posts)
        await asyncio.to_thread(world.event, hook.actor)
        await two.look()
        await two.finish()
        for task in list(one._tasks):  # the worker dies
            task.cancel()
        await asyncio.wait(one._tasks)

    asyncio.run(work())
    assert [post.id for post in endpoint.posts] == [f"evt_{event}"]
    endpoint.answer = OK
    world.send(two)
    assert len(endpoint.posts) == 1
    world.run("UPDATE webhook_lanes SET leased_until = 2, due_at = 2")
    world.send(two)
    assert [post.id for post in endpoint.posts][:2] == [f"evt_{event}"] * 2
    assert len(endpoint.posts) == 3


def test_a_worker_that_starts_takes_over_what_its_node_was_sending(world: World, endpoint: Endpoint) -> None:
    """It need not wait until the lease of the dead worker has run out; other nodes wait."""
    hook, endpoint.answer = world.hook(endpoint.url()), OK
    event = world.event(hook.actor)
    worker = world.worker()
    asyncio.run(worker._fan_out())
    assert world.do(lambda tx: lanes.take(tx, hook.id, 7))
    world.do(lambda tx: lanes.recover(tx, 0))
    world.send(worker)
    assert endpoint.posts == []
    world.do(lambda tx: lanes.recover(tx, 7))
    world.send(worker)
    assert [post.id for post in endpoint.posts] == [f"evt_{event}"]


def test_the_lease_lasts_longer_than_its_use() -> None:
    assert service.LANE_SECONDS + sender.SECONDS < lanes.LEASE_MS / 1000


def test_a_rotated_secret_signs_beside_the_new_one(world: World, endpoint: Endpoint) -> None:
    hook, new = world.hook(endpoint.url()), secrets.make()
    sql = "UPDATE webhooks SET former_secret = secret, former_until = :until, secret = :new WHERE id = :id"
    world.run(sql, until=2**50, new=secrets.seal(KEY, new), id=hook.id)
    world.event(hook.actor)
    world.send()
    world.run("UPDATE webhooks SET former_until = 1")
    world.event(hook.actor)
    world.send()
    both, one = endpoint.posts
    for secret in (hook.secret, new):
        Verifier(secret).verify(both.body, both.headers)
    assert [len(post.headers["webhook-signature"].split(" ")) for post in (both, one)] == [2, 1]
    Verifier(new).verify(one.body, one.headers)


def test_what_cannot_be_opened_here_is_not_the_endpoints_fault(world: World, endpoint: Endpoint) -> None:
    hook = world.hook(endpoint.url())
    world.event(hook.actor)
    world.send(service.Webhooks(world.database, world.sender(), "9" * 64))
    assert (endpoint.posts, world.state(hook)["failures"]) == ([], 0)
    world.make_due(hook)
    world.send()
    assert len(endpoint.posts) == 1


def test_an_event_that_is_gone_ends_its_delivery(world: World, endpoint: Endpoint) -> None:
    hook = world.hook(endpoint.url())
    ids = [world.event(hook.actor) for _ in range(2)]
    used: Any = world.worker()
    asyncio.run(used._fan_out())
    world.run("DELETE FROM events WHERE id = :id", id=ids[0])
    world.send(used)
    assert world.statuses(hook) == [(ids[0], "failed", 0), (ids[1], "delivered", 1)]


@pytest.mark.parametrize("change", ["delete", "disable", "url"])
def test_a_webhook_that_changes_while_it_is_sent_to(world: World, endpoint: Endpoint, change: str) -> None:
    """No more is sent to the former URL, and the attempts of the lease say nothing about the new
    one. A deleted webhook leaves nothing behind."""
    hook = world.hook(endpoint.url("/old"))

    def work(tx: Any) -> None:
        if change == "delete":
            webhooks.delete(tx, hook.actor, hook.id, None)
        elif change == "disable":
            webhooks.disable(tx, hook.actor, hook.id, "key_revoked")
        else:
            webhooks.update(tx, hook.actor, hook.id, None, UpdateWebhook(url=endpoint.url("/new")))

    def answer(connection: socket.socket, _post: Post) -> None:
        if len(endpoint.posts) == 1:
            world.do(work)
        connection.sendall(OK)

    endpoint.answer = answer
    ids = [world.event(hook.actor) for _ in range(9)]
    for _ in range(3):
        world.send()
    assert len(endpoint.of("/old")) == 1
    if change == "delete":
        assert (world.statuses(hook), world.rows("SELECT webhook_id FROM webhook_lanes")) == ([], [])
    elif change == "disable":
        assert {status for _, status, _ in world.statuses(hook)} == {"delivered", "failed"}
        assert world.rows("SELECT due_at FROM webhook_lanes") == [(None,)]
    else:
        assert {status for _, status, _ in world.statuses(hook)} == {"delivered"}
        assert {post.id for post in endpoint.posts} == {f"evt_{id_}" for id_ in ids}
        assert endpoint.of("/new")


def test_a_deleted_webhook_takes_its_deliveries_along(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "STEP", 2)
    hook, endpoint.answer = world.hook(endpoint.url()), answers(500)
    for _ in range(5):
        world.event(hook.actor)
    world.send()

    def delete(tx: Any) -> None:
        tx.run("DELETE FROM webhooks WHERE id = :id", id=hook.id)
        lanes.wake(tx, hook.id)

    world.do(delete)
    world.send()
    assert world.statuses(hook) == []
    assert world.rows("SELECT webhook_id FROM webhook_lanes") == []
