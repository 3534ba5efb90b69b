"""Several nodes: every event and every message reaches a webhook once, whichever node sends it. The
node with the mailbox reads the message."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.moves import move
from tests.cluster.test_senders import elsewhere
from tests.harness.service import wait_for
from tests.mail.platform import Mailbox
from tests.webhooks.endpoint import Endpoint, Post, answers

HOOK = "/v2/webhooks/create"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint.start() as found:
        yield found


def mails(endpoint: Endpoint) -> list[Post]:
    return [post for post in list(endpoint.posts) if post.id.startswith("msg_")]


def test_it_works(cluster: Cluster, endpoint: Endpoint) -> None:
    """Account events, and mail that arrives at either node for mailboxes on both."""
    platform = cluster.platform()
    body = {"url": endpoint.url(), "events": ["account.*", "message.received"]}
    platform.call("POST", HOOK, body)
    near = platform.create("near")
    far = elsewhere(cluster, platform, near)
    machines = (cluster.home(near), cluster.home(far))
    for number, machine in enumerate(machines):
        for box in (near, far):
            machine.deliver(box, f"{number} {box.id}")
    wanted = {f"{number} {box.id}" for number in range(2) for box in (near, far)}
    endpoint.wait(lambda found: wanted <= {post.json["data"]["subject"] for post in mails(found)}, 90)
    events = {f"evt_{event['id']}" for event in platform.call("GET", "/v2/events?type=account.created", None)["items"]}
    endpoint.wait(lambda found: events <= {post.id for post in found.posts}, 60)
    ids = [post.id for post in endpoint.posts]
    assert len(ids) == len(set(ids))
    assert len(mails(endpoint)) == len(wanted)
    assert len(events) >= 2


def test_a_message_moves_with_its_account(cluster: Cluster, box: Mailbox, endpoint: Endpoint) -> None:
    """What waits for an endpoint is read on the new node, with the same id; nothing is sent for the
    copies that the move makes, and the next message is found there."""
    platform = box.platform
    made = platform.call("POST", HOOK, {"url": endpoint.url(), "events": ["message.received"], "account_id": box.id})[
        "webhook"
    ]
    endpoint.answer = answers(500)
    cluster.home(box).deliver(box, "moves")
    endpoint.wait(lambda found: mails(found), 60)
    source = cluster.home(box)
    target = next(machine for machine in cluster.machines if machine is not source)
    move(cluster, box, target)
    endpoint.answer = answers(200)
    path = f"/v2/webhooks/{made['id']}"
    (item,) = platform.call("GET", f"{path}/deliveries", None)["items"]
    platform.call("POST", f"{path}/replay", {"delivery_id": item["id"]})
    wait_for("it arrives", lambda: platform.call("GET", f"{path}/deliveries?status=delivered", None)["items"])
    target.deliver(box, "after the move")
    endpoint.wait(lambda found: len({post.id for post in found.posts}) == 2, 90)
    assert sorted({post.json["data"]["subject"] for post in endpoint.posts}) == ["after the move", "moves"]
