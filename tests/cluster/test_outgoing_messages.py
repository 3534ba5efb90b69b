"""A message that another node than the first takes."""

from postroom.accounts import commands as accounts
from postroom.accounts import outgoing_messages, sent_mail
from postroom.accounts.commands import CreateAccount
from postroom.accounts.outgoing_messages import Progress
from postroom.actor import Actor
from postroom.cluster import nodes
from postroom.db import Database, Tx
from postroom.idempotency import Attempt
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.cluster.test_placement import database

__all__ = ["database"]  # a fixture


def test_the_node_that_takes_a_message_knows_what_became_of_it(database: Database) -> None:
    """The API dies on node a after the announcement; the retry comes to node b, whose Postfix takes
    the message; a third attempt finds it, wherever it comes to."""

    def work(tx: Tx) -> list[Progress]:
        actor = Actor(organizations.ensure(tx, "o"))
        bootstrap.create_domain(tx, "o", "o.example", "u", "active", None)
        account_id = accounts.create(tx, actor, CreateAccount("o.example", "a", "u", None, "{SSHA512}x")).id
        tried = Attempt(actor.organization_id, 1, "name", "request", b"")
        for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
            nodes.add(tx, name, address, 1700)
        found = [outgoing_messages.announce(tx, account_id, "<1@x>", tried, name) for name in ("a", "b")]
        assert [one.message_id for one in found] == ["<1@x>", "<1@x>"]
        outgoing_messages.take(tx, account_id, "<1@x>", "Q1", "b")
        before = outgoing_messages.find(tx, account_id, "<1@x>")
        values = {"queue_id": "Q1", "message_id": "<1@x>", "sent_at": tx.now, "told_at": tx.now, "latest": 2**62}
        tx.run(sent_mail.PUT_MESSAGE, account_id=account_id, node_id=nodes.get(tx, "b").id, **values)
        return [before, outgoing_messages.find(tx, account_id, "<1@x>")]

    assert database.write_sync(work) == [Progress("Q1", False), Progress("Q1", True)]
