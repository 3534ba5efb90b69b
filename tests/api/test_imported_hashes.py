"""`password_hash` in create and reset, and `password_scheme` of accounts and their lists."""

from typing import Any

import pytest

from tests.api.rows import last_event, new_events, rows, stored_password
from tests.harness.hashes import HASHES, PASSWORD
from tests.harness.server import ApiServer, Tenant

CREATE = "/v2/email-accounts/create"
LIST = "/v2/email-accounts"
RESET = "/v2/email-accounts/{}/password/reset"
NOTE = "The password is the one that the hash was made of. Postroom does not know it."
BCRYPT = "$2y$10$abcdefghijklmnopqrstuuEglhETm4WI6F5Cx.ebuOnzo0nOLUUsO"
OTHER = "$1$saltsalt$AfYEQT3SUP66g0dahANlV1"


def scheme(tenant: Tenant, id_: int) -> Any:
    return tenant.get(f"{LIST}/{id_}", fields="password_scheme").json["account"]["password_scheme"]


def listed(tenant: Tenant, **filters: Any) -> list[str]:
    return [item["address"].partition("@")[0] for item in tenant.get(LIST, **filters).json["items"]]


def test_it_works(tenant: Tenant) -> None:
    made = tenant.create("moved", password_hash=BCRYPT)
    assert made.status == 201, made.text
    id_ = made.json["account"]["id"]
    assert list(made.json) == ["account", "password", "note"]
    assert (made.json["password"], made.json["note"]) == (None, NOTE)
    assert stored_password(tenant, id_) == f"{{BLF-CRYPT}}{BCRYPT}"
    assert scheme(tenant, id_) == "imported"


def test_a_reset(tenant: Tenant, api: ApiServer) -> None:
    """Imports, sets and generates: each reset ends the sessions and says where the password is
    from."""
    id_, before = tenant.account()["id"], last_event(tenant)
    assert scheme(tenant, id_) == "generated"
    done = tenant.post(RESET.format(id_), {"password_hash": OTHER})
    assert (done.status, done.json["password"], done.json["note"]) == (200, None, NOTE)
    assert stored_password(tenant, id_) == f"{{MD5-CRYPT}}{OTHER}"
    assert scheme(tenant, id_) == "imported"
    assert tenant.post(RESET.format(id_), {"password": "a horse beside the lake"}).status == 200
    assert scheme(tenant, id_) == "chosen"
    assert tenant.post(RESET.format(id_), {}).json["password"]
    assert scheme(tenant, id_) == "generated"
    assert [pair for pair in api.ended if pair[0] == id_] == [(id_, 1), (id_, 2), (id_, 3)]
    assert new_events(tenant, before) == ["account.password_reset"] * 3


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"password_hash": ""}, "unknown_scheme"),
        ({"password_hash": "{PLAIN}violet-harbor-sings-42"}, "unknown_scheme"),
        ({"password_hash": f" {BCRYPT}"}, "outer_space"),
        ({"password_hash": BCRYPT[:-1]}, "malformed"),
        ({"password_hash": BCRYPT.replace("$10$", "$13$")}, "too_costly"),
        ({"password_hash": BCRYPT * 5}, "too_long"),
        ({"password_hash": BCRYPT, "password": "a horse beside the lake"}, "exclusive"),
        ({"password_hash": None}, "invalid"),
        ({"password_hash": [BCRYPT]}, "invalid"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_it_refuses(tenant: Tenant, fields: dict[str, Any], code: str) -> None:
    id_ = tenant.account("known")["id"]
    before = rows(tenant)
    for refused in (tenant.create("moved", **fields), tenant.post(RESET.format(id_), fields)):
        assert (refused.status, refused.code) == (400, "invalid_request")
        assert refused.problem("password_hash") == code
        assert BCRYPT[:30] not in refused.text
    assert rows(tenant) == before


def test_a_hash_is_never_shown(tenant: Tenant, log_lines: list[str]) -> None:
    line = len(log_lines)
    made = tenant.create("moved", password_hash=BCRYPT)
    id_ = made.json["account"]["id"]
    tenant.create("moved", password_hash=BCRYPT)  # the address is taken
    reset = tenant.post(RESET.format(id_), {"password_hash": OTHER})
    shown = made.text + reset.text + tenant.get("/v2/events", limit=500).text + "".join(log_lines[line:])
    shown += tenant.get(f"{LIST}/{id_}", fields="*").text + tenant.get(LIST, fields="*").text
    assert "imported" in shown
    for secret in (BCRYPT, BCRYPT[30:], OTHER, OTHER[12:]):
        assert secret not in shown


def test_a_retry(tenant: Tenant) -> None:
    body = {"domain": tenant.domain, "local_part": "moved", "user_id": "user_123", "password_hash": BCRYPT}
    first, second = (tenant.post(CREATE, body, headers={"idempotency-key": "k"}) for _ in range(2))
    assert (first.status, second.status) == (201, 201)
    assert first.json == second.json
    assert second.headers["idempotent-replayed"] == "true"
    other = tenant.post(CREATE, body | {"password_hash": OTHER}, headers={"idempotency-key": "k"})
    assert other.code == "idempotency_key_reused"


def test_lists_by_scheme(tenant: Tenant) -> None:
    tenant.create("a-generated")
    tenant.create("b-chosen", password="a horse beside the lake")
    moved = [
        tenant.create(name, password_hash=text).json["account"]["id"]
        for name, text in zip(("c-moved", "d-moved", "e-moved"), HASHES, strict=False)
    ]
    assert listed(tenant, password_scheme="generated") == ["a-generated"]
    assert listed(tenant, password_scheme="chosen") == ["b-chosen"]
    assert listed(tenant, password_scheme="imported") == ["c-moved", "d-moved", "e-moved"]
    assert listed(tenant, password_scheme="imported", order="newest", limit=2) == ["e-moved", "d-moved"]
    assert listed(tenant, password_scheme="imported", after=moved[0], limit=1) == ["d-moved"]
    assert listed(tenant, password_scheme="imported", offset=1) == ["d-moved", "e-moved"]
    assert listed(tenant, password_scheme="imported", q="e") == ["e-moved"]
    assert listed(tenant, password_scheme="chosen", q="e") == []
    assert listed(tenant, password_scheme="imported", user_id="user_123", domain=tenant.domain)[0] == "c-moved"
    assert listed(tenant, password_scheme="imported", user_id="user_9") == []
    tenant.put(f"{LIST}/{moved[0]}", {"status": "suspended"})
    assert listed(tenant, password_scheme="imported", status="suspended") == ["c-moved"]
    assert listed(tenant, password_scheme="imported", status="active") == ["d-moved", "e-moved"]
    tenant.post("/v2/email-accounts/delete", {"id": moved[1]})
    assert listed(tenant, password_scheme="imported", deleted="true") == ["d-moved"]
    assert listed(tenant, password_scheme="generated", deleted="true") == []
    page = tenant.get(f"/v2/domains/{tenant.domain}/email-accounts", password_scheme="imported", fields="*").json
    assert [(item["local_part"], item["password_scheme"]) for item in page["items"]] == [
        ("c-moved", "imported"),
        ("e-moved", "imported"),
    ]
    assert "total" not in page


def test_a_restored_account_has_its_hash(tenant: Tenant) -> None:
    id_ = tenant.create("moved", password_hash=HASHES[0]).json["account"]["id"]
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    assert tenant.post(f"{LIST}/{id_}/restore", {}).status == 200
    assert stored_password(tenant, id_) == HASHES[0]
    assert scheme(tenant, id_) == "imported"
    assert PASSWORD not in stored_password(tenant, id_)
