"""GET /v2/webhooks/:id/deliveries, POST …/replay and POST …/test, on both engines."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from postroom.service import webhooks as service
from postroom.settings import Settings
from postroom.webhooks import deliveries, trials
from tests.harness.server import KEY, ApiServer, Tenant
from tests.webhooks.endpoint import OK, Endpoint, Post, answers
from tests.webhooks.world import World


@pytest.fixture(scope="module")
def private_api(database_url: str) -> Iterator[ApiServer]:
    """An API whose webhooks may lead to the loopback."""
    with ApiServer.start(database_url, Settings(rate_limit="off", webhook_allow="private")) as server:
        yield server


@pytest.fixture
def platform(private_api: ApiServer, world: World) -> Tenant:
    del world  # nothing is due
    return private_api.new_tenant()


@pytest.fixture
def foreign(private_api: ApiServer) -> Tenant:
    return private_api.new_tenant()


def make(tenant: Tenant, url: str, *events: str, **fields: Any) -> dict[str, Any]:
    answer = tenant.post("/v2/webhooks/create", {"url": url, "events": events or ["account.*"], **fields})
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.json["webhook"] | {"secret": answer.json["secret"]}
    return found


def listed(tenant: Tenant, hook: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = tenant.get(f"/v2/webhooks/{hook['id']}/deliveries{query}")
    assert answer.status == 200, answer.text
    found: list[dict[str, Any]] = answer.json["items"]
    return found


def test_it_works(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """From the call that makes an account to the POST, with the delivery in the list."""
    hook = make(platform, endpoint.url())
    account = platform.account("a")
    (event,) = platform.events(type="account.created")
    world.send()
    (post,) = endpoint.posts
    body = Verifier(hook["secret"]).verify(post.body, post.headers)
    told = {name: value for name, value in event.items() if name not in ("key_id", "client_address")}
    assert body == {
        "type": "account.created",
        "timestamp": event["created_at"],
        "data": {**told, "domain": platform.domain},
    }
    assert (event["account_id"], event["client_address"], event["key_id"] is None) == (
        account["id"],
        "127.0.0.1",
        False,
    )
    (item,) = listed(platform, hook)
    assert item["duration_ms"] >= 0
    assert {**item, "duration_ms": 0, "created_at": "", "id": 0} == {
        "id": 0,
        "event_id": event["id"],
        "type": "account.created",
        "message": None,
        "status": "delivered",
        "attempts": 1,
        "next_at": None,
        "last_status_code": 200,
        "last_error": None,
        "duration_ms": 0,
        "created_at": "",
    }


def test_pages_and_statuses(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """The newest come first; a cursor leads on."""
    hook, endpoint.answer = make(platform, endpoint.url()), answers(500)
    for number in range(5):
        platform.account(f"p{number}")
    world.send()
    ids = [item["id"] for item in listed(platform, hook)]
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    first = platform.get(f"/v2/webhooks/{hook['id']}/deliveries?limit=2&status=pending")
    assert [item["id"] for item in first.json["items"]] == ids[:2]
    link = first.headers["link"].partition(">")[0][1:]
    assert [item["id"] for item in platform.get(link).json["items"]] == ids[2:4]
    assert listed(platform, hook, "?status=delivered") == []
    pending = listed(platform, hook, "?status=pending")
    assert {item["last_error"] for item in pending} == {None, "The endpoint has answered 500."}
    assert all(item["next_at"] for item in pending)


@pytest.mark.parametrize("query", ["status=done", "status=", "limit=0", "after=-1", "after=x"])
def test_the_list_refuses(platform: Tenant, query: str, endpoint: Endpoint) -> None:
    hook = make(platform, endpoint.url())
    answer = platform.get(f"/v2/webhooks/{hook['id']}/deliveries?{query}")
    assert (answer.status, answer.code) == (400, "invalid_request")


def test_a_replay_sends_again(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """One delivery, all that failed, or all events after one; with the same webhook-id."""
    early = platform.account("early")
    hook = make(platform, endpoint.url())
    path = f"/v2/webhooks/{hook['id']}/replay"
    platform.account("a")
    platform.account("b")
    world.send()
    (new, old) = listed(platform, hook)
    assert platform.post(path, {"delivery_id": old["id"]}).json == {
        "replayed": 1,
        "more": False,
        "after_event_id": None,
    }
    world.send()
    assert [post.id for post in endpoint.posts[2:]] == [f"evt_{old['event_id']}"]
    assert {item["id"]: item["attempts"] for item in listed(platform, hook)} == {old["id"]: 2, new["id"]: 1}
    world.run("UPDATE webhook_deliveries SET status = 'failed', ended_at = 5 WHERE id = :id", id=new["id"])
    assert platform.post(path, {"failed": True}).json["replayed"] == 1
    assert platform.post(path, {"failed": True}).json["replayed"] == 0
    world.send()
    assert endpoint.posts[-1].id == f"evt_{new['event_id']}"
    first = platform.events(type="account.created")[0]
    assert first["account_id"] == early["id"]
    assert platform.post(path, {"after_event_id": first["id"] - 1}).json["replayed"] == 3
    world.send()
    ids = sorted(post.id for post in endpoint.posts[-3:])
    assert ids == sorted(f"evt_{id_}" for id_ in (first["id"], old["event_id"], new["event_id"]))
    assert {item["status"] for item in listed(platform, hook)} == {"delivered"}


def test_a_replay_goes_in_steps(
    platform: Tenant, world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "STEP", 2)
    hook = make(platform, endpoint.url())
    path = f"/v2/webhooks/{hook['id']}/replay"
    for number in range(3):
        platform.account(f"s{number}")
    world.send()
    world.run("UPDATE webhook_deliveries SET status = 'failed', ended_at = 5")
    answered = [platform.post(path, {"failed": True}).json for _ in range(2)]
    assert [(one["replayed"], one["more"]) for one in answered] == [(2, True), (1, False)]
    after, sent, calls = 0, 0, 0
    while after is not None:
        answer = platform.post(path, {"after_event_id": after}).json
        after, sent, calls = answer["after_event_id"], sent + answer["replayed"], calls + 1
        assert answer["more"] == (after is not None)
    assert sent == 3
    assert calls > 2


BODIES = [
    ({}, 400, "delivery_id"),
    ({"failed": False}, 400, "failed"),
    ({"failed": True, "delivery_id": 1}, 400, "delivery_id"),
    ({"after_event_id": 1, "delivery_id": 1}, 400, "delivery_id"),
    ({"after_event_id": -1}, 400, "after_event_id"),
    ({"delivery_id": None}, 400, "delivery_id"),
    ({"delivery_id": 2**40}, 404, ""),
]


@pytest.mark.parametrize(("body", "status", "field"), BODIES)
def test_a_replay_refuses(platform: Tenant, endpoint: Endpoint, body: Any, status: int, field: str) -> None:
    hook = make(platform, endpoint.url())
    answer = platform.post(f"/v2/webhooks/{hook['id']}/replay", body)
    assert answer.status == status, answer.text
    if field:
        assert answer.problem(field)


def test_a_disabled_webhook_replays_nothing(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    hook = make(platform, endpoint.url())
    world.run("UPDATE webhooks SET status = 'disabled' WHERE id = :id", id=hook["id"])
    answer = platform.post(f"/v2/webhooks/{hook['id']}/replay", {"failed": True})
    assert (answer.status, answer.code) == (409, "webhook_disabled")


def test_a_stranger_sees_nothing(platform: Tenant, foreign: Tenant, world: World, endpoint: Endpoint) -> None:
    """A foreign delivery of an own webhook, and everything of a foreign webhook, is not there."""
    hook, own = make(platform, endpoint.url()), make(foreign, endpoint.url())
    platform.account("x")
    world.send()
    (item,) = listed(platform, hook)
    path = f"/v2/webhooks/{hook['id']}"
    missing = foreign.get(f"/v2/webhooks/{2**40}/deliveries")
    assert foreign.get(f"{path}/deliveries").json | {"request_id": ""} == missing.json | {"request_id": ""}
    assert foreign.post(f"{path}/replay", {"delivery_id": item["id"]}).status == 404
    assert foreign.post(f"/v2/webhooks/{own['id']}/replay", {"delivery_id": item["id"]}).status == 404
    assert foreign.post(f"{path}/test", {}).status == 404
    assert len(endpoint.posts) == 1


def test_a_test_sends_at_once(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """Also while the endpoint fails, and to a disabled webhook; it changes nothing else."""
    hook = make(platform, endpoint.url())
    world.run("UPDATE webhooks SET failures = 9, status = 'disabled' WHERE id = :id", id=hook["id"])
    answer = platform.post(f"/v2/webhooks/{hook['id']}/test", {})
    assert answer.status == 200, answer.text
    assert answer.json["attempt"] | {"duration_ms": 0} == {
        "delivered": True, "status_code": 200, "error": None, "duration_ms": 0
    }  # fmt: skip
    (post,) = endpoint.posts
    body = Verifier(hook["secret"]).verify(post.body, post.headers)
    assert (body["type"], body["data"]) == ("webhook.test", {"webhook_id": hook["id"]})
    assert post.id.startswith(f"test_{hook['id']}_")
    assert world.rows("SELECT failures, last_success_at FROM webhooks WHERE id = :id", id=hook["id"]) == [(9, None)]
    again = platform.post(f"/v2/webhooks/{hook['id']}/test", {})
    assert (again.status, again.code) == (429, "too_many_requests")
    assert int(again.headers["retry-after"]) >= 1


def test_a_test_says_what_failed(
    platform: Tenant, world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API answers others meanwhile, and does not hold more than a few tests at once."""
    monkeypatch.setattr(trials, "PAUSE_MS", 0)
    hook = make(platform, endpoint.url())

    def answer(connection: socket.socket, _post: Post) -> None:
        assert platform.get("/v2/domains?user_id=u").status == 200
        connection.sendall(answers(503))

    endpoint.answer = answer
    attempt = platform.post(f"/v2/webhooks/{hook['id']}/test", {}).json["attempt"]
    assert (attempt["delivered"], attempt["status_code"]) == (False, 503)
    assert attempt["error"] == "The endpoint has answered 503."
    other = make(platform, "http://127.0.0.1:1/")
    attempt = platform.post(f"/v2/webhooks/{other['id']}/test", {}).json["attempt"]
    assert attempt["error"] == "The connection was refused."


def test_only_what_the_settings_allow_is_tested(tenant: Tenant, world: World, endpoint: Endpoint) -> None:
    """The API judges the address like the worker does."""
    hook = make(tenant, "https://platform.example/")
    world.run("UPDATE webhooks SET url = :url WHERE id = :id", url=endpoint.url(), id=hook["id"])
    attempt = tenant.post(f"/v2/webhooks/{hook['id']}/test", {}).json["attempt"]
    assert attempt["status_code"] is None
    assert "Internet" in attempt["error"]
    assert endpoint.posts == []


def test_old_deliveries_are_removed(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """Those that arrived after 7 days, those that failed after 30; pending ones never."""
    hook = make(platform, endpoint.url())
    for number in range(5):
        platform.account(f"o{number}")
    endpoint.answer = answers(500)
    world.send()
    days = deliveries.DAY_MS
    now = world.do(lambda tx: tx.now)
    states = [("delivered", 7), ("delivered", 6), ("failed", 30), ("failed", 29)]
    ids = [item["id"] for item in listed(platform, hook)]
    for id_, (status, age) in zip(ids, states, strict=False):
        sql = "UPDATE webhook_deliveries SET status = :status, ended_at = :at WHERE id = :id"
        world.run(sql, status=status, at=now - age * days - 1000, id=id_)
    assert world.do(deliveries.forget) == 1
    assert world.do(deliveries.forget) == 0
    assert [item["id"] for item in listed(platform, hook)] == [ids[1], ids[3], ids[4]]


def test_a_needed_event_is_kept(platform: Tenant, world: World, endpoint: Endpoint) -> None:
    """An event stays while a delivery of it is pending, or while it was not looked at."""
    hook, endpoint.answer = make(platform, endpoint.url()), answers(500)
    before = world.do(deliveries.first_needed)
    platform.account("k1")
    (event,) = platform.events(type="account.created")
    assert before <= event["id"]
    assert world.do(deliveries.first_needed) <= event["id"]
    worker = service.Webhooks(world.database, world.sender(), KEY)
    world.send(worker)
    platform.account("k2")
    world.send(worker)
    assert world.do(deliveries.first_needed) == event["id"]
    endpoint.answer = OK
    for _ in range(3):
        world.make_due(world.known(hook["id"]))
        world.send(worker)
    assert world.do(deliveries.first_needed) > event["id"]
