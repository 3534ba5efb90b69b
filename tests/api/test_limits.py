"""GET and PUT /v2/limits, and how limits are enforced: 409 limit_reached with the limit."""

import threading

import pytest

from postroom.actor import ALL_SCOPES, Actor
from postroom.errors import LimitReached
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from tests.api.rows import rows
from tests.harness.server import Tenant

PATH = "/v2/limits"
NONE = dict.fromkeys(
    ("domains", "accounts", "accounts_per_domain", "aliases_per_account", "quota_bytes", "storage_bytes")
) | {
    "send_limits": dict.fromkeys(
        ("recipients_per_hour", "recipients_per_day", "new_recipients_per_day", "recipients_per_message")
    ),
    "send_limits_total": dict.fromkeys(("recipients_per_hour", "recipients_per_day")),
}


def test_it_works(tenant: Tenant) -> None:
    assert tenant.get(PATH, user_id="u").json == {"user_id": "u", "limits": NONE}
    answer = tenant.put(PATH, {"user_id": "u", "accounts": 2})
    assert answer.status == 200
    assert answer.json == {"user_id": "u", "limits": NONE | {"accounts": 2}}
    assert tenant.get(PATH, user_id="u").json == answer.json
    assert tenant.get(PATH).json == {"user_id": None, "limits": NONE}
    (event,) = (event for event in tenant.events() if event["type"] == "limits.changed")
    assert (event["user_id"], event["data"]) == ("u", NONE | {"accounts": 2})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"accounts": 1}, "user_id"),
        ({"user_id": "u", "accounts": -1}, "accounts"),
        ({"user_id": "u", "domains": "3"}, "domains"),
        ({"user_id": "u", "accounts_per_domain": 2**63}, "accounts_per_domain"),
        ({"user_id": "u", "quota_bytes": 0}, "quota_bytes"),
        ({"user_id": "u", "quota_bytes": 2**44 + 1}, "quota_bytes"),
        ({"user_id": "u", "storage_bytes": -1}, "storage_bytes"),
        ({"user_id": "u", "mails": 1}, "mails"),
        ({"user_id": "", "accounts": 1}, "user_id"),
        ({"user_id": "u", "send_limits": {"recipients_per_hour": -1}}, "send_limits.recipients_per_hour"),
        ({"user_id": "u", "send_limits": None}, "send_limits"),
        ({"user_id": "u", "send_limits_total": {"recipients_per_message": 1}}, "send_limits_total"),
    ],
)
def test_it_refuses(tenant: Tenant, body: dict[str, object], field: str) -> None:
    before = rows(tenant)
    answer = tenant.put(PATH, body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.problem(field)
    assert rows(tenant) == before


def test_an_absent_limit_stays_and_null_lifts_one(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "u", "accounts": 2, "domains": 3})
    assert tenant.put(PATH, {"user_id": "u", "accounts": None}).json["limits"] == NONE | {"domains": 3}
    before = rows(tenant)
    assert tenant.put(PATH, {"user_id": "u", "domains": 3}).status == 200
    assert rows(tenant) == before, "an unchanged limit must write nothing"


def test_a_user_sees_and_never_sets_his_limits(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "u", "accounts": 2})
    key = tenant.new_key(user_id="u", scopes=ALL_SCOPES)
    assert tenant.get(PATH, key=key).json["limits"]["accounts"] == 2
    answer = tenant.put(PATH, {"user_id": "u", "accounts": 100}, key=key)
    assert (answer.status, answer.code) == (403, "forbidden")


def test_a_users_accounts(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "user_123", "accounts": 2})
    first = tenant.account("a")
    tenant.account("b")
    before = rows(tenant)
    refused = tenant.create("c")
    assert (refused.status, refused.code, refused.json["limit"]) == (409, "limit_reached", 2)
    assert refused.problem("accounts") == "limit_reached"
    assert rows(tenant) == before
    assert tenant.create("c", user_id="another").status == 201
    tenant.post("/v2/email-accounts/delete", {"id": first["id"]})
    assert tenant.create("d").status == 201
    tenant.put(PATH, {"user_id": "user_123", "accounts": None})
    assert tenant.create("e").status == 201


def test_disabled_accounts_count(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "user_123", "accounts": 1})
    account = tenant.account("a")
    tenant.put(f"/v2/email-accounts/{account['id']}", {"status": "disabled"})
    assert tenant.create("b").code == "limit_reached"


def test_a_users_accounts_on_one_domain(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "user_123", "accounts_per_domain": 1})
    other = tenant.new_domain()
    assert tenant.create("a").status == 201
    assert tenant.create("a", domain=other).status == 201
    refused = tenant.create("b")
    assert (refused.code, refused.json["limit"]) == ("limit_reached", 1)
    assert refused.problem("accounts_per_domain") == "limit_reached"


def test_the_organization_as_a_whole(tenant: Tenant, stranger: Tenant) -> None:
    _limit_organization(tenant, SetLimits(accounts=2))
    assert tenant.create("a", user_id="one").status == 201
    assert tenant.create("b", user_id="two").status == 201
    assert tenant.create("c", user_id="three").json["limit"] == 2
    assert stranger.create("a").status == 201
    assert tenant.get(PATH).json["limits"]["accounts"] == 2


def test_domains(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "u", "domains": 1})
    tenant.new_domain(user_id="u")
    with pytest.raises(LimitReached) as refused:
        tenant.new_domain(user_id="u")
    assert (refused.value.code, refused.value.limit) == ("limit_reached", 1)
    tenant.new_domain(user_id="another")
    _limit_organization(tenant, SetLimits(domains=3))
    with pytest.raises(LimitReached):
        tenant.new_domain()


def test_many_at_once_never_pass_the_limit(tenant: Tenant) -> None:
    tenant.put(PATH, {"user_id": "user_123", "accounts": 5})
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=number: answers.append(tenant.create(f"a{n}").status)) for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201] * 5 + [409] * 15
    assert tenant.get("/v2/stats").json["accounts"]["total"] == 5


def _limit_organization(tenant: Tenant, command: SetLimits) -> None:
    """Sets limits of the organization, as only the operator can."""
    actor = Actor(tenant.organization_id)
    tenant.api.database.write_sync(lambda tx: limits.change(tx, actor, None, command))
