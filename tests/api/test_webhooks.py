"""The webhook routes on both engines: the noun, its bounds, its secrets and its keys."""

import base64
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from postroom.actor import Actor
from postroom.cluster import digest_keys
from postroom.db import Tx
from postroom.webhooks import secrets, webhooks
from tests.api.rows import rows
from tests.harness.server import KEY, UNLIMITED, ApiServer, Response, Tenant

HOOKS = "/v2/webhooks"
URL = "https://platform.example/hook?token=t0k3n"
FIELDS = [
    *("id", "url", "events", "user_id", "domain", "account_id", "forward_mode", "description", "status"),
    *("disabled_reason", "former_secret_ends_at", "last_success_at", "failing_since", "created_at", "updated_at"),
]
FAIL = """
UPDATE webhooks SET failures = 3, failing_since = 1, probe_at = 2, after_event_id = 0 WHERE id = :id"""
INNER = "SELECT key_id, after_event_id, failures, failing_since, probe_at FROM webhooks WHERE id = :id"


def create(tenant: Tenant, key: str | None = None, **fields: Any) -> Response:
    return tenant.post(f"{HOOKS}/create", {"url": URL, "events": ["*"], **fields}, key=key or tenant.key)


def made(tenant: Tenant, key: str | None = None, **fields: Any) -> int:
    answer = create(tenant, key, **fields)
    assert answer.status == 201, answer.text
    return int(answer.json["webhook"]["id"])


def listed(tenant: Tenant, key: str | None = None, **query: Any) -> list[int]:
    return [item["id"] for item in tenant.get(HOOKS, key=key or tenant.key, **query).json["items"]]


def shown(tenant: Tenant, id_: int) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"{HOOKS}/{id_}").json["webhook"]
    return found


def query(tenant: Tenant, sql: str, **values: Any) -> Any:
    return tenant.api.database.write_sync(lambda tx: tx.one(sql, **values))


def stored(tenant: Tenant, id_: int) -> list[str | None]:
    """The secrets of a webhook, opened."""
    row = query(tenant, "SELECT secret, former_secret FROM webhooks WHERE id = :id", id=id_)
    return [None if sealed is None else secrets.open_sealed(KEY, sealed) for sealed in row]


def said(tenant: Tenant) -> list[tuple[str, dict[str, Any]]]:
    """The events about webhooks, without the id and the host of the webhook."""
    every = [event for event in tenant.events() if event["type"].startswith("webhook.")]
    assert {event["data"].pop("host") for event in every} <= {"platform.example", "other.example"}
    assert all(event["data"].pop("webhook_id") for event in every)
    return [(event["type"].removeprefix("webhook."), event["data"]) for event in every]


def test_it_works(tenant: Tenant) -> None:
    answer = create(tenant, events=["account.*", "domain.lost", "account.*"], description="billing")
    hook, secret = answer.json["webhook"], answer.json["secret"]
    assert list(answer.json) == ["webhook", "secret", "note"]
    assert answer.headers["location"] == f"{HOOKS}/{hook['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert list(hook) == FIELDS
    assert (hook["url"], hook["events"], hook["status"]) == (URL, ["account.*", "domain.lost"], "active")
    assert {hook[name] for name in ("user_id", "domain", "account_id", "disabled_reason", "failing_since")} == {None}
    assert shown(tenant, hook["id"]) == hook
    assert tenant.get(HOOKS).json == {"items": [hook], "limit": 50, "offset": 0}
    assert stored(tenant, hook["id"]) == [secret, None]
    assert secret not in str(rows(tenant, "webhooks"))
    assert said(tenant) == [("created", {"events": ["account.*", "domain.lost"]})]


def test_a_change(tenant: Tenant) -> None:
    id_ = made(tenant, description="billing")
    before = rows(tenant)
    assert tenant.put(f"{HOOKS}/{id_}", {"url": URL, "events": ["*"], "status": "active"}).status == 200
    assert rows(tenant) == before  # nothing to change
    changed = tenant.put(f"{HOOKS}/{id_}", {"events": ["key.*"], "description": None}).json["webhook"]
    assert (changed["url"], changed["events"], changed["description"]) == (URL, ["key.*"], None)
    assert shown(tenant, id_) == changed
    query(tenant, FAIL + " RETURNING id", id=id_)
    tenant.put(f"{HOOKS}/{id_}", {"events": ["*"]})
    assert query(tenant, INNER, id=id_)[2:] == (3, 1, 2)
    assert tenant.put(f"{HOOKS}/{id_}", {"url": "https://other.example/"}).json["webhook"]["failing_since"] is None
    assert query(tenant, INNER, id=id_)[1:] == (0, 0, None, None)  # the other URL has not failed
    assert [data["changed"] for type_, data in said(tenant) if type_ == "updated"] == [
        ["events", "description"],
        ["events"],
        ["url"],
    ]


def test_a_disabled_webhook_is_made_active(tenant: Tenant) -> None:
    id_ = made(tenant)
    query(tenant, FAIL + " RETURNING id", id=id_)

    def disable(tx: Tx) -> bool:
        return webhooks.disable(tx, Actor(tenant.organization_id), id_, "failing")

    assert [tenant.api.database.write_sync(disable) for _ in range(2)] == [True, False]
    found = shown(tenant, id_)
    assert (found["status"], found["disabled_reason"]) == ("disabled", "failing")
    tenant.create()
    newest = tenant.events()[-1]["id"]
    found = tenant.put(f"{HOOKS}/{id_}", {"status": "active"}).json["webhook"]
    assert (found["status"], found["disabled_reason"], found["failing_since"]) == ("active", None, None)
    # What happened while it was disabled is not for it.
    assert query(tenant, INNER, id=id_)[1:] == (newest, 0, None, None)
    assert said(tenant)[1:] == [
        ("disabled", {"reason": "failing"}),
        ("updated", {"changed": ["status"], "events": ["*"]}),
    ]


def test_a_new_secret(tenant: Tenant) -> None:
    first = create(tenant).json
    id_ = first["webhook"]["id"]
    answer = tenant.post(f"{HOOKS}/{id_}/secret/rotate", {})
    assert (answer.status, list(answer.json)) == (200, ["webhook", "secret", "note"])
    assert answer.json["webhook"]["former_secret_ends_at"] > answer.json["webhook"]["updated_at"]
    assert stored(tenant, id_) == [answer.json["secret"], first["secret"]]
    third = tenant.post(f"{HOOKS}/{id_}/secret/rotate", {}).json["secret"]
    assert stored(tenant, id_) == [third, answer.json["secret"]]
    assert said(tenant)[1:] == [("secret_rotated", {})] * 2
    assert shown(tenant, id_)["former_secret_ends_at"]
    query(tenant, "UPDATE webhooks SET former_until = 1 WHERE id = :id RETURNING id", id=id_)
    assert shown(tenant, id_)["former_secret_ends_at"] is None  # it signs no more


def test_a_deleted_webhook_is_gone(tenant: Tenant) -> None:
    id_ = made(tenant)
    answer = tenant.post(f"{HOOKS}/delete", {"id": id_})
    assert answer.json == {"ok": True, "deleted": {"id": id_, "url": URL}}
    assert rows(tenant, "webhooks") == listed(tenant) == []
    assert tenant.post(f"{HOOKS}/delete", {"id": id_}).code == tenant.get(f"{HOOKS}/{id_}").code == "not_found"
    assert said(tenant)[1:] == [("deleted", {})]
    assert made(tenant) > id_


def test_pages(tenant: Tenant) -> None:
    ids = [made(tenant) for _ in range(3)]
    answer = tenant.get(HOOKS, limit=2)
    assert [item["id"] for item in answer.json["items"]] == ids[:2]
    link = answer.headers["link"].partition(">")[0].removeprefix("<")
    assert [item["id"] for item in tenant.get(link).json["items"]] == ids[2:]
    assert listed(tenant, offset=1, limit=1) == ids[1:2]


def test_a_key_of_a_user(tenant: Tenant) -> None:
    """Its webhooks are the user's, and it sees no others."""
    domain = tenant.new_domain(user_id="owner")
    account = tenant.account("a", domain=domain, user_id="owner")["id"]
    foreign = tenant.account("b", user_id="other")["id"]
    others = [made(tenant), made(tenant, user_id="other")]
    key = tenant.new_key(user_id="owner")
    own = [made(tenant, key), made(tenant, key, domain=domain, account_id=account), made(tenant, user_id="owner")]
    assert [shown(tenant, id_)["user_id"] for id_ in own] == ["owner"] * 3
    assert listed(tenant, key) == listed(tenant, user_id="owner") == own
    assert listed(tenant) == sorted([*others, *own])
    for fields in ({"user_id": "other"}, {"account_id": foreign}, {"domain": "nobody.example"}):
        assert create(tenant, key, **fields).code == "not_found", fields
    assert create(tenant, account_id=account, domain=tenant.domain).code == "not_found"  # it is on the other domain


def test_who_may_not_read_events_sends_none(tenant: Tenant) -> None:
    id_ = made(tenant)
    before = shown(tenant, id_)
    key = tenant.new_key(scopes=["webhooks:read", "webhooks:write"])
    assert create(tenant, key).status == 403
    for change in ({"url": f"{URL}2"}, {"events": ["key.created"]}):
        refused = tenant.put(f"{HOOKS}/{id_}", change, key=key)
        assert (refused.status, "events:read" in refused.json["detail"]) == (403, True)
    assert shown(tenant, id_) == before
    assert tenant.put(f"{HOOKS}/{id_}", {"description": "ours"}, key=key).status == 200


SINCE = "SELECT messages_since FROM webhooks WHERE id = :id"


def test_mail_needs_a_scope_of_its_own(tenant: Tenant) -> None:
    """No pattern means mail, and a key that may not read mail sends none."""
    both = ["webhooks:read", "webhooks:write", "events:read"]
    key, reader = tenant.new_key(scopes=both), tenant.new_key(scopes=[*both, "messages:read"])
    refused = create(tenant, key, events=["message.received"])
    assert (refused.status, "messages:read" in refused.json["detail"]) == (403, True)
    every = made(tenant, key, events=["*", "message.*"])
    assert query(tenant, SINCE, id=every) == (None,)
    assert tenant.put(f"{HOOKS}/{every}", {"events": ["message.received"]}, key=key).status == 403
    id_ = made(tenant, reader, events=["account.*", "message.received"])
    assert shown(tenant, id_)["events"] == ["account.*", "message.received"]
    for change in ({"url": f"{URL}2"}, {"events": ["message.received"]}):
        assert tenant.put(f"{HOOKS}/{id_}", change, key=key).status == 403
    assert tenant.put(f"{HOOKS}/{id_}", {"description": "ours"}, key=key).status == 200
    # Without mail, the key may change the webhook only together with the loss of it.
    assert tenant.put(f"{HOOKS}/{id_}", {"events": ["account.*"]}, key=key).status == 200


def test_a_webhook_gets_the_mail_from_now_on(tenant: Tenant) -> None:
    """From its creation, from the change that names mail, and from the end of a disabling."""

    def since(id_: int) -> int | None:
        found: int | None = query(tenant, SINCE, id=id_)[0]
        return found

    def forget(id_: int) -> None:
        tenant.api.database.write_sync(
            lambda tx: tx.run("UPDATE webhooks SET messages_since = 1 WHERE id = :id", id=id_)
        )

    id_ = made(tenant, events=["message.received"])
    assert since(id_) == query(tenant, "SELECT created_at FROM webhooks WHERE id = :id", id=id_)[0]
    forget(id_)
    path = f"{HOOKS}/{id_}"
    tenant.put(path, {"url": f"{URL}2", "events": ["message.received", "key.*"]})
    assert since(id_) == 1
    tenant.put(path, {"events": ["key.*"]})
    assert since(id_) is None
    tenant.put(path, {"events": ["message.received"]})
    assert (since(id_) or 0) > 1
    forget(id_)
    actor = Actor(tenant.organization_id)
    tenant.api.database.write_sync(lambda tx: webhooks.disable(tx, actor, id_, "gone"))
    tenant.put(path, {"status": "active"})
    assert (since(id_) or 0) > 1


def test_a_key_of_domains(tenant: Tenant) -> None:
    """It must name one of its domains, also beside an account, and sees only webhooks of these."""
    domain, other = tenant.new_domain(), tenant.new_domain()
    account = tenant.account("a", domain=domain, user_id="u")["id"]
    others = [made(tenant), made(tenant, domain=other)]
    key = tenant.new_key(domains=[domain])
    own = [made(tenant, key, domain=domain), made(tenant, key, domain=domain, account_id=account)]
    assert listed(tenant, key) == own
    assert [shown(tenant, id_)["domain"] for id_ in own] == [domain] * 2
    for fields in ({}, {"account_id": account}, {"user_id": "u"}):
        assert create(tenant, key, **fields).problem("domain") == "required", fields
    assert create(tenant, key, domain=other).code == "not_found"
    assert {tenant.get(f"{HOOKS}/{id_}", key=key).code for id_ in others} == {"not_found"}
    assert tenant.post("/v2/domains/delete", {"domain": other, "user_id": "u"}).status == 200
    assert shown(tenant, others[1])["domain"] == other  # it stays, and gets nothing more


REFUSED: dict[str, list[Any]] = {
    "url": [
        *("", "platform.example", "ftp://platform.example/", "//platform.example/", "https:platform.example"),
        *("https://", "https:///hook", "https://u@platform.example/", "https://u:p@platform.example/"),
        *("https://platform.example:0/", "https://platform.example:65536/", "https://platform.example:x/"),
        *("https://platform.example/" + "x" * 2048, "https://platform.example/a b", "https://bücher.example/"),
        *("https://platform.example\\@evil.example/", "https://platform.example/#x", "https://a..b@c/", "https://[::1"),
        *("http://platform.example/", "http://127.0.0.1/", "http://localhost/", "https://localhost:8443/"),
        *(
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://[fe80::1]/",
            "https://169.254.169.254/",
        ),
        *("https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://[::ffff:127.0.0.1]/", "https://[x]/"),
    ],
    "events": [[], ["message.invented"], ["account.invented"], ["account."], ["acc*"], ["*.*"], [""], ["*"] * 101],
    "description": ["x" * 256, "a\nb"],
    "status": ["disabled", "Active", ""],
}


@pytest.mark.parametrize("field", REFUSED)
def test_it_refuses(tenant: Tenant, field: str) -> None:
    path = f"{HOOKS}/{made(tenant)}"
    before = rows(tenant)
    for value in REFUSED[field]:
        answers = [tenant.put(path, {field: value})]
        answers += [create(tenant, **{field: value})] if field != "status" else []
        for answer in answers:
            assert (answer.status, answer.code) == (400, "invalid_request"), (value, answer.text)
            assert answer.json["errors"][0]["field"].startswith(field), value
    assert rows(tenant) == before


@pytest.fixture
def private(database_url: str) -> Iterator[ApiServer]:
    with ApiServer.start(database_url, msgspec.structs.replace(UNLIMITED, webhook_allow="private")) as server:
        yield server


def test_private_urls_are_a_setting(tenant: Tenant, private: ApiServer) -> None:
    refused = ["http://platform.example/", "http://93.184.215.14/", "http://u@localhost/", "http://localhost.example/"]
    taken = ["http://127.0.0.1:8080/x", "http://localhost/", "http://[::1]:81/", "https://10.0.0.1/", URL]
    for url, status in [*((url, 400) for url in refused), *((url, 201) for url in taken)]:
        body = {"url": url, "events": ["*"]}
        assert private.request("POST", f"{HOOKS}/create", body, key=tenant.key).status == status, url


def test_a_limit(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST", 4)
    monkeypatch.setattr(webhooks, "MOST_BOUND", 1)
    made(tenant, user_id="one")
    first = create(tenant, user_id="one")
    made(tenant, domain=tenant.domain, user_id="two")
    second = create(tenant, domain=tenant.domain)
    ids = [made(tenant), made(tenant)]
    third = create(tenant)
    for answer, name, limit in (
        (first, "webhooks_of_a_user", 1),
        (second, "webhooks_of_a_domain", 1),
        (third, "webhooks", 4),
    ):
        assert (answer.code, answer.json["limit"], answer.problem(name)) == ("limit_reached", limit, "limit_reached")
        assert "delete one" in answer.json["detail"]
    tenant.post(f"{HOOKS}/delete", {"id": ids[0]})
    made(tenant)


def test_a_revoked_key_disables_its_webhooks(tenant: Tenant) -> None:
    """Also those of the keys that it made, and those that it gave another URL or made active."""
    maker, other = tenant.new_key(), tenant.new_key()
    child = tenant.post("/v2/keys", {}, key=maker).json["api_key"]
    own = [made(tenant, maker), made(tenant, child), made(tenant, other), made(tenant, other)]
    kept = [made(tenant, other), made(tenant, maker)]
    tenant.put(f"{HOOKS}/{own[2]}", {"url": "https://other.example/"}, key=maker)
    tenant.api.database.write_sync(lambda tx: webhooks.disable(tx, Actor(tenant.organization_id), own[3], "gone"))
    tenant.put(f"{HOOKS}/{own[3]}", {"status": "active"}, key=maker)
    tenant.put(f"{HOOKS}/{kept[0]}", {"events": ["key.*"]}, key=maker)
    tenant.put(f"{HOOKS}/{kept[1]}", {"url": "https://other.example/"}, key=other)
    assert tenant.post("/v2/keys/delete", {"id": tenant.key_id(maker)}).status == 200
    assert {shown(tenant, id_)["disabled_reason"] for id_ in own} == {"key_revoked"}
    assert {shown(tenant, id_)["status"] for id_ in kept} == {"active"}
    assert said(tenant)[-4:] == [("disabled", {"reason": "key_revoked"})] * 4
    before = rows(tenant, "webhooks")
    assert tenant.post("/v2/keys/delete", {"id": tenant.key_id(other), "keep_webhooks": True}).status == 200
    assert rows(tenant, "webhooks") == before


def test_a_host_with_another_key_makes_none(tenant: Tenant) -> None:
    """Other hosts could not open the secret. The key is not replaced while there is a webhook."""
    id_ = made(tenant)
    own = query(tenant, digest_keys.GET)[0]
    query(tenant, "DELETE FROM app_passwords RETURNING id")
    tenant.api.database.write_sync(lambda tx: digest_keys.claim(tx, "another"))
    assert query(tenant, digest_keys.GET) == (own,)
    set_key = "UPDATE digest_keys SET fingerprint = :other RETURNING id"
    query(tenant, set_key, other="another")
    try:
        before = rows(tenant)
        assert create(tenant).code == tenant.post(f"{HOOKS}/{id_}/secret/rotate", {}).code == "not_available"
        assert rows(tenant) == before
    finally:
        query(tenant, set_key, other=own)


def test_sealed_with_another_key() -> None:
    sealed = secrets.seal("0" * 64, "whsec_x")
    assert sealed != secrets.seal("0" * 64, "whsec_x")
    assert secrets.open_sealed("0" * 64, sealed) == "whsec_x"
    for key, text in (("1" * 64, sealed), ("0" * 64, sealed[:-4] + "AAAA"), ("0" * 64, "x" * 40)):
        with pytest.raises(ValueError):
            secrets.open_sealed(key, text)
