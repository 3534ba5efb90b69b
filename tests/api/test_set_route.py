"""PUT /v2/domains/:domain/route: how inbound mail is handled."""

import base64
from typing import Any

import pytest

from postroom.webhooks import secrets
from tests.api.rows import rows
from tests.harness.server import KEY, Tenant

URL = "https://platform.example/mail?token=t0k3n"
SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()


def put(tenant: Tenant, name: str, key: str | None = None, **fields: Any) -> Any:
    body = {"user_id": "u", "forward_mode": "webhook_then_store", **fields}
    return tenant.put(f"/v2/domains/{name}/route", body, key=key or tenant.key)


def shown(tenant: Tenant, name: str) -> Any:
    return tenant.get(f"/v2/domains/{name}/info", user_id="u").json["route"]


def stored(tenant: Tenant) -> list[Any]:
    sql = "SELECT url, secret, status, key_id FROM webhooks WHERE organization_id = :id"
    found = tenant.api.database.write_sync(lambda tx: tx.all(sql, id=tenant.organization_id))
    return [(url, secrets.open_sealed(KEY, sealed), *rest) for url, sealed, *rest in found]


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


def test_a_url(tenant: Tenant) -> None:
    """The secret is made and shown once; a repetition changes nothing, and `store` ends it."""
    name = tenant.new_domain(user_id="u")
    route = {"domain": name, "forward_mode": "webhook_then_store", "webhook_url": URL}
    first = put(tenant, name, webhook_url=URL)
    assert first.status == 200, first.text
    secret = first.json["webhook_secret"]
    assert first.json == {"domain": {"domain": name, "status": "active"}, "route": route, "webhook_secret": secret}
    assert shown(tenant, name) == route
    key_id = tenant.key_id(tenant.key)
    assert stored(tenant) == [(URL, secret, "active", key_id)]
    assert "webhook_secret" not in put(tenant, name, webhook_url=URL).json
    assert put(tenant, name).json["route"] == route
    assert stored(tenant) == [(URL, secret, "active", key_id)]
    assert "webhook_secret" not in put(tenant, name, webhook_secret=SECRET, webhook_url=f"{URL}2").json
    assert stored(tenant) == [(f"{URL}2", SECRET, "active", key_id)]
    (made,) = tenant.get("/v2/webhooks").json["items"]
    assert (made["forward_mode"], made["domain"], made["user_id"], made["events"]) == (
        "webhook_then_store",
        name,
        "u",
        ["message.received"],
    )
    assert put(tenant, name, forward_mode="store").json["route"] == {"domain": name, "forward_mode": "store"}
    assert stored(tenant) == []
    said = [event["data"] for event in tenant.events(type="domain.route_changed")]
    on = {"domain": name, "forward_mode": "webhook_then_store", "host": "platform.example"}
    assert said == [on, on, {"domain": name, "forward_mode": "store"}]
    assert "t0k3n" not in str(said)


def test_no_mail_is_kept(tenant: Tenant) -> None:
    """Nothing that an organization sees counts or lists the hidden account, and it has no part in
    the limits, nor keeps a domain from being deleted."""
    name = tenant.new_domain(user_id="u")
    tenant.put("/v2/limits", {"accounts": 0})
    paths = ("/v2/stats", "/v2/stats?user_id=u", "/v2/email-accounts", "/v2/email-accounts?deleted=true", "/v2/limits")
    before = [tenant.get(path).json for path in paths]
    route = put(tenant, name, forward_mode="webhook", webhook_url=URL).json["route"]
    assert route == shown(tenant, name) == {"domain": name, "forward_mode": "webhook", "webhook_url": URL}
    assert put(tenant, name, forward_mode="webhook").status == 200
    assert [tenant.get(path).json for path in paths] == before
    sql = "SELECT account_id FROM hidden_accounts WHERE organization_id = :id"
    ((hidden,),) = tenant.api.database.write_sync(lambda tx: tx.all(sql, id=tenant.organization_id))
    assert [event["type"] for event in tenant.events(account_id=str(hidden))] == []
    assert put(tenant, name).json["route"]["forward_mode"] == "webhook_then_store"
    assert tenant.post("/v2/domains/delete", {"domain": name, "user_id": "u"}).status == 200


def test_only_the_route_changes_its_webhook(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    put(tenant, name, webhook_url=URL)
    (made,) = tenant.get("/v2/webhooks").json["items"]
    path = f"/v2/webhooks/{made['id']}"
    before = stored(tenant)
    for answer in (
        tenant.put(path, {"url": "https://evil.example/"}),
        tenant.put(path, {"events": ["*"]}),
        tenant.post(f"{path}/secret/rotate", {}),
    ):
        assert (answer.status, answer.code) == (409, "webhook_of_route")
    assert stored(tenant) == before
    assert tenant.put(path, {"description": "ours"}).status == 200
    assert tenant.post("/v2/webhooks/delete", {"id": made["id"]}).status == 200
    assert shown(tenant, name) == {"domain": name, "forward_mode": "store"}


def test_mail_needs_a_scope_of_its_own(tenant: Tenant) -> None:
    """A key without it only ends a route. A route ends with its key, and another PUT begins it."""
    name = tenant.new_domain(user_id="u")
    key, reader = (tenant.new_key(scopes=["domains:write", *more]) for more in ((), ("messages:read",)))
    assert put(tenant, name, key, webhook_url=URL).status == 403
    assert put(tenant, name, reader, webhook_url=URL).status == 200
    assert put(tenant, name, key, webhook_url=f"{URL}2").status == 403
    assert tenant.post("/v2/keys/delete", {"id": tenant.key_id(reader)}).status == 200
    ((*_, status, _),) = stored(tenant)
    assert status == "disabled"
    assert put(tenant, name).status == 200
    ((*_, status, key_id),) = stored(tenant)
    assert (status, key_id) == ("active", tenant.key_id(tenant.key))
    assert put(tenant, name, key, forward_mode="store").status == 200


def test_events_from_before_the_route_are_not_read(tenant: Tenant) -> None:
    """A new route begins at the newest event of its organization, as does one that was disabled."""

    def one(sql: str) -> int:
        found: int = tenant.api.database.write_sync(lambda tx: tx.all(sql, id=tenant.organization_id)[0][0])
        return found

    after = "SELECT after_event_id FROM webhooks WHERE organization_id = :id"
    newest = "SELECT MAX(id) FROM events WHERE organization_id = :id"
    name, key = tenant.new_domain(user_id="u"), tenant.new_key()
    before = one(newest)
    assert put(tenant, name, key, webhook_url=URL).status == 200
    assert one(after) == before
    assert put(tenant, name, key, webhook_url=f"{URL}2").status == 200
    assert one(after) == before
    assert tenant.post("/v2/keys/delete", {"id": tenant.key_id(key)}).status == 200
    before = one(newest)
    assert put(tenant, name).status == 200
    assert one(after) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"user_id": "u"}, "forward_mode"),
        ({"forward_mode": "store"}, "user_id"),
        ({"user_id": "u", "forward_mode": "forward"}, "forward_mode"),
        ({"user_id": "u", "forward_mode": None}, "forward_mode"),
        ({"user_id": "u", "forward_mode": "store", "mode": "x"}, "mode"),
        ({"user_id": "u", "forward_mode": "store", "webhook_url": URL}, "webhook_url"),
        ({"user_id": "u", "forward_mode": "store", "webhook_secret": SECRET}, "webhook_secret"),
        ({"user_id": "u", "forward_mode": "webhook_then_store"}, "webhook_url"),
        *(
            ({"user_id": "u", "forward_mode": "webhook_then_store", "webhook_url": url}, "webhook_url")
            for url in (
                "http://platform.example/",
                "https://127.0.0.1/",
                "https://169.254.169.254/",
                "ftp://x.example/",
                "",
            )
        ),
        *(
            (
                {"user_id": "u", "forward_mode": "webhook_then_store", "webhook_url": URL, "webhook_secret": secret},
                "webhook_secret",
            )
            for secret in (
                "",
                "s",
                "whsec_",
                "whsec_!",
                SECRET[6:],
                f"{SECRET}=",
                "whsec_" + "A" * 28,
                "whsec_" + "A" * 88,
            )
        ),
    ],
)
def test_it_refuses(tenant: Tenant, body: Any, field: str) -> None:
    refused = tenant.put(f"/v2/domains/{tenant.new_domain(user_id='u')}/route", body)
    assert refused.status == 400
    assert refused.problem(field)
    assert stored(tenant) == []


def test_a_platform_domain(tenant: Tenant) -> None:
    for fields in ({"forward_mode": "store"}, {"forward_mode": "webhook_then_store", "webhook_url": URL}):
        body = {"user_id": "u", **fields}
        path = f"/v2/domains/{tenant.domain}/route"
        assert tenant.put(path, body).status == 200
        for bound in ({"user_id": "u"}, {"domains": [tenant.domain]}):
            assert tenant.put(path, body, key=tenant.new_key(**bound)).code == "forbidden"  # type: ignore[arg-type]


@pytest.mark.parametrize("bound", [{"user_id": "u"}, {"user_id": "u", "domains": True}], ids=["user", "both"])
def test_a_user_does_not_see_where_a_platform_domain_sends_mail(tenant: Tenant, bound: dict[str, Any]) -> None:
    """As in the list of webhooks. A user's own domain shows its URL."""
    own = tenant.new_domain(user_id="u")
    names = (tenant.domain, own)
    key = tenant.new_key(**bound | ({"domains": names} if "domains" in bound else {}))
    for name in names:
        assert put(tenant, name, webhook_url=URL).status == 200
    route = {"domain": tenant.domain, "forward_mode": "webhook_then_store"}
    path = f"/v2/domains/{tenant.domain}"
    assert tenant.get(f"{path}/info", user_id="u", key=key).json["route"] == route
    assert tenant.post(f"{path}/verify", {"user_id": "u"}, key=key).json["route"] == route
    seen = tenant.get(f"/v2/domains/{own}/info", user_id="u", key=key).json["route"]
    assert shown(tenant, tenant.domain)["webhook_url"] == seen["webhook_url"] == URL
    (webhook,) = tenant.get("/v2/webhooks", key=key).json["items"]
    assert webhook["domain"] == own


def test_a_foreign_route(tenant: Tenant, stranger: Tenant) -> None:
    name = tenant.new_domain(user_id="u")
    put(tenant, name, webhook_url=URL)
    before = stored(tenant)
    assert put(stranger, name, webhook_url="https://evil.example/").code == "not_found"
    assert put(tenant, name, user_id="v", webhook_url="https://evil.example/").code == "not_found"
    assert stored(tenant) == before
