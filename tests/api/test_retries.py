"""Idempotency-Key: a write that is sent again is carried out once and gets the same answer, byte
for byte. Every write of the table is tested."""

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from postroom import idempotency
from postroom.accounts import commands as accounts
from postroom.actor import ALL_SCOPES, Actor
from postroom.api.route import PUBLIC, Route
from postroom.api.routes import ROUTES
from postroom.auth import keys
from tests.api.raw import CREATE, PATH, body_for, plain
from tests.api.rows import new_events, opens, rows
from tests.api.test_tenancy import Ask, Thing, asks, name
from tests.harness.server import ApiServer, Response, Tenant

WRITES = [route for route in ROUTES if route.writes]
# These writes record no event with the requests of this file.
QUIET = {
    "POST /v2/users/resume",
    "PUT /v2/domains/:domain/route",
    "POST /v2/email-accounts/:id/restore",
    "POST /v2/domains/:domain/dkim/rotate",
    "POST /v2/webhooks/:id/replay",
}
# These writes need several transactions: tests/api/test_send_message.py kills them at each.
IN_STEPS = {"POST /v2/email-accounts/:id/messages/send"}
# Headers that differ in each answer.
LIVE = {"x-request-id", "date", "ratelimit", "idempotent-replayed"}


@pytest.fixture
def thing(tenant: Tenant) -> Thing:
    """An account, its domain and a key for it. test_tenancy knows the request of each route."""
    domain = tenant.new_domain(user_id="owner")
    account = tenant.account("private", domain=domain, user_id="owner")
    key_id = tenant.key_id(tenant.new_key(user_id="owner", domains=[domain]))
    body = {"domain": domain, "local_part": "private.alias", "user_id": "owner", "account_ids": [account["id"]]}
    alias_id = tenant.post("/v2/email-aliases/create", body).json["alias"]["id"]
    path = f"{PATH}/{account['id']}/app-passwords/create"
    made = tenant.post(path, {"name": "phone", "scopes": ["imap"]}).json["app_password"]["id"]
    hook = {"url": "https://private.example/hook", "events": ["*"], "user_id": "owner"}
    hook_id = tenant.post("/v2/webhooks/create", hook).json["webhook"]["id"]
    return Thing(account["id"], domain, tenant.new_domain(user_id="owner"), key_id, alias_id, made, hook_id)


def send(tenant: Tenant, route: Route, about: Ask, once: str, **options: Any) -> Response:
    return tenant.request(route.method, about[0], about[1], headers={"Idempotency-Key": once}, **options)


def alike(answer: Response) -> tuple[int, dict[str, str], str]:
    return answer.status, {k: v for k, v in answer.headers.items() if k not in LIVE}, answer.text


def is_replay(answer: Response) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


def test_it_works(tenant: Tenant) -> None:
    once = {"Idempotency-Key": str(uuid4())}
    body = {"domain": tenant.domain, "local_part": "billing", "user_id": "u"}
    first = tenant.post(CREATE, body, headers=once)
    second = tenant.post(CREATE, body, headers=once)
    assert (first.status, is_replay(first), is_replay(second)) == (201, False, True)
    assert first.text == second.text
    assert first.headers["location"] == second.headers["location"]
    assert second.headers["cache-control"] == "no-store"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert opens(tenant, first.json["account"]["id"], second.json["password"])
    assert new_events(tenant) == ["account.created"]


def test_it_takes_every_write() -> None:
    others = [name(route) for route in ROUTES if route not in WRITES and route.method != "GET"]
    public = ["POST /setup/look", "POST /setup/accept", "POST /autodiscover/autodiscover.xml"]
    owners = [name(route) for route in ROUTES if route.path.startswith("/v2/me") and route.method != "GET"]
    trials = ["POST /v2/domains/:domain/verify", "POST /v2/webhooks/:id/test"]
    reads = ["POST /v2/email-accounts/:id/messages/sync", "POST /mail/sync"]
    assert sorted(others) == sorted([*trials, *reads, *public, *owners])
    assert all(200 <= route.status < 300 and route.scope != PUBLIC for route in WRITES)


@pytest.mark.parametrize("route", WRITES, ids=name)
def test_every_write_is_carried_out_once(tenant: Tenant, thing: Thing, route: Route) -> None:
    about, once = asks(route, thing)[0], str(uuid4())
    before = len(tenant.events())
    first = send(tenant, route, about, once)
    assert (first.status, is_replay(first)) == (route.status, False), first.text
    after, ended = rows(tenant), len(tenant.api.ended)
    assert len(tenant.events()) > before or name(route) in QUIET
    again = send(tenant, route, about, once)
    assert is_replay(again), again.text
    assert alike(again) == alike(first)
    assert rows(tenant) == after
    # The retry ends the sessions again, in case the process died before it ended them.
    assert tenant.api.ended[ended:] in ([], tenant.api.ended[:ended][ended - len(tenant.api.ended) :])


@pytest.mark.parametrize("route", WRITES, ids=name)
def test_another_request_is_refused(tenant: Tenant, thing: Thing, route: Route) -> None:
    """A request that differs in any byte of its body, query or path is refused, and nothing is
    done."""
    (path, body), once = asks(route, thing)[0], str(uuid4())
    assert send(tenant, route, (path, body), once).status == route.status
    after = rows(tenant)
    others = [
        send(tenant, route, (path, None), once, raw=json.dumps(body).encode() + b" "),
        send(tenant, route, (f"{path}?user_id=owner", body), once),
        send(tenant, route, (path, {"nonsense": 1}), once),
    ]
    others += [send(tenant, r, asks(r, thing)[0], once) for r in WRITES if r is not route]
    assert {(other.status, other.code) for other in others} == {(422, "idempotency_key_reused")}
    assert rows(tenant) == after


@pytest.mark.parametrize("route", WRITES, ids=name)
def test_each_api_key_is_by_itself(tenant: Tenant, stranger: Tenant, thing: Thing, route: Route) -> None:
    about, once = asks(route, thing)[0], str(uuid4())
    first = send(tenant, route, about, once)
    assert first.status == route.status
    mine, theirs = tenant.new_key(), stranger.key
    alone = [tenant.request(route.method, *about, key=key) for key in (theirs,)]
    others = [send(tenant, route, about, once, key=key) for key in (mine, theirs)]
    assert not any(is_replay(other) for other in others)
    # The stranger's first claim of the name succeeds; the second is refused.
    assert others[1].status == (409 if alone[0].status == 201 else alone[0].status)
    assert is_replay(send(tenant, route, about, once))


@pytest.mark.parametrize("route", WRITES, ids=name)
def test_a_key_and_those_that_it_made_are_each_by_themselves(tenant: Tenant, thing: Thing, route: Route) -> None:
    """A key and its children share a rate limit but never an answer, because a child may see less
    than its parent."""
    about, once = asks(route, thing)[0], str(uuid4())
    body = {"scopes": list(ALL_SCOPES)}
    child = tenant.post("/v2/keys", body).json["api_key"]
    grandchild = tenant.post("/v2/keys", body, key=child).json["api_key"]
    family = [child, grandchild, tenant.key]
    assert [is_replay(send(tenant, route, about, once, key=key)) for key in family] == [False] * 3
    assert is_replay(send(tenant, route, about, once, key=child))
    # None of them learns that another key has used the Idempotency-Key for another request.
    once = str(uuid4())
    assert send(tenant, route, about, once, key=child).status != 422
    changed = (f"{about[0]}{'&' if '?' in about[0] else '?'}user_id=owner", about[1])
    assert {send(tenant, route, changed, once, key=key).status == 422 for key in (grandchild, tenant.key)} == {False}


def test_only_the_sender_of_a_request_can_open_its_answer() -> None:
    """Opening a stored answer needs both the Idempotency-Key and the API key."""
    actor = Actor(1, frozenset(), key_id=1)
    tried = [
        idempotency.attempt(actor, credential, once, b"request")
        for credential, once in itertools.product(("pr_a", "pr_b"), (b"1", b"2"))
    ]
    for field in ("name", "secret", "request"):
        assert len({getattr(each, field) for each in tried}) == 4, field


@pytest.mark.parametrize("route", WRITES, ids=name)
def test_a_refusal_frees_the_key(tenant: Tenant, thing: Thing, route: Route) -> None:
    about, once, narrow = asks(route, thing)[0], str(uuid4()), tenant.new_key(scopes=["accounts:read"])
    before = rows(tenant)
    assert send(tenant, route, about, once, key=narrow).code == "forbidden"
    assert send(tenant, route, (about[0], {"nonsense": 1}), once).code == "invalid_request"
    assert rows(tenant) == before
    assert send(tenant, route, about, once).status == route.status


def test_a_refusal_by_the_database_frees_the_key(tenant: Tenant) -> None:
    tenant.set_domain_status(tenant.domain, "suspended")
    once, body = {"Idempotency-Key": "once"}, {"domain": tenant.domain, "local_part": "a", "user_id": "u"}
    before = rows(tenant)
    assert tenant.post(CREATE, body, headers=once).code == "domain_not_active"
    assert rows(tenant) == before
    tenant.set_domain_status(tenant.domain, "active")
    made = tenant.post(CREATE, body, headers=once)
    assert (made.status, is_replay(made)) == (201, False)


def test_a_revoked_key_replays_nothing(tenant: Tenant) -> None:
    key, once = tenant.new_key(), {"Idempotency-Key": "once"}
    body = {"domain": tenant.domain, "local_part": "a", "user_id": "u"}
    assert tenant.post(CREATE, body, headers=once, key=key).status == 201
    assert is_replay(tenant.post(CREATE, body, headers=once, key=key))
    id_ = tenant.key_id(key)
    tenant.api.database.write_sync(lambda tx: keys.revoke(tx, Actor(tenant.organization_id), id_))
    assert tenant.post(CREATE, body, headers=once, key=key).code == "unauthorized"


def test_a_key_that_ends_itself(tenant: Tenant) -> None:
    key = tenant.new_key()
    body, once = {"id": tenant.key_id(key)}, {"Idempotency-Key": "once"}
    assert tenant.post("/v2/keys/delete", body, headers=once, key=key).status == 200
    assert tenant.post("/v2/keys/delete", body, headers=once, key=key).code == "unauthorized"


@pytest.mark.parametrize("sent", ["", '""', "x" * 256, "smörgås", "a\tb"], ids=repr)
def test_it_refuses(tenant: Tenant, sent: str) -> None:
    before = rows(tenant)
    body = body_for(tenant, "a")
    refused = tenant.post(CREATE, raw=body, headers={"Idempotency-Key": sent})
    assert (refused.status, refused.code, refused.problem("Idempotency-Key")) == (400, "invalid_request", "invalid")
    assert rows(tenant) == before
    for method in ("GET", "HEAD"):
        assert tenant.request(method, PATH, headers={"Idempotency-Key": sent}).status == 200


def test_it_refuses_two(tenant: Tenant) -> None:
    headers = ["content-length: 2", "content-type: application/json"]
    status, answer = plain(tenant, "POST", CREATE, "Idempotency-Key: a", "idempotency-key: a", *headers)
    assert status == 400
    assert b'"repeated"' in answer


@pytest.mark.parametrize("sent", ["x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "a b"])
def test_it_takes_what_can_be_meant(tenant: Tenant, sent: str) -> None:
    body = {"domain": tenant.domain, "local_part": "a", "user_id": "u"}
    answers = [tenant.post(CREATE, body, headers={"Idempotency-Key": sent}) for _ in range(2)]
    assert [is_replay(answer) for answer in answers] == [False, True]


def test_reads_ignore_it(tenant: Tenant) -> None:
    account = tenant.account()
    once = {"Idempotency-Key": "once"}
    assert tenant.get(f"{PATH}/{account['id']}", headers=once).status == 200
    tenant.put(f"{PATH}/{account['id']}", {"status": "disabled"}, headers=once)
    shown = tenant.get(f"{PATH}/{account['id']}", fields="status", headers=once)
    assert (shown.json["account"]["status"], is_replay(shown)) == ("disabled", False)


class Died(Exception):
    """Stands for a killed process: nothing of the request happens after it."""


@pytest.mark.parametrize("route", [route for route in WRITES if name(route) not in IN_STEPS], ids=name)
def test_the_answer_is_kept_with_the_change(
    tenant: Tenant, thing: Thing, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies right after the first commit of the request. The answer is already
    stored."""
    about, once, database = asks(route, thing)[0], str(uuid4()), tenant.api.database
    real, cut = database.write, []

    async def write(work: Any, **options: Any) -> Any:
        await real(work, **options)
        cut.append(work)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", write)
        assert send(tenant, route, about, once).status == 500
    after = rows(tenant)
    assert len(cut) == 1
    again = send(tenant, route, about, once)
    assert (again.status, is_replay(again)) == (route.status, True), again.text
    assert rows(tenant) == after
    if "password" in again.json and "account" in again.json:
        id_ = again.json["account"]["id"]
        assert opens(tenant, id_, again.json["password"])


@pytest.fixture
def second(tenant: Tenant, database_url: str) -> Iterator[Tenant]:
    """The same tenant at a second API on the same database."""
    with ApiServer.start(database_url) as other:
        yield Tenant(other, tenant.organization_id, tenant.organization, tenant.domain, tenant.key)


def test_any_process_answers_again(tenant: Tenant, second: Tenant) -> None:
    once, body = {"Idempotency-Key": "once"}, body_for(tenant, "a")
    first, again = (t.post(CREATE, raw=body, headers=once) for t in (tenant, second))
    assert alike(again) == alike(first)
    assert is_replay(again)


@pytest.mark.parametrize("chosen", [{}, {"password": "correct horse battery staple"}], ids=["generated", "chosen"])
def test_at_once_at_two_processes(tenant: Tenant, second: Tenant, chosen: dict[str, str]) -> None:
    """One request is carried out. The others get its answer, or a conflict while it is still
    running."""
    for number in range(4):
        once, body = {"Idempotency-Key": str(uuid4())}, body_for(tenant, f"a{number}", **chosen)
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda t, o=once, b=body: t.post(CREATE, raw=b, headers=o), [tenant, second] * 6)  # type: ignore[misc]
            )
        made = [answer for answer in answers if answer.status == 201]
        assert {answer.code for answer in answers if answer.status != 201} <= {"idempotency_conflict"}
        assert [is_replay(answer) for answer in made].count(False) == 1
        assert len({answer.text for answer in made}) == 1
        assert second.post(CREATE, raw=body, headers=once).text == made[0].text
    assert new_events(tenant) == ["account.created"] * 4


def test_resets_at_once_at_two_processes(tenant: Tenant, second: Tenant) -> None:
    """Only the Idempotency-Key prevents a second reset."""
    id_ = tenant.account()["id"]
    for _ in range(4):
        once = {"Idempotency-Key": str(uuid4())}
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(lambda t, o=once: t.post(f"{PATH}/{id_}/password/reset", {}, headers=o), [tenant, second] * 6)  # type: ignore[misc]
            )
        made = {answer.json["password"] for answer in answers if answer.status == 200}
        assert len(made) == 1
        assert opens(tenant, id_, made.pop())
    assert new_events(tenant).count("account.password_reset") == 4


def test_still_running(tenant: Tenant, second: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request is held inside its transaction. The same process refuses a second request
    at once; another process waits for the outcome."""
    inside, go_on, real = threading.Event(), threading.Event(), accounts.create

    def create(*arguments: Any) -> Any:
        inside.set()
        assert go_on.wait(30)
        return real(*arguments)

    monkeypatch.setattr(accounts, "create", create)
    once, body = {"Idempotency-Key": "once"}, body_for(tenant, "a")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(tenant.post, CREATE, raw=body, headers=once)
        assert inside.wait(30)
        refused = tenant.post(CREATE, raw=body, headers=once)
        elsewhere = pool.submit(second.post, CREATE, raw=body, headers=once)
        go_on.set()
        assert (refused.status, refused.code) == (409, "idempotency_conflict")
        assert first.result().status == 201
        assert elsewhere.result().text == first.result().text
    assert is_replay(elsewhere.result())
    assert new_events(tenant) == ["account.created"]


def test_a_replay_ends_the_sessions(tenant: Tenant) -> None:
    """The first process may have died between its commit and the end of the sessions."""
    id_, once = tenant.account()["id"], {"Idempotency-Key": "once"}
    for _ in range(2):
        tenant.post(f"{PATH}/{id_}/password/reset", {}, headers=once)
    assert tenant.api.ended.count((id_, 1)) == 2
    assert len({generation for account, generation in tenant.api.ended if account == id_}) == 1
