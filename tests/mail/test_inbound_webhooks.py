"""Mail for webhooks: from SMTP to a signed POST, with the real daemons."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from tests.harness.service import Service
from tests.mail.conftest import NewDatabase
from tests.mail.platform import Platform
from tests.webhooks.endpoint import Endpoint, Post


@pytest.fixture(scope="module")
def private_service(database: NewDatabase) -> Iterator[Service]:
    """A service whose webhooks may lead to the loopback."""
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    with Service.new(**database(), webhook_allow="private") as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture
def platform(private_service: Service) -> Platform:
    return Platform.new(private_service)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint.start() as found:
        yield found


def hook(platform: Platform, endpoint: Endpoint, **fields: Any) -> dict[str, Any]:
    body = {"url": endpoint.url(), "events": ["message.received"], **fields}
    made: dict[str, Any] = platform.call("POST", "/v2/webhooks/create", body)
    return made["webhook"] | {"secret": made["secret"]}


def verified(post: Post, secret: str) -> Any:
    return Verifier(secret).verify(post.body, post.headers)


def test_it_works(platform: Platform, endpoint: Endpoint) -> None:
    """A message that arrives by SMTP is POSTed, signed."""
    anna = platform.create("anna", user_id="a")
    made = hook(platform, endpoint)
    anna.receive("first")
    endpoint.wait(lambda found: found.posts)
    (post,) = endpoint.posts
    body = verified(post, made["secret"])
    assert post.id.startswith("msg_")
    assert body["type"] == "message.received"
    assert body["data"]["account_id"] == anna.id
