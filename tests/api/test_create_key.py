"""POST /v2/keys: a key is shown once, and never has more rights than the key that made it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postroom.actor import ALL_SCOPES, DEFAULT_SCOPES
from postroom.auth.tokens import digest
from tests.api.rows import last_event, rows
from tests.harness.server import Tenant

PATH = "/v2/keys"
FIELDS = [
    *("id", "prefix", "name", "user_id", "scopes", "domains", "networks"),
    *("parent_id", "created_at", "expires_at", "last_used_at"),
]
FUTURE = "2199-01-01T00:00:00.000Z"
FUTURE_MS = int(datetime(2199, 1, 1, tzinfo=UTC).timestamp() * 1000)


def test_it_works(tenant: Tenant) -> None:
    sent = {
        "name": "Shop é",
        "user_id": "user_123",
        "scopes": ["events:read", "accounts:read"],
        "domains": [tenant.domain.upper(), tenant.domain],
        "networks": ["127.0.0.1", "2001:DB8::/32"],
        "expires_at": "2199-01-01T02:00:00+02:00",
    }
    made = tenant.post(PATH, sent)
    assert made.status == 201, made.text
    assert made.headers["cache-control"] == "no-store"
    assert list(made.json) == ["key", "api_key", "note"]
    key, secret = made.json["key"], made.json["api_key"]
    assert list(key) == FIELDS
    assert re.fullmatch(r"pr_[\w-]{43}", secret)
    assert made.json["note"] == "Save this key now. It will not be shown again."
    assert key["prefix"] == secret[:10]
    expected = {
        "name": "Shop é",
        "user_id": "user_123",
        "scopes": ["accounts:read", "events:read"],
        "domains": [tenant.domain],
        "networks": ["127.0.0.1/32", "2001:db8::/32"],
        "parent_id": tenant.key_id(tenant.key),
        "expires_at": FUTURE,
        "last_used_at": None,
    }
    assert {name: key[name] for name in expected} == expected
    assert tenant.get("/v2/email-accounts", key=secret).status == 200
    assert tenant.get("/v2/stats", key=secret).status == 403


def test_omitted_fields_come_from_the_parent(tenant: Tenant) -> None:
    made = tenant.post(PATH).json["key"]
    unlimited = ("name", "user_id", "domains", "networks", "expires_at")
    assert {made[name] for name in unlimited} == {None}
    assert made["scopes"] == list(DEFAULT_SCOPES)
    parent = tenant.new_key(
        ["keys:write", "stats:read"],
        [tenant.domain],
        user_id="u",
        networks=("127.0.0.0/8", "::1/128"),
        expires_at=FUTURE_MS,
    )
    made = tenant.post(PATH, {}, key=parent).json["key"]
    assert made["scopes"] == ["keys:write", "stats:read"]
    assert (made["user_id"], made["domains"]) == ("u", [tenant.domain])
    assert (made["networks"], made["expires_at"]) == (["127.0.0.0/8", "::1/128"], FUTURE)


REFUSED: list[tuple[Any, str, str]] = [
    ({"nmae": "x"}, "nmae", "unknown_field"),
    ({"id": 1}, "id", "unknown_field"),
    ({"parent_id": 1}, "parent_id", "unknown_field"),
    ({"organization_id": 1}, "organization_id", "unknown_field"),
    ({"name": "x" * 256}, "name", "too_long"),
    ({"name": "a\nb"}, "name", "control_character"),
    ({"name": 1}, "name", "invalid"),
    ({"user_id": None}, "user_id", "invalid"),
    ({"user_id": ""}, "user_id", "invalid"),
    ({"user_id": "x" * 129}, "user_id", "invalid"),
    ({"scopes": None}, "scopes", "invalid"),
    ({"scopes": []}, "scopes", "invalid"),
    ({"scopes": "accounts:read"}, "scopes", "invalid"),
    ({"scopes": [1]}, "scopes", "invalid"),
    ({"scopes": ["accounts:*"]}, "scopes", "invalid"),
    ({"scopes": ["public"]}, "scopes", "invalid"),
    ({"scopes": ["accounts:read accounts:write"]}, "scopes", "invalid"),
    ({"scopes": ["accounts:read"] * 51}, "scopes", "invalid"),
    ({"domains": None}, "domains", "invalid"),
    ({"domains": []}, "domains", "invalid"),
    ({"domains": ["x"]}, "domains", "invalid_domain"),
    ({"domains": [["x.test"]]}, "domains", "invalid"),
    ({"domains": ["x.test"] * 101}, "domains", "invalid"),
    ({"networks": None}, "networks", "invalid"),
    ({"networks": []}, "networks", "invalid"),
    ({"networks": ["192.0.2.1/24"]}, "networks", "invalid"),
    ({"networks": ["192.0.2.0/33"]}, "networks", "invalid"),
    ({"networks": ["localhost"]}, "networks", "invalid"),
    ({"networks": ["10.0.0.0/8 0.0.0.0/0"]}, "networks", "invalid"),
    ({"networks": ["١٠.0.0.0/8"]}, "networks", "invalid"),
    ({"networks": [""]}, "networks", "invalid"),
    ({"networks": [1]}, "networks", "invalid"),
    ({"networks": ["10.0.0.0/8"] * 51}, "networks", "invalid"),
    ({"expires_at": None}, "expires_at", "invalid"),
    ({"expires_at": 2**40}, "expires_at", "invalid"),
    ({"expires_at": "tomorrow"}, "expires_at", "invalid"),
    ({"expires_at": "2199-01-01"}, "expires_at", "invalid"),
    ({"expires_at": "2199-01-01T00:00:00"}, "expires_at", "invalid"),
    ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", "invalid"),
    ({"expires_at": "0001-01-01T00:00:00+23:59"}, "expires_at", "invalid"),
    ({"expires_at": "9999-12-31T23:59:59-23:59"}, "expires_at", "invalid"),
    ([], "body", "invalid"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=lambda v: ascii(v)[:40])
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    before = rows(tenant)
    refused = tenant.post(PATH, body)
    assert (refused.status, refused.code) == (400, "invalid_request"), refused.text
    assert refused.problem(field) == code
    assert rows(tenant) == before


def test_every_problem_is_named_at_once(tenant: Tenant) -> None:
    body = {"name": "\n", "user_id": "", "scopes": ["x"], "domains": ["x"], "networks": ["x"]}
    assert {error["field"] for error in tenant.post(PATH, body).json["errors"]} == body.keys()


WIDER: list[tuple[Any, str]] = [
    ({"scopes": ["keys:write", "accounts:read"]}, "scopes"),
    ({"scopes": list(ALL_SCOPES)}, "scopes"),
    ({"networks": ["0.0.0.0/0"]}, "networks"),
    ({"networks": ["::/0"]}, "networks"),
    ({"networks": ["126.0.0.0/7"]}, "networks"),
    ({"networks": ["127.0.0.1", "192.0.2.1"]}, "networks"),
    ({"networks": ["::ffff:127.0.0.1"]}, "networks"),
    ({"expires_at": "2199-01-01T00:00:00.001Z"}, "expires_at"),
]


@pytest.mark.parametrize(("body", "field"), WIDER, ids=lambda v: ascii(v)[:40])
def test_never_wider_than_its_parent(tenant: Tenant, body: Any, field: str) -> None:
    parent = tenant.new_key(["keys:write", "keys:read"], networks=("127.0.0.0/8",), expires_at=FUTURE_MS)
    before = rows(tenant)
    refused = tenant.post(PATH, body, key=parent)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert refused.problem(field) == "too_wide"
    assert rows(tenant) == before


def test_as_wide_and_narrower_are_made(tenant: Tenant) -> None:
    parent = tenant.new_key(["keys:write", "keys:read"], networks=("127.0.0.0/8",), expires_at=FUTURE_MS)
    for body in (
        {"scopes": ["keys:read", "keys:write"], "networks": ["127.0.0.0/8"], "expires_at": FUTURE},
        {"scopes": ["keys:read"], "networks": ["127.0.0.1"], "expires_at": "2100-01-01T00:00:00Z"},
    ):
        assert tenant.post(PATH, body, key=parent).status == 201


def test_a_bound_key_makes_keys_of_its_user_alone(tenant: Tenant) -> None:
    parent = tenant.new_key(user_id="bound")
    for made in (tenant.post(PATH, key=parent), tenant.post(PATH, {"user_id": "bound"}, key=parent)):
        assert made.json["key"]["user_id"] == "bound"
    before = rows(tenant)
    foreign = [
        tenant.post(PATH, {"user_id": "other"}, key=parent),
        tenant.post(PATH, {}, key=parent, user_id="other"),
        tenant.post(PATH, {"user_id": "bound"}, key=parent, user_id="other"),
    ]
    assert [answer.status for answer in foreign] == [404] * 3
    assert rows(tenant) == before


def test_a_domain_that_the_parent_does_not_see_is_not_found(tenant: Tenant, stranger: Tenant) -> None:
    mine, users, other = tenant.domain, tenant.new_domain(user_id="u"), tenant.new_domain()
    bound = tenant.new_key(domains=[mine])
    of_user = tenant.new_key(user_id="u")
    for key, names, status in (
        (bound, [mine], 201),
        (bound, [other], 404),
        (bound, [mine, other], 404),
        (bound, ["nobody-has-this.test"], 404),
        (of_user, [mine, users], 201),
        (tenant.new_key(user_id="v"), [users], 404),
        (stranger.key, [mine], 404),
    ):
        before = rows(tenant)
        assert tenant.post(PATH, {"domains": names}, key=key).status == status, names
        assert (rows(tenant) == before) == (status == 404)
    assert tenant.post(PATH, {"user_id": "v", "domains": [users]}).status == 404


def test_a_grandchild_is_no_wider(tenant: Tenant) -> None:
    other = tenant.new_domain()
    child = tenant.post(PATH, {"domains": [tenant.domain, other], "networks": ["127.0.0.0/8"]}).json["api_key"]
    grandchild = tenant.post(PATH, {"domains": [other]}, key=child).json
    assert (grandchild["key"]["domains"], grandchild["key"]["networks"]) == ([other], ["127.0.0.0/8"])
    last = tenant.post(PATH, key=grandchild["api_key"]).json
    assert last["key"]["domains"] == [other]
    assert tenant.post(PATH, {"domains": [tenant.domain]}, key=last["api_key"]).status == 404
    assert tenant.get(f"/v2/domains/{other}/email-accounts", key=last["api_key"]).status == 200
    assert tenant.get(f"/v2/domains/{tenant.domain}/email-accounts", key=last["api_key"]).status == 404


def test_the_key_is_shown_once(tenant: Tenant, log_lines: list[str]) -> None:
    secret = tenant.post(PATH, {"name": "n"}).json["api_key"]
    listed = tenant.get(PATH).text + tenant.get("/v2/events", limit=500).text
    for hidden in (secret, secret[3:], digest(secret)):
        assert hidden not in listed
        assert not [line for line in log_lines if hidden in line]
        assert secret not in repr(rows(tenant))


def test_its_event(tenant: Tenant) -> None:
    at = last_event(tenant)
    body = {"user_id": "u", "scopes": ["stats:read"], "domains": [tenant.domain], "networks": ["127.0.0.1"]}
    made = tenant.post(PATH, body)
    (event,) = tenant.events(after=at)
    assert (event["type"], event["user_id"]) == ("key.created", "u")
    assert event["key_id"] == tenant.key_id(tenant.key)
    assert event["request_id"] == made.headers["x-request-id"]
    key = made.json["key"]
    names = ("prefix", "scopes", "domains", "networks")
    assert event["data"] == {"key_id": key["id"], **{name: key[name] for name in names}}


def test_an_hour_from_now(tenant: Tenant) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = tenant.post(PATH, {"expires_at": soon.isoformat()})
    assert made.status == 201
    assert tenant.get("/v2/stats", key=made.json["api_key"]).status == 200
