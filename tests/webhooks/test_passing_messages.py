"""Messages of a route that keeps none: which ones leave, who reaches them, and what a failure in
the middle does, on both engines."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from postroom.accounts import hidden_accounts, message_reads
from postroom.actor import Actor
from postroom.db import Tx
from postroom.db.database import engine_for
from postroom.domains.commands import Domain
from postroom.errors import MailUnavailable, Refused, TooMany
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.messages.message_ids import MessageId
from postroom.service import worker
from postroom.service.passing_messages import PassingMessages
from postroom.webhooks import deliveries, passing_messages, received_messages, routes
from postroom.webhooks.passing_messages import KEPT_MS, LINKED_MS
from postroom.webhooks.received_messages import Arrival
from postroom.webhooks.routes import SetRoute
from tests.harness.server import KEY
from tests.webhooks.endpoint import Endpoint, answers
from tests.webhooks.test_received_messages import body, now, receive
from tests.webhooks.test_received_messages import worker as sender
from tests.webhooks.world import Hook, World

MAIL = "message.received"
DOCUMENT = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture(autouse=True)
def _nothing_received(world: World) -> None:
    for table in ("passing_messages", "received_messages", "message_cursors"):
        world.run(f"DELETE FROM {table}")


class Mail:
    """The mail of accounts, each message by its account and UID; `moved` are UIDs to which owners
    have moved messages, `old` those of long ago, and `fails` the methods that do not answer."""

    def __init__(self, *messages: tuple[int, int], moved: Sequence[int] = ()) -> None:
        self.messages = set(messages)
        self.moved = moved
        self.old: dict[int, list[int]] = {}
        self.fails: set[str] = set()
        self.failure: Exception = MailUnavailable("It does not answer.", 1)

    def _ask(self, method: str) -> None:
        if method in self.fails:
            raise self.failure

    async def folders(self, account_id: int) -> list[Folder]:
        del account_id
        return [Folder("INBOX", "g", 7, 99)]

    async def find(self, account_id: int, trace: str, since: int) -> list[tuple[str, int]]:
        del account_id, trace, since
        return [("INBOX", uid) for uid in self.moved]

    async def uids_before(self, account_id: int, folder: Folder, before: int) -> list[int]:
        """The old ones; those of more than 8 days ago have a UID below 10."""
        days = (time.time() - before) / 86_400
        assert folder.name == "INBOX"
        assert round(days, 2) in (1, 8)
        return [uid for uid in self.old.get(account_id, []) if days < 2 or uid < 10]

    async def hold(self, account_id: int, mailbox: str, id_: MessageId, hidden_id: int) -> MessageId:
        self._ask("hold")
        if (account_id, id_.uid) not in self.messages:
            raise Refused("not_found", f"There is no such message in {mailbox}.")
        uid = 50 + len(self.messages)
        self.messages.add((hidden_id, uid))
        return MessageId(7, uid)

    async def delete(self, account_id: int, mailbox: str, ids: Sequence[MessageId], *, purges: bool) -> None:
        self._ask("delete")
        assert purges
        assert mailbox == "INBOX"
        self.messages -= {(account_id, id_.uid) for id_ in ids}


def look(world: World, mail: Mail) -> bool:
    """One look of a worker, after every pause."""
    world.run("DELETE FROM leases")
    return asyncio.run(PassingMessages(world.database, mail, mail).look())  # type: ignore[arg-type]


def route(world: World, domain: Domain, url: str, mode: Any = "webhook") -> Hook:
    actor = Actor(domain.organization_id)
    command = SetRoute(mode) if mode == "store" else SetRoute(mode, url)
    world.do(lambda tx: routes.change(tx, actor, domain, command, KEY))
    found = world.rows("SELECT id FROM webhooks WHERE domain_id = :id AND forward_mode IS NOT NULL", id=domain.id)
    return Hook(found[0][0] if found else 0, "", actor, url)


def hidden(world: World, domain: Domain) -> list[int]:
    sql = "SELECT account_id FROM hidden_accounts WHERE domain_id = :id AND ended_at IS NULL"
    return [row[0] for row in world.rows(sql, id=domain.id)]


def rows(world: World) -> list[Any]:
    return world.rows("SELECT account_id, state FROM passing_messages ORDER BY message_id")


def pass_time(world: World, milliseconds: int) -> None:
    world.run("UPDATE passing_messages SET due_at = due_at - :ms", ms=milliseconds)


def test_which_messages_pass(world: World, endpoint: Endpoint) -> None:
    """Those of a route with this mode, when its own webhook has them, and no others."""
    domain, account = world.account("u")
    hook = world.hook(endpoint.url("/hook"), MAIL, actor=Actor(domain.organization_id))
    by_route = route(world, domain, endpoint.url("/route"), "webhook_then_store")
    receive(world, account, Arrival(1, "a", now(world)))
    assert (rows(world), hidden(world, domain)) == ([], [])
    route(world, domain, endpoint.url("/route"))
    route(world, domain, endpoint.url("/route"))
    endpoint.answer_of["/route"] = answers(500)
    receive(world, account, Arrival(2, "b", now(world)))
    world.send(sender(world, body))
    assert len(hidden(world, domain)) == 1
    assert rows(world) == [(account, "waiting")]
    assert world.do(passing_messages.due) == []
    del endpoint.answer_of["/route"]
    world.make_due(by_route)
    world.send(sender(world, body))
    assert rows(world) == [(account, "delivered")]
    assert len(world.do(passing_messages.due)) == 1
    assert {post.path for post in endpoint.posts} == {"/hook", "/route"}
    assert hook.id != by_route.id


def test_it_works(world: World, endpoint: Endpoint) -> None:
    """The message is copied, removed, held for a day and erased; its id leads to the copy
    meanwhile."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    receive(world, account, Arrival(1, "a", now(world)))
    mail, (holder,) = Mail((account, 1)), hidden(world, domain)
    assert not look(world, mail)
    world.send(sender(world, body))
    assert look(world, mail)
    assert mail.messages == {(holder, 51)}
    assert rows(world) == [(account, "held")]

    def found(organization: int, uid: int = 1) -> Any:
        return world.do(lambda tx: passing_messages.held(tx, organization, account, 7, uid))

    assert found(domain.organization_id).account_id == holder
    assert found(domain.organization_id + 1) is found(domain.organization_id, 2) is None
    pass_time(world, LINKED_MS - 60_000)
    assert not look(world, mail)
    pass_time(world, 60_000)
    assert look(world, mail)
    assert (mail.messages, rows(world)) == (set(), [])


def of_a_restore(world: World) -> list[str]:
    """What `postroom restore` runs on SQLite, and what the document says to run after
    pg_restore."""
    if world.engine == "sqlite":
        before = deliveries.END_ALL, deliveries.SKIP_ALL
        return [*before, received_messages.SKIP_ALL, passing_messages.KEEP_ALL]
    (block,) = re.findall(r"```sql\n(.+?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [one for one in block.split(";") if one.strip()]


def test_after_a_restore(world: World, endpoint: Endpoint) -> None:
    """Nothing from before is sent by itself, and what nobody has got stays for its days."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    endpoint.answer = answers(500)
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    world.run("UPDATE webhooks SET messages_since = 0")
    pass_time(world, KEPT_MS)
    assert len(world.do(passing_messages.due)) == 1
    for statement in of_a_restore(world):
        world.run(statement)
    assert (world.do(passing_messages.due), rows(world)) == ([], [(account, "waiting")])
    assert world.rows("SELECT status FROM webhook_deliveries") == [("failed",)]
    ((since, last),) = world.rows("SELECT messages_since, after_event_id FROM webhooks")
    assert now(world) - 60_000 < since < now(world) + 1_000  # whole seconds
    assert [(last,)] == world.rows("SELECT MAX(id) FROM events")
    pass_time(world, KEPT_MS + 1_000)
    assert len(world.do(passing_messages.due)) == 1


@pytest.mark.parametrize("failure", [MailUnavailable("It does not answer.", 1), TooMany("Too much.", 1)])
@pytest.mark.parametrize("step", ["hold", "delete"])
def test_a_step_that_fails_is_repeated(world: World, endpoint: Endpoint, step: str, failure: Exception) -> None:
    """The message is somewhere at each moment, and is held once."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    mail, (holder,) = Mail((account, 1)), hidden(world, domain)
    mail.fails, mail.failure = {step}, failure
    assert not look(world, mail)
    assert (account, 1) in mail.messages
    assert rows(world) == [(account, "delivered")]
    mail.fails = set()
    assert look(world, mail)
    assert len(mail.messages) == 1
    assert {account_id for account_id, _ in mail.messages} == {holder}


@pytest.mark.parametrize(
    "change",
    ["UPDATE webhooks SET forward_mode = 'webhook_then_store'", "UPDATE domains SET status = 'pending'"],
)
def test_a_message_stays_if_the_route_changes(world: World, tmp_path: Path, change: str) -> None:
    """Also if the domain is lost. That of a hidden account goes in any case."""
    domain, account = world.account("u")
    route(world, domain, "http://127.0.0.1:1/")
    (holder,) = hidden(world, domain)
    receive(world, account, Arrival(1, "a", now(world)))
    receive(world, holder, Arrival(2, "b", now(world)))
    mail = Mail((account, 1), (holder, 2))
    pass_time(world, KEPT_MS - 60_000)
    assert not look(world, mail)
    world.run(f"{change} WHERE {'domain_id' if 'webhooks' in change else 'id'} = :id", id=domain.id)
    pass_time(world, 60_000)
    assert look(world, mail)
    assert (mail.messages, rows(world)) == ({(account, 1)}, [])


def test_only_the_route_gets_the_mail_of_a_hidden_account(world: World) -> None:
    domain, account = world.account("u")
    actor = Actor(domain.organization_id)
    hook, by_route = world.hook("http://127.0.0.1:1/", MAIL, actor=actor), route(world, domain, "http://127.0.0.1:1/")
    (holder,) = hidden(world, domain)

    def targets(id_: int) -> list[int]:
        return [target.webhook_id for target in world.do(lambda tx: received_messages.targets(tx, id_))]

    assert (targets(account), targets(holder)) == ([hook.id, by_route.id], [by_route.id])
    scopes = world.do(received_messages.scopes)
    of_domain = next(scope for scope in scopes if scope.domain_id == domain.id)
    assert world.do(lambda tx: received_messages.accounts(tx, of_domain, 0, None)) == [account, holder]
    of_all = next(scope for scope in scopes if scope.organization_id == domain.organization_id and not scope.domain_id)
    assert world.do(lambda tx: received_messages.accounts(tx, of_all, 0, None)) == [account]


def test_who_may_follow_a_link(world: World) -> None:
    """A key of the organization that is bound to nothing else; and nothing but a link leads
    there."""
    domain, _ = world.account("u")
    other, _ = world.account("u")
    actor = route(world, domain, "http://127.0.0.1:1/").actor
    (holder,) = hidden(world, domain)

    def get(actor: Actor, user_id: str | None = None, is_link: bool = True) -> int:
        found = world.do(lambda tx: message_reads.look(tx, actor, holder, user_id, is_link=is_link))
        return int(found[0].id)

    assert get(actor) == holder
    for refused in ((Actor(other.organization_id),), (actor, "v"), (actor, None, False)):
        with pytest.raises(Refused) as error:
            get(*refused)
        assert error.value.code == "not_found"


def test_a_hidden_account_ends(world: World) -> None:
    """With the mode and its last message, or at once with its domain."""
    domain, account = world.account("u")
    route(world, domain, "http://127.0.0.1:1/")
    (holder,) = hidden(world, domain)

    def ends() -> bool:
        world.do(hidden_accounts.end_unused)
        due = world.rows("SELECT 1 FROM accounts WHERE id = :id AND purge_at IS NOT NULL", id=holder)
        assert bool(due) == (hidden(world, domain) == [])
        return bool(due)

    receive(world, account, Arrival(1, "a", now(world)))
    assert not ends()
    route(world, domain, "", "store")
    assert not ends()
    world.run("DELETE FROM passing_messages")
    route(world, domain, "http://127.0.0.1:1/")
    assert not ends()
    route(world, domain, "", "store")
    assert ends()
    route(world, domain, "http://127.0.0.1:1/")
    (second,) = hidden(world, domain)
    assert second != holder
    receive(world, second, Arrival(2, "b", now(world)))
    world.run("UPDATE domains SET deleted_at = 1, status = 'pending' WHERE id = :id", id=domain.id)
    world.do(hidden_accounts.end_unused)
    assert hidden(world, domain) == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_one_in_use_is_not_locked(world: World, database_url: str) -> None:
    """The look at all hidden accounts does not wait for a route that is being changed."""
    domain, _ = world.account("u")
    route(world, domain, "http://127.0.0.1:1/")

    def look_at_all(tx: Tx) -> None:
        tx.run("SET LOCAL lock_timeout = '1s'")
        assert hidden_accounts.end_unused(tx) is None

    with closing(engine_for(database_url).writer(has_deadlines=False)) as connection, connection.transaction():
        assert Tx(connection).all(f"{hidden_accounts.LOCK_LIVING} RETURNING 1", domain_id=domain.id)
        world.do(look_at_all)
    assert len(hidden(world, domain)) == 1


def test_a_purge(world: World, endpoint: Endpoint, tmp_path: Path) -> None:
    """What a hidden account holds of a purged account is erased at once, and a hidden account takes
    all that it holds with it, without an event."""
    domain, account = world.account("u")
    route(world, domain, endpoint.url())
    (holder,) = hidden(world, domain)
    receive(world, account, Arrival(1, "a", now(world)))
    world.send(sender(world, body))
    mail = Mail((account, 1))
    look(world, mail)
    endpoint.answer = answers(500)
    receive(world, account, Arrival(2, "b", now(world)))
    world.do(lambda tx: received_messages.erase(tx, account))
    assert rows(world) == [(account, "held")]
    assert look(world, mail)
    assert (mail.messages, rows(world)) == (set(), [])
    receive(world, holder, Arrival(3, "c", now(world)))
    world.run("UPDATE domains SET deleted_at = 1, status = 'pending' WHERE id = :id", id=domain.id)
    world.do(hidden_accounts.end_unused)
    asyncio.run(worker.purge_all_due(world.database, tmp_path))
    assert rows(world) == []
    assert world.rows("SELECT purge_at FROM accounts WHERE id = :id", id=holder) == [(None,)]
    assert world.rows("SELECT 1 FROM events WHERE account_id = :id", id=holder) == []
