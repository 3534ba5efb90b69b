"""What could keep a message of a route that keeps none where it is, or lose it, on both engines."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from postroom.accounts import hidden_accounts
from postroom.actor import Actor
from postroom.errors import MailUnavailable, Refused
from postroom.service.hidden_mail import HiddenMail
from postroom.webhooks import passing_messages, received_messages
from postroom.webhooks.attempts import Message
from postroom.webhooks.received_messages import Arrival
from tests.webhooks.endpoint import Endpoint, answers
from tests.webhooks.test_passing_messages import MAIL, Mail, hidden, look, route, rows
from tests.webhooks.test_received_messages import body, now, receive
from tests.webhooks.test_received_messages import worker as sender
from tests.webhooks.world import World

URL = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def _nothing_received(world: World) -> None:
    for table in ("passing_messages", "received_messages", "message_cursors"):
        world.run(f"DELETE FROM {table}")


def test_what_arrived_while_the_route_kept_mail_stays(world: World, endpoint: Endpoint) -> None:
    """Also if the route keeps none again later."""
    domain, account = world.account("u")
    hook = route(world, domain, endpoint.url())
    endpoint.answer = answers(500)
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    route(world, domain, endpoint.url(), "webhook_then_store")
    endpoint.answer = answers(200)
    world.make_due(hook)
    world.send(sender(world, body))
    assert [status for _, status, _ in world.statuses(hook)] == ["delivered"]
    route(world, domain, endpoint.url())
    assert rows(world) == []
    mail = Mail((account, 1))
    assert not look(world, mail)
    assert mail.messages == {(account, 1)}


def test_a_link_names_either_place(world: World, endpoint: Endpoint) -> None:
    """That of the delivery, and that to which the owner had moved the message when it was
    copied."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    assert look(world, Mail((account, 30), moved=[30]))

    def found(uid: int, organization: int = domain.organization_id) -> Any:
        return world.do(lambda tx: passing_messages.held(tx, organization, account, 7, uid))

    assert found(1) == found(30) is not None
    assert found(2) is found(1, domain.organization_id + 1) is None


def test_a_deleted_account(world: World, endpoint: Endpoint) -> None:
    """Dovecot does not know the account, so its messages leave when it is restored."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    receive(world, account, Arrival(1, "a", now(world)), Arrival(2, "b", now(world)))
    world.send(sender(world, body))
    world.run("UPDATE passing_messages SET state = 'waiting', due_at = 1 WHERE uid = 2")
    world.run("UPDATE accounts SET deleted_at = 1 WHERE id = :id", id=account)
    mail = Mail((account, 1), (account, 2))
    assert not look(world, mail)
    assert rows(world) == [(account, "delivered"), (account, "waiting")]
    assert world.rows("SELECT COUNT(*) FROM leases WHERE kind = 'passing'") == [(2,)]
    world.run("UPDATE accounts SET deleted_at = NULL WHERE id = :id", id=account)
    assert look(world, mail)
    assert rows(world) == [(account, "held")]
    assert {id_ for id_, _ in mail.messages} == set(hidden(world, domain))


def test_a_purge_in_the_middle(world: World, endpoint: Endpoint) -> None:
    """The copy is erased that was made before the message had left."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    mail, (holder,) = Mail((account, 1)), hidden(world, domain)
    mail.fails = {"delete"}
    assert not look(world, mail)
    assert (holder, 51) in mail.messages
    world.do(lambda tx: received_messages.erase(tx, account))
    mail.fails = set()
    assert look(world, mail)
    assert (mail.messages, rows(world)) == ({(account, 1)}, [])


def test_another_webhook_gets_a_message_that_passes_meanwhile(world: World, endpoint: Endpoint) -> None:
    """Its worker looked for the message before the hidden account had it."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url(), MAIL, actor=Actor(domain.organization_id))
    route(world, domain, URL)
    receive(world, account, Arrival(1, "a", now(world)))

    async def read(message: Message) -> bytes | None:
        if message.held is not None:
            return b"held"
        sql = "UPDATE passing_messages SET held_uidvalidity = 7, held_uid = 51"
        await world.database.write(lambda tx: tx.run(sql))
        return None

    for _ in range(2):
        world.send(sender(world, read))
    assert [post.body for post in endpoint.posts] == [b"held"]
    assert [status for _, status, _ in world.statuses(hook)] == ["delivered"]


def test_what_nothing_names_is_erased(world: World, endpoint: Endpoint) -> None:
    """A day after it was copied, or as long after it arrived as any message may stay."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    (holder,) = hidden(world, domain)
    receive(world, holder, Arrival(3, "arrived", now(world)), last_uid=40)
    receive(world, account, Arrival(1, "a", now(world)))
    mail = Mail((account, 1), *((holder, uid) for uid in (3, 5, 30, 45)))
    world.run("UPDATE passing_messages SET state = 'delivered', due_at = 1 WHERE account_id = :id", id=account)
    assert look(world, mail)
    ((copy,),) = world.rows("SELECT held_uid FROM passing_messages WHERE held_uid IS NOT NULL")
    mail.old = {holder: [3, 5, 30, 45, copy], account: [1]}
    work = HiddenMail(world.database, mail, mail)  # type: ignore[arg-type]
    asyncio.run(work.look())
    assert mail.messages == {(holder, uid) for uid in (3, 45, copy)}
    world.run("UPDATE message_cursors SET last_uid = 2")
    mail.messages |= {(holder, 4), (holder, 44)}
    mail.old[holder] += [4, 44]
    asyncio.run(work.look())
    assert mail.messages == {(holder, uid) for uid in (3, 44, 45, copy)}
    mail.fails = {"delete"}
    mail.old[holder] += [6]
    for failure in (MailUnavailable("It does not answer.", 1), Refused("not_found", "It is gone.")):
        mail.failure = failure
        asyncio.run(work.look())  # and no failure


@pytest.mark.parametrize("node", [None, 1])
def test_each_node_looks_at_its_own(world: World, monkeypatch: pytest.MonkeyPatch, node: int | None) -> None:
    monkeypatch.setattr(hidden_accounts, "STEP", 1)
    holders = []
    for _ in range(3):
        domain, _account = world.account("u")
        route(world, domain, URL)
        holders += hidden(world, domain)
    seen: list[int] = []
    page: Callable[..., list[int]] = hidden_accounts.page
    after = 0
    while found := world.do(lambda tx, after=after: page(tx, after, node)):
        seen += found
        after = found[-1]
    assert seen == sorted(set(seen))
    assert set(holders) <= set(seen) if node is None else seen == []


def test_a_hidden_account_stays_for_what_came_before(world: World) -> None:
    """Mail of the last seconds of the mode may not have been found yet."""
    domain, _ = world.account("u")
    route(world, domain, URL)
    (holder,) = hidden(world, domain)
    route(world, domain, URL, "webhook_then_store")
    world.do(hidden_accounts.end_unused)
    assert hidden(world, domain) == [holder]
    world.run("UPDATE webhooks SET updated_at = updated_at - :ms", ms=hidden_accounts.SETTLE_MS + 1)
    world.do(hidden_accounts.end_unused)
    assert hidden(world, domain) == []
