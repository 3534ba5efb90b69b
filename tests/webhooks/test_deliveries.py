"""Deliveries: from the commit of an event to the POST at the endpoint, on both engines."""

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from tests.webhooks.endpoint import Endpoint
from tests.webhooks.world import World


def test_it_works(world: World, endpoint: Endpoint) -> None:
    """A delivery is signed as Standard Webhooks says: its published library verifies it."""
    hook = world.hook(endpoint.url("/in?token=x"))
    event = world.event(hook.actor, user_id="u", data={"address": "a@b.example"})
    world.send()
    (post,) = endpoint.posts
    assert post.path == "/in?token=x"
    assert post.headers["host"] == f"127.0.0.1:{endpoint.port}"
    assert post.headers["content-type"] == "application/json"
    assert post.id == f"evt_{event}"
    assert Verifier(hook.secret).verify(post.body, post.headers) == post.json
    assert post.json["type"] == "account.created"
    assert post.json["timestamp"] == post.json["data"]["created_at"]
    assert {**post.json["data"], "created_at": ""} == {
        "id": event,
        "type": "account.created",
        "account_id": None,
        "domain_id": None,
        "domain": None,
        "user_id": "u",
        "request_id": None,
        "data": {"address": "a@b.example"},
        "created_at": "",
    }
    assert world.statuses(hook) == [(event, "delivered", 1)]
    assert world.state(hook)["last_success_at"]
    world.send()
    assert len(endpoint.posts) == 1
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 44).verify(post.body, post.headers)
