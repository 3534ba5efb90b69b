"""GET /healthz and GET /readyz: without a key."""

from collections.abc import Iterator

import pytest

from tests.harness.server import ApiServer

PARTS = {"worker": None, "dovecot": None, "postfix": None}


@pytest.fixture
def parts(api: ApiServer) -> Iterator[dict[str, str | None]]:
    """The state of the other parts that the API reports. Each test may change it."""
    api.reasons = dict(PARTS)
    yield api.reasons
    api.reasons = {}


def test_it_works(api: ApiServer, parts: dict[str, str | None]) -> None:
    alive = api.request("GET", "/healthz")
    assert (alive.status, alive.json) == (200, {"status": "ok"})
    ready = api.request("GET", "/readyz")
    shown = dict.fromkeys(["database", *PARTS], "ok")
    assert (ready.status, ready.json) == (200, {"status": "ready", "instance": "test", "parts": shown})


@pytest.mark.parametrize("part", list(PARTS))
def test_a_part_that_does_not_answer(api: ApiServer, parts: dict[str, str | None], part: str) -> None:
    parts[part] = "No greeting within 2 s."
    ready = api.request("GET", "/readyz")
    assert ready.status == 503
    assert ready.json["status"] == "not ready"
    assert {name: text for name, text in ready.json["parts"].items() if text != "ok"} == {part: parts[part]}
    assert ready.json["instance"] == "test"
    assert api.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_any_key_and_head(api: ApiServer, parts: dict[str, str | None], path: str) -> None:
    assert api.request("GET", path, key="pr_wrong").status == 200
    assert api.request("GET", f"{path}?limit=x").status == 200
    head = api.request("HEAD", path)
    assert (head.status, head.text) == (200, "")
    refused = api.request("POST", path, {})
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD")


def test_nothing_secret(api: ApiServer, parts: dict[str, str | None]) -> None:
    assert api.request("GET", "/readyz").headers["cache-control"] == "no-store"
