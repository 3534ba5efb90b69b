"""PUT /v2/domains/:domain/route: how inbound mail is handled. `store` is the only mode."""

from typing import Any

import pytest

from tests.api.rows import rows
from tests.harness.server import Tenant


def test_it_works(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    before = rows(tenant)
    answer = tenant.put(f"/v2/domains/{name}/route", {"user_id": "u", "forward_mode": "store"})
    assert answer.status == 200, answer.text
    assert answer.json == {
        "domain": {"domain": name, "status": "active"},
        "route": {"domain": name, "forward_mode": "store"},
    }
    assert rows(tenant) == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"forward_mode": "webhook"}, ["forward_mode"]),
        ({"forward_mode": "webhook_then_store"}, ["forward_mode"]),
        (
            {"forward_mode": "webhook", "webhook_url": "https://x.test", "webhook_secret": "s"},
            ["forward_mode", "webhook_url", "webhook_secret"],
        ),
        ({"forward_mode": "store", "webhook_url": "https://x.test"}, ["webhook_url"]),
    ],
)
def test_not_available(tenant: Tenant, body: dict[str, str], fields: list[str]) -> None:
    refused = tenant.put(f"/v2/domains/{tenant.domain}/route", {"user_id": "u", **body})
    assert (refused.status, refused.code) == (400, "not_available")
    assert [(error["field"], error["code"]) for error in refused.json["errors"]] == [
        (field, "not_available") for field in fields
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u"}, "forward_mode"),
        ({"forward_mode": "store"}, "user_id"),
        ({"user_id": "u", "forward_mode": "forward"}, "forward_mode"),
        ({"user_id": "u", "forward_mode": None}, "forward_mode"),
        ({"user_id": "u", "forward_mode": "store", "mode": "x"}, "mode"),
    ],
)
def test_it_refuses(tenant: Tenant, body: Any, field: str) -> None:
    refused = tenant.put(f"/v2/domains/{tenant.domain}/route", body)
    assert refused.status == 400
    assert refused.problem(field)


def test_a_platform_domain(tenant: Tenant) -> None:
    body = {"user_id": "u", "forward_mode": "store"}
    path = f"/v2/domains/{tenant.domain}/route"
    assert tenant.put(path, body).status == 200
    for bound in ({"user_id": "u"}, {"domains": [tenant.domain]}):
        assert tenant.put(path, body, key=tenant.new_key(**bound)).code == "forbidden"  # type: ignore[arg-type]
