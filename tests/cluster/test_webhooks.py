"""Several nodes: every event and every message reaches a webhook once, whichever node sends it. The
node with the mailbox reads the message."""

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from tests.cluster.cluster import Cluster, Machine
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


def test_mail_that_is_not_kept(cluster: Cluster, endpoint: Endpoint) -> None:
    """Either node takes it out of mailboxes on both and holds it in the hidden account, which moves
    as other accounts do; the API of each node follows its links."""
    platform = cluster.platform()
    near = platform.create("near")
    far = elsewhere(cluster, platform, near)
    body = {"user_id": "x", "forward_mode": "webhook", "webhook_url": endpoint.url()}
    platform.call("PUT", f"/v2/domains/{platform.domain}/route", body)
    nobody = Mailbox(platform, 0, f"nobody@{platform.domain}", "")
    machines = (cluster.home(near), cluster.home(far))
    for number, machine in enumerate(machines):
        for box in (near, far, nobody):
            machine.deliver(box, f"{number} {box.address}")
    endpoint.wait(lambda found: len({post.id for post in found.posts}) == 6, 90)
    data = {post.id: post.json["data"] for post in mails(endpoint)}.values()
    assert sorted(one["address"] for one in data) == sorted([box.address for box in (near, far, nobody)] * 2)
    assert {one["delivered_to"] for one in data} <= {near.address, far.address, nobody.address, None}
    (hidden,) = {one["account_id"] for one in data} - {near.id, far.id}
    sql = "SELECT state FROM passing_messages WHERE hidden_id = :id"
    wait_for("they are held", lambda: platform.sql(sql, id=hidden) == [("held",)] * 6, 90)
    for box in (near, far):
        assert cluster.home(box).imap(box).subjects() == []
    holder = Mailbox(platform, hidden, "", "")
    move(cluster, holder, cluster.other(holder))
    for one in data:
        path = "/" + one["raw_url"].partition("://")[2].partition("/")[2]
        for machine in machines:
            status, raw = content(machine, platform.key, path)
            assert (status, one["subject"].encode() in raw) == (200, True)
    due = "UPDATE passing_messages SET due_at = 1 WHERE hidden_id = :id RETURNING message_id"
    assert len(platform.sql(due, id=hidden)) == 6
    wait_for("the end", lambda: platform.sql(sql, id=hidden) == [], 90)
    assert not list(cluster.home(holder).mail(holder).rglob("cur/*"))


def content(machine: Machine, key: str, path: str) -> tuple[int, bytes]:
    with closing(HTTPConnection("127.0.0.1", machine.service.ports["port"], timeout=60)) as connection:
        connection.request("GET", path, headers={"x-api-key": key})
        answer = connection.getresponse()
        return answer.status, answer.read()
