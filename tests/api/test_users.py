"""POST /v2/users/suspend, /resume and /delete: all accounts and domains of a user, step by step."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.accounts import users
from tests.api.rows import rows
from tests.harness.server import Tenant


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> int:
    """A small step, so that several are needed."""
    monkeypatch.setattr(users, "STEP", 2)
    return 2


def call(tenant: Tenant, verb: str, user_id: str = "u1", **options: Any) -> Any:
    answer = tenant.post(f"/v2/users/{verb}", {"user_id": user_id}, **options)
    assert answer.status == 200, answer.text
    return answer.json


def calls(tenant: Tenant, verb: str, user_id: str = "u1") -> list[Any]:
    """The answers until one says that it is done."""
    answers = [call(tenant, verb, user_id)]
    while not answers[-1]["done"]:
        answers.append(call(tenant, verb, user_id))
        assert len(answers) < 20
    return answers


def statuses(tenant: Tenant, user_id: str = "u1") -> dict[str, str]:
    listed = tenant.get("/v2/email-accounts", user_id=user_id, fields="local_part,status").json["items"]
    return {account["local_part"]: account["status"] for account in listed}


def test_it_works(tenant: Tenant) -> None:
    made = [tenant.account(name, user_id="u1") for name in ("a", "b")]
    other = tenant.account("c", user_id="u2")
    assert call(tenant, "suspend") == {
        "user_id": "u1",
        "done": True,
        "accounts": 2,
        "accounts_left": 0,
        "domains": 0,
        "domains_left": 0,
        "sessions_ended": True,
    }
    assert sorted(tenant.api.ended[-2:]) == [(account["id"], 1) for account in made]
    assert statuses(tenant) == {"a": "suspended", "b": "suspended"}
    assert tenant.full(other["id"])["status"] == "active"
    assert call(tenant, "resume")["accounts"] == 2
    assert statuses(tenant) == {"a": "active", "b": "active"}


def test_steps_are_bounded_and_say_what_is_left(tenant: Tenant, step: int) -> None:
    for name in "abcde":
        tenant.account(name, user_id="u1")
    answers = calls(tenant, "suspend")
    assert [(answer["accounts"], answer["accounts_left"], answer["done"]) for answer in answers] == [
        (2, 3, False),
        (2, 1, False),
        (1, 0, True),
    ]
    again = call(tenant, "suspend")
    assert (again["accounts"], again["done"], again["sessions_ended"]) == (0, True, None)
    suspended = [event["data"]["address"] for event in tenant.events() if event["type"] == "account.suspended"]
    assert sorted(suspended) == [f"{name}@{tenant.domain}" for name in "abcde"]


def test_an_account_with_another_status_keeps_it(tenant: Tenant) -> None:
    disabled = tenant.account("off", user_id="u1")["id"]
    tenant.account("on", user_id="u1")
    tenant.put(f"/v2/email-accounts/{disabled}", {"status": "disabled"})
    call(tenant, "suspend")
    assert statuses(tenant) == {"off": "disabled", "on": "suspended"}
    call(tenant, "resume")
    assert statuses(tenant) == {"off": "disabled", "on": "active"}


def test_delete_takes_the_accounts_and_then_the_domains(tenant: Tenant, step: int) -> None:
    own = [tenant.new_domain(user_id="u1") for _ in range(3)]
    for number, domain in enumerate([*own, tenant.domain, own[0]]):
        tenant.account(f"a{number}", domain=domain, user_id="u1")
    kept = tenant.account("kept", user_id="u2")
    answers = calls(tenant, "delete")
    assert [(a["accounts"], a["accounts_left"], a["domains"], a["done"]) for a in answers] == [
        (2, 3, 0, False),
        (2, 1, 0, False),
        (1, 0, 0, False),
        (0, 0, 2, False),
        (0, 0, 1, True),
    ]
    assert statuses(tenant) == {}
    assert tenant.get("/v2/domains", user_id="u1").json["items"] == [{"domain": tenant.domain, "status": "active"}]
    assert tenant.full(kept["id"])["status"] == "active"
    types = [event["type"] for event in tenant.events(user_id="u1")]
    assert (types.count("account.deleted"), types.count("domain.deleted")) == (5, 3)
    assert types.count("account.updated") == 0, "the default account goes last and is not passed on"
    assert len(tenant.get("/v2/email-accounts", user_id="u1", deleted="true").json["items"]) == 5
    assert call(tenant, "delete")["done"]


def test_delete_with_purge(tenant: Tenant) -> None:
    tenant.account("a", user_id="u1")
    assert tenant.post("/v2/users/delete", {"user_id": "u1", "purge": True}).json["accounts"] == 1
    assert tenant.get("/v2/email-accounts", user_id="u1", deleted="true").json["items"] == []


def test_sessions_that_do_not_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant.account("a", user_id="u1")
    tenant.account("b", user_id="u1")
    monkeypatch.setattr(tenant.api, "ends", False)
    assert call(tenant, "suspend")["sessions_ended"] is False
    pending = [event for event in tenant.events() if event["type"] == "account.sessions_pending"]
    assert len(pending) == 2


def test_a_retry_gets_the_same_answer(tenant: Tenant, step: int) -> None:
    for name in "abc":
        tenant.account(name, user_id="u1")
    first = call(tenant, "suspend", headers={"idempotency-key": "order 42"})
    assert call(tenant, "suspend", headers={"idempotency-key": "order 42"}) == first
    assert sorted(statuses(tenant).values()) == ["active", "suspended", "suspended"]


@pytest.mark.parametrize("verb", ["suspend", "resume", "delete"])
def test_refusals(tenant: Tenant, verb: str) -> None:
    tenant.account("a", user_id="u1")
    before = rows(tenant)
    path = f"/v2/users/{verb}"
    assert tenant.post(path, {}).problem("user_id") == "required"
    assert tenant.post(path, {"user_id": "\n"}).problem("user_id") == "invalid"
    assert tenant.post(f"{path}?user_id=u2", {"user_id": "u1"}).status == 404
    assert tenant.post(path, {"user_id": "u1"}, key=tenant.new_key(user_id="u2")).status == 404
    narrow = tenant.new_key(scopes=["accounts:write"])
    if verb == "delete":
        assert tenant.post(path, {"user_id": "u1"}, key=narrow).code == "forbidden"
    after = rows(tenant)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"api_keys", "events"}, "the keys of this test"


def test_a_key_bound_to_domains_changes_these_alone(tenant: Tenant) -> None:
    mine, other = tenant.new_domain(user_id="u1"), tenant.new_domain(user_id="u1")
    tenant.account("a", domain=mine, user_id="u1")
    tenant.account("b", domain=other, user_id="u1")
    key = tenant.new_key(domains=[mine])
    answer = call(tenant, "suspend", key=key)
    assert (answer["accounts"], answer["accounts_left"], answer["done"]) == (1, 0, True)
    assert statuses(tenant) == {"a": "suspended", "b": "active"}
    assert [call(tenant, "delete", key=key)["accounts"], call(tenant, "delete", key=key)["domains"]] == [1, 1]
    assert [domain["domain"] for domain in tenant.get("/v2/domains", user_id="u1").json["items"]] == [
        tenant.domain,
        other,
    ]


def test_steps_that_run_at_one_time(tenant: Tenant) -> None:
    """Two users on the same two domains, suspended and resumed by several callers at once: no step
    waits for another for ever, and the counters are right afterwards."""
    second = tenant.new_domain()
    for number in range(8):
        for user_id in ("u1", "u2"):
            domain = second if number % 2 == (user_id == "u1") else tenant.domain
            tenant.account(f"{user_id}.{number}", domain=domain, user_id=user_id)
    asks = [(verb, user_id) for _ in range(4) for verb in ("suspend", "resume") for user_id in ("u1", "u2")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda ask: call(tenant, *ask), asks))
    assert {answer["done"] for answer in answers} == {True}
    for user_id in ("u1", "u2"):
        assert call(tenant, "suspend", user_id)["done"]
        assert set(statuses(tenant, user_id).values()) == {"suspended"}
    assert tenant.get("/v2/stats").json["accounts"] == {"total": 16, "active": 0, "suspended": 16, "disabled": 0}
