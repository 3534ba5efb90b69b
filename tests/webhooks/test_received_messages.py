"""Received messages: who gets one, that none is sent twice, and what becomes of them, on both
engines."""

import asyncio
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.domains.commands import Domain
from postroom.errors import MailUnavailable
from postroom.service import webhooks as service
from postroom.service.message_bodies import NotAsked
from postroom.service.webhooks import AWAY_AFTER, Webhooks
from postroom.webhooks import courses, received_messages, routes
from postroom.webhooks.attempts import PROBES, UNREAD, UNREAD_MOST_MS, UNREAD_MS, Message
from postroom.webhooks.received_messages import DAY_MS, OLDEST_MS, Arrival
from postroom.webhooks.routes import SetRoute
from tests.harness.server import KEY
from tests.webhooks.endpoint import Endpoint, answers
from tests.webhooks.world import Hook, World

URL = "http://127.0.0.1:1/"
MAIL = "message.received"


@pytest.fixture(autouse=True)
def _nothing_received(world: World) -> None:
    for table in ("received_messages", "message_cursors"):
        world.run(f"DELETE FROM {table}")


def now(world: World) -> int:
    found: int = world.do(lambda tx: tx.now)
    return found


def receive(world: World, account: int, *arrivals: Arrival, uidvalidity: int = 7, last_uid: int = 9) -> int:
    new: int = world.do(lambda tx: received_messages.receive(tx, account, uidvalidity, arrivals, last_uid))
    return new


def deliveries(world: World, hook: Hook) -> list[Any]:
    sql = """
    SELECT trace, status, last_error FROM webhook_deliveries JOIN received_messages ON received_messages.id = source_id
    WHERE webhook_id = :id AND source_kind = 'message' ORDER BY trace"""
    return world.rows(sql, id=hook.id)


def worker(world: World, read: Any, node_id: int = 0) -> Webhooks:
    return Webhooks(world.database, world.sender(), KEY, node_id, read)


async def body(message: Message) -> bytes | None:
    return f"{message.uidvalidity}.{message.uid}".encode()


async def gone(_message: Message) -> bytes | None:
    return None


async def away(_message: Message) -> bytes | None:
    raise MailUnavailable("Dovecot is away.", 1)


def test_a_delivery_counts_once(world: World) -> None:
    """Whatever folder a copy is in, and if the folder has another UIDVALIDITY. What was delivered
    before the webhook or long ago is not sent."""
    domain, account = world.account("u")
    hook, at = world.hook(URL, MAIL, actor=Actor(domain.organization_id)), now(world)
    assert receive(world, account, Arrival(1, "a", at), Arrival(2, "b", at)) == 2
    assert receive(world, account, Arrival(1, "a", at), Arrival(2, "b", at)) == 0
    assert receive(world, account, Arrival(5, "a", at), uidvalidity=8) == 0
    assert receive(world, account, Arrival(3, "before", at - 60_000)) == 0
    world.run("UPDATE webhooks SET messages_since = 1 WHERE id = :id", id=hook.id)
    assert receive(world, account, Arrival(4, "old", at - OLDEST_MS - 1)) == 0
    assert [trace for trace, *_ in deliveries(world, hook)] == ["a", "b"]


def test_the_cursor_never_goes_back(world: World) -> None:
    domain, account = world.account("u")
    world.hook(URL, MAIL, actor=Actor(domain.organization_id))

    def watch() -> Any:
        return world.do(lambda tx: received_messages.watch(tx, account, None))

    assert watch().cursors == {}
    for last_uid in (9, 12, 3):
        receive(world, account, last_uid=last_uid)
    assert watch().cursors == {7: 12}
    world.run("UPDATE webhooks SET status = 'disabled', disabled_reason = 'gone'")
    assert watch() is None


@pytest.mark.parametrize("bounds", [(), ("user_id",), ("domain_id",), ("account_id",), ("user_id", "domain_id")])
def test_which_accounts_are_looked_at(world: World, bounds: tuple[str, ...]) -> None:
    """Those of the webhook's bounds, in steps."""
    domain, account = world.account("u")
    hook = world.hook(URL, MAIL, actor=Actor(domain.organization_id))
    world.hook(URL, "account.*", actor=Actor(world.account("u")[0].organization_id))
    inside = {"user_id": "u", "domain_id": domain.id, "account_id": account}
    elsewhere, other = world.account("v")
    outside = {"user_id": "v", "domain_id": elsewhere.id, "account_id": other}
    for name in bounds:
        world.run(f"UPDATE webhooks SET {name} = :value WHERE id = :id", value=inside[name], id=hook.id)
    (scope,) = world.do(received_messages.scopes)
    for after, wanted in ((0, [account]), (account, [])):
        assert world.do(lambda tx, after=after: received_messages.accounts(tx, scope, after, None)) == wanted
    assert [target.webhook_id for target in world.do(lambda tx: received_messages.targets(tx, account))] == [hook.id]
    for name in bounds:
        world.run(f"UPDATE webhooks SET {name} = :value WHERE id = :id", value=outside[name], id=hook.id)
    assert bool(world.do(lambda tx: received_messages.targets(tx, account))) == (bounds == ())
    assert world.do(lambda tx: received_messages.targets(tx, other)) == []


def test_a_mailbox_that_does_not_answer(world: World, endpoint: Endpoint) -> None:
    """Its messages wait, which is no failure of the endpoint, and other deliveries go on."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, "account.*", actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)))
    event = world.event(hook.actor)
    world.send(worker(world, away))
    assert [post.id for post in endpoint.posts] == [f"evt_{event}"]
    assert deliveries(world, hook) == [("a", "pending", UNREAD)]
    assert world.state(hook)["failures"] == 0
    world.send(worker(world, body))
    assert len(endpoint.posts) == 1  # not yet
    world.make_due(hook)
    world.send(worker(world, body))
    assert endpoint.posts[-1].body == b"7.1"
    assert deliveries(world, hook) == [("a", "delivered", None)]


def test_a_probe_passes_over_what_cannot_be_read(world: World, endpoint: Endpoint) -> None:
    """Neither the endpoint nor its other deliveries wait for a mailbox, and only attempts count as
    failures."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, "account.*", actor=Actor(domain.organization_id))
    arrivals = [Arrival(uid, f"m{uid:02}", now(world)) for uid in range(1, PROBES + 3)]
    receive(world, account, *arrivals, last_uid=99)
    event = world.event(hook.actor)
    sql = "UPDATE webhooks SET failures = 200, failing_since = created_at - :since WHERE id = :id"
    world.run(sql, since=courses.GIVE_UP_MS, id=hook.id)
    for count in (PROBES, PROBES + 2):
        assert endpoint.posts == []
        world.make_due(hook)
        world.send(worker(world, away))
        unread = [name for name, _, error in deliveries(world, hook) if error == UNREAD]
        assert len(unread) == count
        assert world.state(hook)["status"] == "active"
    assert [post.id for post in endpoint.posts] == [f"evt_{event}"]
    assert world.state(hook)["failures"] == 0


def test_a_probe_is_one_delivery(world: World, endpoint: Endpoint) -> None:
    """The first that can be read, and nothing beside it; of those that could not be read last, the
    one that has waited longest for its time."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, *(Arrival(uid, f"m{uid}", now(world)) for uid in range(1, 6)))
    world.run("UPDATE webhooks SET failures = 9, failing_since = created_at WHERE id = :id", id=hook.id)
    endpoint.answer = answers(500)
    world.make_due(hook)
    world.run("UPDATE webhook_deliveries SET last_error = :error, next_at = -id", error=UNREAD)
    world.send(worker(world, body))
    assert [post.body for post in endpoint.posts] == [b"7.5"]


def test_a_message_that_cannot_be_read_holds_back_no_other(world: World, endpoint: Endpoint) -> None:
    """Those of its account that were not read with it are read by themselves later."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, *(Arrival(uid, f"m{uid}", now(world)) for uid in range(1, 5)))

    async def read(message: Message) -> bytes | None:
        return await (away if message.uid == 1 else body)(message)

    def wait() -> int:
        """Lets the time pass until the next attempt. Returns the number of those that are left."""
        sql = "SELECT MIN(next_at) FROM webhook_deliveries WHERE status = 'pending'"
        ((first,),) = world.rows(sql)
        world.run("UPDATE webhook_deliveries SET next_at = next_at - :ms", ms=first - now(world))
        world.run("UPDATE webhook_lanes SET due_at = 1, leased_until = 0")
        return len([status for _, status, _ in deliveries(world, hook) if status == "pending"])

    rounds = 0
    while wait() > 1:
        world.send(worker(world, read))
        rounds += 1
        assert rounds < 30
    assert sorted(post.body for post in endpoint.posts) == [b"7.2", b"7.3", b"7.4"]


def test_a_probe_takes_no_time_away(world: World, endpoint: Endpoint) -> None:
    """A message that is not due and that a probe cannot read keeps its time."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)))
    world.run("UPDATE webhooks SET failures = 9, failing_since = created_at WHERE id = :id", id=hook.id)
    later = now(world) + DAY_MS
    world.run("UPDATE webhook_deliveries SET next_at = :later", later=later)
    world.run("UPDATE webhook_lanes SET due_at = 1, leased_until = 0")
    world.send(worker(world, away))
    assert world.rows("SELECT next_at, last_error FROM webhook_deliveries") == [(later, UNREAD)]


def test_a_mailbox_is_asked_once_in_a_lease(world: World) -> None:
    """And a node with several such mailboxes no more, so that those that answer are not delayed."""
    domain, first = world.account("u")
    hook, asked = world.hook(URL, MAIL, actor=Actor(domain.organization_id)), []

    async def read(message: Message) -> bytes | None:
        asked.append(message.account_id)
        return await away(message)

    def create(number: int) -> int:
        command = CreateAccount(domain.name, f"b{number}", "u", None, "{SSHA512}x")
        return int(world.do(lambda tx: accounts.create(tx, hook.actor, command)).id)

    others = [create(number) for number in range(AWAY_AFTER + 2)]
    for uid in range(1, 4):
        for account in (first, *others):
            receive(world, account, Arrival(uid, f"{account}.{uid}", now(world)), last_uid=uid)
    world.send(worker(world, read))
    assert len(asked) == len(set(asked)) < len(others) + 1
    assert {error for *_, error in deliveries(world, hook)} == {UNREAD}


def test_a_message_that_waits_for_others_is_passed_over(world: World, endpoint: Endpoint) -> None:
    """With the others of its node in this lease."""
    domain, account = world.account("u")
    hook, asked = world.hook(endpoint.url(), MAIL, "account.*", actor=Actor(domain.organization_id)), []

    async def read(message: Message) -> bytes | None:
        asked.append(message.uid)
        raise NotAsked("Others are in front.", 1)

    receive(world, account, *(Arrival(uid, f"m{uid}", now(world)) for uid in range(1, 9)))
    event = world.event(hook.actor)
    world.send(worker(world, read))
    assert [post.id for post in endpoint.posts] == [f"evt_{event}"]
    assert asked == [1]


def test_a_mailbox_that_answers_too_late_is_put_off(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each lease would ask it first, and nothing else would be sent."""
    monkeypatch.setattr(service, "LANE_SECONDS", 0.05)
    monkeypatch.setattr(service, "READ_MARGIN_SECONDS", 0.0)
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)))

    async def slow(message: Message) -> bytes | None:
        await asyncio.sleep(0.1)
        return await away(message)

    world.send(worker(world, slow))
    assert deliveries(world, hook) == [("a", "pending", UNREAD)]
    ((wait,),) = world.rows("SELECT next_at - created_at FROM webhook_deliveries")
    assert wait >= UNREAD_MS


def test_the_wait_for_a_mailbox_grows(world: World, endpoint: Endpoint) -> None:
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)))
    waits = []
    for age_ms in (0, 3_600_000, 10 * DAY_MS):
        world.run("UPDATE webhook_deliveries SET created_at = :at", at=now(world) - age_ms)
        world.make_due(hook)
        before = now(world)
        world.send(worker(world, away))
        waits.append(world.rows("SELECT next_at FROM webhook_deliveries")[0][0] - before)
    for wait, wanted in zip(waits, (UNREAD_MS, UNREAD_MOST_MS, UNREAD_MOST_MS), strict=True):
        assert wanted <= wait <= 2 * wanted + 20_000


def test_a_message_that_is_gone(world: World, endpoint: Endpoint) -> None:
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(worker(world, gone))
    assert endpoint.posts == []
    assert deliveries(world, hook) == [("a", "failed", "The message is no longer in the mailbox.")]


def route(world: World, domain: Domain, url: str) -> Hook:
    actor = Actor(domain.organization_id)
    command = SetRoute("webhook_then_store", url)
    world.do(lambda tx: routes.change(tx, actor, domain, command, KEY))
    ((id_,),) = world.rows("SELECT id FROM webhooks WHERE domain_id = :id", id=domain.id)
    return Hook(id_, "", actor, url)


def test_a_route(world: World, endpoint: Endpoint) -> None:
    """It gets the mail of its domain, beside the webhooks that want it."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url("/hook"), MAIL, actor=Actor(domain.organization_id))
    by_route = route(world, domain, endpoint.url("/route"))
    assert receive(world, account, Arrival(1, "a", now(world))) == 1
    world.send(worker(world, body))
    assert sorted(post.path for post in endpoint.posts) == ["/hook", "/route"]
    assert len({post.id for post in endpoint.posts}) == 1
    world.do(lambda tx: routes.change(tx, by_route.actor, domain, SetRoute("store"), KEY))
    receive(world, account, Arrival(2, "b", now(world)))
    world.send(worker(world, body))
    assert [post.path for post in endpoint.posts[2:]] == ["/hook"]
    assert deliveries(world, hook)[-1][:2] == ("b", "delivered")


@pytest.mark.parametrize("change", ["status = 'pending'", "status = 'pending', deleted_at = 1"])
def test_the_route_of_a_lost_domain_sends_nothing(world: World, endpoint: Endpoint, change: str) -> None:
    """Neither what waits nor what still arrives; a webhook of the organization gets its mail."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url("/hook"), MAIL, actor=Actor(domain.organization_id))
    by_route = route(world, domain, endpoint.url("/route"))
    receive(world, account, Arrival(1, "a", now(world)))
    world.run(f"UPDATE domains SET {change} WHERE id = :id", id=domain.id)
    receive(world, account, Arrival(2, "b", now(world)))
    world.send(worker(world, body))
    assert {post.path for post in endpoint.posts} == {"/hook"}
    assert deliveries(world, by_route) == [("a", "failed", "The webhook was disabled.")]
    assert [status for _, status, _ in deliveries(world, hook)] == ["delivered", "delivered"]


def test_old_rows_are_removed(world: World) -> None:
    domain, account = world.account("u")
    world.hook(URL, MAIL, actor=Actor(domain.organization_id))
    receive(world, account, Arrival(1, "a", now(world)), Arrival(2, "b", now(world)))
    world.run("UPDATE received_messages SET created_at = :at WHERE trace = 'a'", at=now(world) - 91 * DAY_MS)
    assert world.do(received_messages.forget) == 1
    assert world.rows("SELECT trace FROM received_messages") == [("b",)]
    assert world.do(lambda tx: received_messages.erase(tx, account)) == 1
    assert world.rows("SELECT 1 FROM received_messages") == world.rows("SELECT 1 FROM message_cursors") == []
