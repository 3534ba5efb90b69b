"""POST /v2/keys/delete: a key ends at once, and so does every key that it made."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.actor import ALL_SCOPES
from postroom.auth import keys
from postroom.auth.tokens import digest
from tests.api.rows import last_event, rows
from tests.api.test_console_session import signed_in
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/keys/delete"


def make(tenant: Tenant, key: str, **fields: Any) -> str:
    made = tenant.post("/v2/keys", fields, key=key)
    assert made.status == 201, made.text
    secret: str = made.json["api_key"]
    return secret


def status(tenant: Tenant, key: str) -> int:
    return tenant.get("/v2/stats", key=key).status


def test_it_works(tenant: Tenant) -> None:
    key = make(tenant, tenant.key)
    assert status(tenant, key) == 200
    done = tenant.post(PATH, {"id": tenant.key_id(key)})
    assert done.status == 200
    assert done.json == {"ok": True, "deleted": {"id": tenant.key_id(key), "prefix": key[:10]}}
    assert [*done.json, *done.json["deleted"]] == ["ok", "deleted", "id", "prefix"]
    assert status(tenant, key) == 401
    assert tenant.post(PATH, {"id": tenant.key_id(key)}).status == 404


REFUSED: list[tuple[Any, str, str]] = [
    ({}, "id", "required"),
    ({"id": "1"}, "id", "invalid"),
    ({"id": 0}, "id", "invalid"),
    ({"id": 2**63}, "id", "invalid"),
    ({"id": True}, "id", "invalid"),
    ({"id": 1, "user_id": None}, "user_id", "invalid"),
    ({"id": 1, "user_id": ""}, "user_id", "invalid"),
    ({"id": 1, "prefix": "pr_"}, "prefix", "unknown_field"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=ascii)
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    before = rows(tenant)
    refused = tenant.post(PATH, body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field) == code
    assert rows(tenant) == before


def test_every_process_refuses_it_at_once(tenant: Tenant, database_url: str) -> None:
    key = make(tenant, tenant.key)
    child = make(tenant, key)
    with ApiServer.start(database_url) as other:
        apis = [tenant.api, other]
        assert [api.request("GET", "/v2/stats", key=k).status for api in apis for k in (key, child)] == [200] * 4
        assert other.request("POST", PATH, {"id": tenant.key_id(key)}, key=tenant.key).status == 200
        assert [api.request("GET", "/v2/stats", key=k).status for api in apis for k in (key, child)] == [401] * 4


def test_all_that_it_made_dies_with_it(tenant: Tenant) -> None:
    parent = make(tenant, tenant.key)
    children = [make(tenant, parent), make(tenant, parent, user_id="u")]
    grandchild, sibling = make(tenant, children[1]), make(tenant, tenant.key)
    at = last_event(tenant)
    done = tenant.post(PATH, {"id": tenant.key_id(parent)})
    assert done.json["deleted"]["prefix"] == parent[:10]
    dead = [parent, *children, grandchild]
    assert [status(tenant, key) for key in dead] == [401] * 4
    assert [status(tenant, key) for key in (sibling, tenant.key)] == [200] * 2
    ended = tenant.events(after=at)
    assert [event["type"] for event in ended] == ["key.revoked"] * 4
    assert [event["data"] for event in ended] == [{"key_id": tenant.key_id(k), "prefix": k[:10]} for k in dead]
    assert [event["user_id"] for event in ended] == [None, None, "u", "u"]
    assert {event["key_id"] for event in ended} == {tenant.key_id(tenant.key)}
    assert {event["request_id"] for event in ended} == {done.headers["x-request-id"]}


def test_a_key_may_end_itself(tenant: Tenant) -> None:
    key = make(tenant, tenant.key)
    assert tenant.post(PATH, {"id": tenant.key_id(key)}, key=key).status == 200
    assert status(tenant, key) == 401


def test_an_expired_key_can_be_deleted(tenant: Tenant) -> None:
    expired = tenant.new_key(expires_at=1)
    assert tenant.post(PATH, {"id": tenant.key_id(expired)}).status == 200


def test_a_bound_key_deletes_only_keys_that_are_as_narrow(tenant: Tenant) -> None:
    other = tenant.new_domain()
    caller = tenant.new_key(user_id="u", domains=[tenant.domain])
    wider = [
        tenant.key,
        tenant.new_key(user_id="u"),
        tenant.new_key(domains=[tenant.domain]),
        tenant.new_key(user_id="v", domains=[tenant.domain]),
        tenant.new_key(user_id="u", domains=[tenant.domain, other]),
        tenant.new_key(user_id="u", domains=[other]),
    ]
    before = rows(tenant)
    assert {tenant.post(PATH, {"id": tenant.key_id(key)}, key=caller).status for key in wider} == {404}
    assert rows(tenant) == before
    as_narrow = tenant.new_key(["stats:read"], [tenant.domain], user_id="u")
    assert tenant.post(PATH, {"id": tenant.key_id(as_narrow)}, key=caller).status == 200


def test_a_key_that_is_deleted_meanwhile_creates_none(tenant: Tenant) -> None:
    """Whichever request is first, no child outlives its parent."""
    for _ in range(10):
        parent = make(tenant, tenant.key)
        with ThreadPoolExecutor(5) as pool:
            making = [pool.submit(tenant.post, "/v2/keys", {}, key=parent) for _ in range(4)]
            ending = pool.submit(tenant.post, PATH, {"id": tenant.key_id(parent)})
        assert ending.result().status == 200
        answers = [made.result() for made in making]
        assert {answer.status for answer in answers} <= {201, 401}
        made = [answer.json["api_key"] for answer in answers if answer.status == 201]
        assert {status(tenant, key) for key in made} <= {401}


def test_revoking_keys_does_not_block_the_loop(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are revoked in the writer thread; meanwhile the API answers a read."""
    inside, go_on, real = threading.Event(), threading.Event(), keys.revoke

    def revoke(*arguments: Any) -> Any:
        inside.set()
        assert go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(keys, "revoke", revoke)
    ended = make(tenant, tenant.key)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(tenant.post, PATH, {"id": tenant.key_id(ended)})
        assert inside.wait(30)
        assert tenant.get("/v2/domains?every_user=true").status == 200
        go_on.set()
        assert ending.result().status == 200


# --- a key revokes keys that are not wider than itself, and keys that it made

DAY_MS = 24 * 3600 * 1000
NOW_MS = time.time_ns() // 1_000_000
# The values of each restriction, from the narrowest to no restriction.
SCOPES: list[tuple[str, ...]] = [
    ("keys:write",),
    ("keys:write", "stats:read"),
    ("keys:write", "events:read"),
    ALL_SCOPES,
]
NETWORKS: list[tuple[str, ...] | None] = [("127.0.0.1/32",), ("127.0.0.0/8",), ("127.0.0.0/8", "::1/128"), None]
EXPIRIES: list[int | None] = [NOW_MS + DAY_MS, NOW_MS + 2 * DAY_MS, None]
USERS: list[str | None] = ["u", "v", None]


def wider_fields(target: dict[str, Any], caller: dict[str, Any]) -> set[str]:
    """The fields in which `target` is wider than `caller`, computed with sets."""
    inside = {("127.0.0.1/32",): {"1"}, ("127.0.0.0/8",): {"1", "8"}, ("127.0.0.0/8", "::1/128"): {"1", "8", "6"}}
    everywhere = {"1", "8", "6", "any"}
    wider = set()
    if not set(target["scopes"]) <= set(caller["scopes"]):
        wider.add("scopes")
    if not inside.get(target["networks"], everywhere) <= inside.get(caller["networks"], everywhere):
        wider.add("networks")
    if (target["expires_at"] or 2**62) > (caller["expires_at"] or 2**62):
        wider.add("expires_at")
    return wider


def test_a_key_cannot_revoke_a_wider_one(tenant: Tenant) -> None:
    """Random pairs of keys of one organization; the sample is the same in each run."""
    chosen = random.Random(7)
    kinds = ("networks", NETWORKS), ("expires_at", EXPIRIES), ("scopes", SCOPES), ("user_id", USERS)
    outcomes = Counter[str]()
    for _ in range(150):
        caller, target = ({name: chosen.choice(values) for name, values in kinds} for _ in range(2))
        key, victim = tenant.new_key(**caller), tenant.new_key(**target)  # type: ignore[arg-type]
        answer = tenant.post(PATH, {"id": tenant.key_id(victim)}, key=key)
        if caller["user_id"] not in (None, target["user_id"]):
            expected, fields = "not_found", set()
        elif fields := wider_fields(target, caller):
            expected = "key_too_wide"
        else:
            expected = "ok"
        found = "ok" if answer.status == 200 else answer.code
        assert found == expected, (caller, target)
        if expected == "key_too_wide":
            assert answer.status == 403
            assert {problem["field"] for problem in answer.json["errors"]} == fields
            assert {problem["code"] for problem in answer.json["errors"]} == {"too_wide"}
        assert state(tenant, victim) == ("ended" if expected == "ok" else "live")
        outcomes[expected] += 1
    assert set(outcomes) == {"ok", "key_too_wide", "not_found"}


def state(tenant: Tenant, key: str) -> str:
    sql = "SELECT revoked_at FROM api_keys WHERE digest = :digest"
    row = tenant.api.database.write_sync(lambda tx: tx.one(sql, digest=digest(key)))
    assert row
    return "live" if row[0] is None else "ended"


def test_keys_write_alone_does_not_end_the_organization(tenant: Tenant) -> None:
    """A leaked key that has only keys:write cannot revoke the key of the platform's own service."""
    leaked, before = tenant.new_key(["keys:write"]), rows(tenant)
    refused = tenant.post(PATH, {"id": tenant.key_id(tenant.key)}, key=leaked)
    assert (refused.status, refused.code) == (403, "key_too_wide")
    assert rows(tenant) == before
    assert status(tenant, tenant.key) == 200


def test_what_it_made_it_may_end_whatever_lies_between(tenant: Tenant) -> None:
    parent = make(tenant, tenant.key)
    grandchild = make(tenant, make(tenant, parent))
    assert tenant.post(PATH, {"id": tenant.key_id(grandchild)}, key=parent).status == 200
    narrow = make(tenant, parent, scopes=["keys:write"])
    assert tenant.post(PATH, {"id": tenant.key_id(parent)}, key=narrow).code == "key_too_wide", "the parent is wider"
    assert status(tenant, parent) == 200


def test_a_console_session_is_its_key(tenant: Tenant) -> None:
    browser = signed_in(tenant, tenant.new_key(["keys:read", "keys:write"]))
    answer = browser.request("POST", PATH, {"id": tenant.key_id(tenant.key)})
    assert (answer.status, answer.code) == (403, "key_too_wide")
