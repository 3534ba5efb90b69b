"""GET /v2/keys."""

from datetime import UTC, datetime

import pytest

from tests.api.test_create_key import FIELDS
from tests.api.test_list_accounts import ids, next_of, walk
from tests.harness.server import Tenant

PATH = "/v2/keys"


def test_it_works(tenant: Tenant) -> None:
    made = tenant.post(PATH, {"name": "second", "user_id": "u", "networks": ["192.0.2.0/24"]}).json["key"]
    listed = tenant.get(PATH)
    assert listed.status == 200
    assert list(listed.json) == ["items", "limit", "offset"]
    assert (listed.json["limit"], listed.json["offset"]) == (50, 0)
    first, second = listed.json["items"]
    assert list(first) == FIELDS
    assert second == made
    assert (first["prefix"], first["domains"], first["parent_id"]) == (tenant.key[:10], None, None)
    today = datetime.now(UTC).isoformat()[:8]
    assert first["created_at"].startswith(today)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "x"), ("offset", "-1"), ("after", "x"), ("user_id", ""), ("user_id", "x" * 129)],
)
def test_it_refuses(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(PATH, **{name: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(name)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_pages(tenant: Tenant, limit: int) -> None:
    for _ in range(4):
        tenant.new_key()
    every = ids(tenant.get(PATH))
    assert len(every) == 5
    assert every == sorted(every)
    assert [id_ for page in walk(tenant, PATH, limit=limit) for id_ in page] == every
    assert ids(tenant.get(PATH, offset=2, limit=2)) == every[2:4]
    assert ids(tenant.get(PATH, after=every[3])) == every[4:]
    past = tenant.get(PATH, offset=2**63 - 1)
    assert (past.status, past.json["items"], next_of(past)) == (200, [], None)
    assert tenant.get(PATH, limit=10**6).json["limit"] == 500


def test_an_expired_key_is_listed_and_a_revoked_one_is_not(tenant: Tenant) -> None:
    expired, revoked = tenant.key_id(tenant.new_key(expires_at=1)), tenant.key_id(tenant.new_key())
    tenant.post(f"{PATH}/delete", {"id": revoked})
    assert ids(tenant.get(PATH)) == [tenant.key_id(tenant.key), expired]
    assert tenant.get(PATH).json["items"][1]["expires_at"] == "1970-01-01T00:00:00.001Z"


def test_by_user(tenant: Tenant) -> None:
    mine, other = tenant.new_key(user_id="u"), tenant.new_key(user_id="v")
    assert ids(tenant.get(PATH, user_id="u")) == [tenant.key_id(mine)]
    assert ids(tenant.get(PATH, user_id="U")) == []
    assert ids(tenant.get(PATH, key=mine)) == [tenant.key_id(mine)]
    assert tenant.get(PATH, key=mine, user_id="v").status == 404
    assert ids(tenant.get(PATH, key=other)) == [tenant.key_id(other)]


def test_a_key_of_domains_sees_those_that_are_as_narrow(tenant: Tenant) -> None:
    first, second, third = tenant.domain, tenant.new_domain(), tenant.new_domain()
    wide = tenant.new_key(domains=[first, second])
    narrow, as_wide = tenant.new_key(domains=[second]), tenant.new_key(domains=[second, first], user_id="u")
    tenant.new_key(domains=[second, third])
    tenant.new_key(domains=[third])
    tenant.new_key(user_id="u")
    assert ids(tenant.get(PATH, key=wide)) == [tenant.key_id(key) for key in (wide, narrow, as_wide)]
    assert ids(tenant.get(PATH, key=narrow)) == [tenant.key_id(narrow)]
    assert ids(tenant.get(PATH, key=as_wide)) == [tenant.key_id(as_wide)]


def test_a_key_whose_domains_are_gone_is_hidden_from_keys_of_domains(tenant: Tenant) -> None:
    tenant.create()
    key = tenant.new_key(domains=[tenant.domain])
    gone = tenant.new_key(domains=[tenant.new_domain()])
    id_ = tenant.key_id(gone)
    tenant.api.database.write_sync(lambda tx: tx.run("DELETE FROM api_key_domains WHERE key_id = :id", id=id_))
    assert ids(tenant.get(PATH, key=key)) == [tenant.key_id(key)]
    assert tenant.get(PATH).json["items"][-1]["domains"] == []
    assert len(tenant.get("/v2/email-accounts", key=key).json["items"]) == 1
    assert tenant.get("/v2/email-accounts", key=gone).json["items"] == []
