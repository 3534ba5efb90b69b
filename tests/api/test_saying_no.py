"""What a refusal tells a newcomer: all faults at once, the probable intention, and the next
step."""

import re

import pytest

from postroom.api import problems
from postroom.api.route import Route
from postroom.api.routes import ROUTES
from tests.harness.server import Tenant

CREATE, LIST, DELETE = "/v2/email-accounts/create", "/v2/email-accounts", "/v2/email-accounts/delete"


def test_all_faults_of_a_body_are_reported_at_once(tenant: Tenant) -> None:
    body = {"domian": tenant.domain, "userId": 3, "colour": "blue", "isDefault": True, "local_part": 7}
    refused = tenant.post(CREATE, body | {"display_name": ["x"]})
    assert (refused.status, refused.code) == (400, "invalid_request")
    told = [(error["field"], error["code"]) for error in refused.json["errors"]]
    assert told == [
        *((name, "unknown_field") for name in ("domian", "userId", "colour", "isDefault")),
        ("domain", "required"),
        ("local_part", "invalid"),
        ("display_name", "invalid"),
    ]
    messages = {error["field"]: error["message"] for error in refused.json["errors"]}
    assert messages["domian"] == "There is no such field: did you mean domain?"
    assert messages["userId"] == "There is no such field: did you mean user_id?"
    assert "blue" not in refused.text


def test_faults_are_told_by_the_names_in_json(tenant: Tenant) -> None:
    path = f"{LIST}/{tenant.account()['id']}/messages"
    refused = tenant.post(f"{path}/send", {"from": 1, "from_": "a@b.cd", "to": 2})
    told = [(error["field"], error["code"]) for error in refused.json["errors"]]
    assert told == [("from_", "unknown_field"), ("from", "invalid"), ("to", "invalid")]
    assert refused.json["errors"][0]["message"] == "There is no such field: did you mean from?"
    (error,) = tenant.put(f"{path}/1.1", {"mailbox": 7}).json["errors"]
    assert (error["field"], error["code"]) == ("mailbox", "invalid")


def test_of_very_many_unknown_fields_the_first_are_reported(tenant: Tenant) -> None:
    refused = tenant.post(CREATE, {f"field{number}": 1 for number in range(4000)})
    assert refused.status == 400
    assert len(refused.json["errors"]) < 30


def test_all_unknown_fields_are_reported_at_once(tenant: Tenant) -> None:
    refused = tenant.get(LIST, fields="id,userId,secret_word,createdAt")
    assert refused.problem("fields") == "unknown_field"
    (error,) = refused.json["errors"]
    wrong = "name 2 (did you mean user_id?), name 3, name 4 (did you mean created_at?)"
    assert error["message"].startswith(f"Not known: {wrong}. Known fields: id, user_id,")
    assert "secret_word" not in refused.text


def test_an_answer_names_the_parameters_that_it_has_ignored(tenant: Tenant) -> None:
    account = tenant.account()
    listed = tenant.get(f"{LIST}?userIds=nobody&limit=5&colour=2&x%0d%0ay=1&userIds=again")
    assert listed.status == 200
    assert listed.headers["x-ignored-parameters"] == "userIds;meant=user_id, #3, #4"
    assert "x-ignored-parameters" not in tenant.get(LIST, user_id="nobody", limit=5).headers
    assert "x-ignored-parameters" not in tenant.get(LIST).headers
    refused = tenant.post(f"{DELETE}?userids=nobody", {"id": 9**17})
    assert (refused.status, refused.headers["x-ignored-parameters"]) == (404, "userids;meant=user_id")
    many = "&".join(f"{'ä' * 50}{number}=1" for number in range(100))
    assert len(tenant.get(f"{LIST}?{many}".replace("ä", "%C3%A4")).headers["x-ignored-parameters"]) < 500
    assert tenant.post(f"{DELETE}?usersid=user_123", {"id": account["id"]}).headers["x-ignored-parameters"]


@pytest.mark.parametrize(
    "name", ["userId", "userid", "USER_ID", "user-id", "User-Id", "u_ser_i_d", "%75serId", "-user_id"]
)
def test_a_near_miss_of_a_parameter_is_refused_with_the_right_name(tenant: Tenant, name: str) -> None:
    """`?userId=` would list the accounts of every user."""
    tenant.account()
    refused = tenant.get(f"{LIST}?{name}=nobody")
    sent = name.replace("%75", "u")
    assert (refused.status, refused.problem(sent)) == (400, "unknown_parameter")
    assert refused.json["errors"][0]["message"] == "There is no such parameter: did you mean user_id?"
    assert "x-ignored-parameters" not in refused.headers


def test_near_misses_are_told_together_with_other_problems(tenant: Tenant) -> None:
    refused = tenant.get(f"{LIST}?Limit=3&userId=x&offset=y&colour=2")
    told = [(error["field"], error["code"]) for error in refused.json["errors"]]
    assert told == [("Limit", "unknown_parameter"), ("userId", "unknown_parameter"), ("offset", "invalid")]
    assert refused.headers["x-ignored-parameters"] == "#4"
    assert tenant.post(f"{DELETE}?userId=user_123", {"id": tenant.account()["id"]}).status == 400


@pytest.mark.parametrize(
    "query", ["_method=DELETE", "api_key=pr_x", "apikey=x", "user=x", "uid=x", "id=7", "utm_source=x"]
)
def test_other_unknown_parameters_are_still_ignored(tenant: Tenant, query: str) -> None:
    listed = tenant.get(f"{LIST}?{query}")
    assert listed.status == 200
    assert "x-ignored-parameters" in listed.headers


def test_what_a_newcomer_tries_first(tenant: Tenant) -> None:
    deleted = tenant.request("DELETE", f"{LIST}/1")
    assert (deleted.status, deleted.headers["allow"]) == (405, "GET, HEAD, PUT")
    assert "/delete" in deleted.json["detail"]
    (error,) = tenant.get("/v2/domains").json["errors"]
    assert (error["field"], error["code"]) == ("user_id", "required")
    assert "every_user=true" in error["message"]
    for name in ("https://customer.com/", "customer.com/x", "ann@customer.com"):
        (error,) = tenant.post("/v2/domain", {"domain": name, "user_id": "u"}).json["errors"]
        assert (error["code"], "the name alone" in error["message"]) == ("invalid_domain", True)


def test_a_create_without_its_domain_says_that_it_is_the_domain(tenant: Tenant) -> None:
    missing = tenant.create(domain="nobody-has-this.test")
    assert (missing.status, missing.code) == (404, "not_found")
    for word in ("domain", "user_id", "GET /v2/domains", "POST /v2/domain"):
        assert word in missing.json["detail"]
    assert tenant.get("/v2/email-account").json["detail"] == problems.NO_PATH


@pytest.mark.parametrize("route", [r for r in ROUTES if "not_found" in r.refuses], ids=lambda r: f"{r.method} {r.path}")
def test_every_404_says_what_to_do(route: Route) -> None:
    assert re.search(r"GET /|POST /|[Ss]end|host name|Ask for", route.missing or "")
