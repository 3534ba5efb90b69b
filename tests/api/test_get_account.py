"""GET /v2/email-accounts/:id."""

import pytest

from tests.harness.server import Tenant

PATH = "/v2/email-accounts/{}"
ALL_FIELDS = [
    "id",
    "user_id",
    "domain",
    "local_part",
    "address",
    "display_name",
    "status",
    "is_default",
    "created_at",
    "updated_at",
    "deleted_at",
    "purge_at",
    "last_login_at",
    "quota_bytes",
    "quota_messages",
    "password_scheme",
    "protocols",
    "main_password",
    "may_send",
    "send_limits",
    "send_blocked_at",
    "aliases",
    "aliases_more",
    "sessions_ended",
]


def test_it_works(tenant: Tenant) -> None:
    made = tenant.create("billing").json["account"]
    got = tenant.get(PATH.format(made["id"]), user_id="user_123")
    assert got.status == 200
    assert list(got.json) == ["account"]
    assert list(got.json["account"].items()) == [
        ("id", made["id"]),
        ("user_id", "user_123"),
        ("domain", tenant.domain),
        ("address", f"billing@{tenant.domain}"),
    ]


IDS = [
    "0",
    "-1",
    "01",
    "1.0",
    "1e3",
    "+1",
    " 1",
    "1%20",
    "%31x",
    "x",
    "９",
    "%EF%BC%99",
    "9223372036854775807",
    "9223372036854775808",
    "1" * 400,
]


@pytest.mark.parametrize("id_", IDS, ids=lambda text: ascii(text)[:20])
def test_it_refuses(tenant: Tenant, id_: str) -> None:
    tenant.create()
    target = PATH.format(id_).replace("９", "%EF%BC%99").replace(" ", "%20")
    refused = tenant.get(target)
    assert (refused.status, refused.code) == (404, "not_found")


@pytest.mark.parametrize("user_id", ["", "x" * 129, "a\nb", "a\0b"], ids=ascii)
def test_it_refuses_a_bad_user(tenant: Tenant, user_id: str) -> None:
    account = tenant.account()
    refused = tenant.get(PATH.format(account["id"]), user_id=user_id)
    assert (refused.status, refused.code) == (400, "invalid_request")


def test_the_user_must_match_when_sent(tenant: Tenant) -> None:
    account = tenant.account(user_id="user_1")
    assert tenant.get(PATH.format(account["id"])).status == 200
    for other in ("user_2", "User_1", "user_1 ", "user_1%"):
        assert tenant.get(PATH.format(account["id"]), user_id=other).status == 404


def test_a_deleted_account_is_not_there(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.post("/v2/email-accounts/delete", {"id": account["id"]})
    assert tenant.get(PATH.format(account["id"])).status == 404


def test_every_status_is_shown(tenant: Tenant) -> None:
    account = tenant.account()
    for status in ("suspended", "disabled", "active"):
        tenant.put(PATH.format(account["id"]), {"status": status})
        assert tenant.get(PATH.format(account["id"]), fields="status").json == {"account": {"status": status}}


def test_it_works_when_the_domain_is_no_longer_active(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.set_domain_status(tenant.domain, "suspended")
    assert tenant.get(PATH.format(account["id"])).status == 200


def test_fields(tenant: Tenant) -> None:
    path = PATH.format(tenant.account(display_name="Zoë")["id"])
    everything = tenant.get(path, fields="*").json["account"]
    assert list(everything) == ALL_FIELDS
    assert everything["display_name"] == "Zoë"
    assert list(tenant.get(path, fields="address,id").json["account"]) == ["address", "id"]
    assert list(tenant.get(path, fields="id, id ,status").json["account"]) == ["id", "status"]


@pytest.mark.parametrize("fields", ["", "zzz", "id,", "id,password", "generation", "userId", "ID", "**", "id;status"])
def test_unknown_fields(tenant: Tenant, fields: str) -> None:
    refused = tenant.get(PATH.format(tenant.account()["id"]), fields=fields)
    assert refused.status == 400
    if fields:
        assert refused.problem("fields") == "unknown_field"
        assert ", ".join(ALL_FIELDS) in refused.json["errors"][0]["message"]


def test_head(tenant: Tenant) -> None:
    path = PATH.format(tenant.account()["id"])
    got, head = tenant.get(path), tenant.request("HEAD", path)
    assert (head.status, head.text) == (200, "")
    assert head.headers["content-length"] == str(len(got.text.encode()))
    assert head.headers["content-type"] == "application/json"
    assert tenant.request("HEAD", PATH.format(9**9)).status == 404
