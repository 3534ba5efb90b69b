"""Promises for every answer: problem details, headers, and that it repeats nothing that was sent
and shows nothing internal."""

import http.client
import re
from typing import Any

import pytest

from postroom.accounts import commands as accounts
from postroom.api.problems import PROBLEMS
from postroom.errors import Busy
from tests.api.raw import CREATE, PATH, body_for, create_raw
from tests.harness.server import Response, Tenant

LIMIT = 64 * 1024


MARK = "zq9mark"


def test_no_value_that_was_sent_comes_back(tenant: Tenant) -> None:
    sent: list[dict[str, Any]] = [
        {"domain": f"{MARK}"},
        {"domain": f"{MARK}.test"},
        {"domain": f"<{MARK}>.test"},
        {"local_part": f"{MARK}+"},
        {"user_id": f"{MARK}\n"},
        {"display_name": f"{MARK}\n"},
        {"password": MARK},
        {"password": [MARK]},
        {"allow_reserved": MARK},
    ]
    answers = [tenant.create(**fields) for fields in sent]
    id_ = tenant.account()["id"]
    answers += [tenant.put(f"{PATH}/{id_}", body) for body in ({"status": MARK}, {"is_default": MARK}, MARK, [MARK])]
    answers += [tenant.post(f"{PATH}/delete", body) for body in ({"id": MARK}, {"id": id_, "user_id": MARK})]
    answers += [tenant.get(f"{PATH}/{MARK}"), tenant.get(f"/v2/{MARK}"), tenant.get(f"/{MARK}?{MARK}={MARK}")]
    answers += [tenant.get(PATH, **{name: MARK}) for name in ("limit", "offset", "after", "status", "domain", "fields")]
    answers += [tenant.get(f"{PATH}/%00{MARK}"), tenant.get(f"{PATH}?q={MARK}%00"), create_raw(tenant, MARK.encode())]
    answers += [tenant.api.request("GET", PATH, key=MARK), tenant.request(MARK.upper(), PATH)]
    answers += [create_raw(tenant, body_for(tenant, "a"), f"text/{MARK}")]
    for answer in answers:
        assert answer.status >= 400
        assert MARK not in answer.text.lower()
        assert MARK not in repr(answer.headers).lower()


@pytest.mark.parametrize(
    ("status", "ask"),
    [
        (400, lambda t: t.get(PATH, limit=0)),
        (401, lambda t: t.get(PATH, key="pr_wrong")),
        (403, lambda t: t.get(PATH, key=t.new_key(scopes=["stats:read"]))),
        (404, lambda t: t.get(f"{PATH}/999999999")),
        (405, lambda t: t.get(CREATE)),
        (409, lambda t: t.create("postmaster")),
        (413, lambda t: create_raw(t, b"x" * (LIMIT + 1))),
        (415, lambda t: create_raw(t, b"{}", "text/plain")),
    ],
)
def test_problem_details(tenant: Tenant, status: int, ask: Any) -> None:
    answer: Response = ask(tenant)
    problem = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(problem)[:6] == ["type", "title", "status", "detail", "code", "request_id"]
    assert list(problem)[6:8] == ["error", "hint"]
    assert set(problem) - {"errors"} == set(list(problem)[:8])
    assert (problem["error"], problem["hint"]) == (problem["title"], problem["detail"])
    assert answer.status == problem["status"] == status
    assert PROBLEMS[problem["code"]] == (status, problem["title"])
    assert problem["type"] == f"urn:postroom:error:{problem['code']}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["detail"].endswith(".")
    names_a_field = status == 400 or problem["code"] in ("address_exists", "reserved_local_part")
    assert ("errors" in problem) == names_a_field
    for error in problem.get("errors", ()):
        assert list(error) == ["field", "code", "message"]


def test_headers_of_every_answer(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    answers = [
        tenant.get(f"{PATH}/{id_}"),
        tenant.create("b"),
        tenant.create("b"),
        tenant.get("/v2/nothing"),
        tenant.get(CREATE),
        tenant.api.request("GET", PATH),
        tenant.api.request("GET", "/healthz"),
        tenant.api.request("GET", "/openapi.json"),
        tenant.api.request("GET", "/nothing"),
        create_raw(tenant, b"x" * (LIMIT + 1)),
    ]
    for answer in answers:
        assert re.fullmatch(r"[0-9a-f]{24}", answer.headers["x-request-id"])
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        assert "x-powered-by" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


def test_the_callers_request_id_is_not_ours(tenant: Tenant) -> None:
    assert tenant.get(PATH, headers={"x-request-id": "forged"}).headers["x-request-id"] != "forged"


def test_a_busy_database_is_503(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise Busy("The database is busy. Try again.", seconds=3)

    account = tenant.account()
    for name in ("get", "update"):
        monkeypatch.setattr(accounts, name, busy)
    for answer in (tenant.get(f"{PATH}/{account['id']}"), tenant.put(f"{PATH}/{account['id']}", {})):
        assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "3")


def test_an_internal_error_reveals_nothing(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("SELECT secret FROM /etc/passwd")

    account = tenant.account()
    for name in ("get", "update"):
        monkeypatch.setattr(accounts, name, broken)
    for answer in (tenant.get(f"{PATH}/{account['id']}"), tenant.put(f"{PATH}/{account['id']}", {})):
        assert (answer.status, answer.code) == (500, "internal_error")
        assert not re.search("secret|passwd|Traceback|ValueError", answer.text)
        logged = [line for line in log_lines if answer.headers["x-request-id"] in line and "Traceback" in line]
        assert "/etc/passwd" in logged[0]


def test_the_connection_stays_open_after_a_refusal(tenant: Tenant) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", tenant.api.port, timeout=30)
    try:
        for path, status in [(f"{PATH}/x", 404), (PATH, 200), (f"{PATH}?limit=0", 400), (PATH, 200)]:
            connection.request("GET", path, headers={"x-api-key": tenant.key})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    finally:
        connection.close()
