"""Which requests are let in: keys, scopes, and the client's address behind proxies."""

from collections.abc import Mapping

import pytest

from postroom.actor import Actor
from postroom.auth import keys
from postroom.auth.tokens import digest
from postroom.db import Tx
from postroom.settings import Settings
from tests.harness.server import ApiServer, Response, Tenant

PATH = "/v2/email-accounts"


def test_it_works(tenant: Tenant) -> None:
    assert tenant.key.startswith("pr_")
    assert len(tenant.key) == 3 + 43  # 256 bits in base64url
    assert tenant.get(PATH).status == 200
    assert tenant.get(PATH, key=None, headers={"Authorization": f"Bearer {tenant.key}"}).status == 200
    assert tenant.get(PATH, key=None, headers={"AUTHORIZATION": f"bearer  {tenant.key} "}).status == 200
    assert tenant.get(PATH, headers={"Authorization": f"Bearer {tenant.key}"}).status == 200


def test_it_refuses(tenant: Tenant, stranger: Tenant) -> None:
    key = tenant.key
    refused: list[Mapping[str, str]] = [
        {},
        {"x-api-key": ""},
        {"x-api-key": "pr_"},
        {"x-api-key": key[:-1]},
        {"x-api-key": key + "x"},
        {"x-api-key": key.swapcase()},
        {"x-api-key": key.removeprefix("pr_")},
        {"x-api-key": digest(key)},
        {"x-api-key": f"Bearer {key}"},
        {"x-api-key": f"{key},{stranger.key}"},
        {"x-api-key": "x" * 10_000},
        {"x-api-key": "\xe9" * 46},
        {"x-api-key": "' OR 1=1 --"},
        {"Authorization": key},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {key}"},
        {"Authorization": f"Bearer {key}x"},
        {"x-api-key": key, "Authorization": f"Bearer {stranger.key}"},
        {"x-api-key": stranger.key, "Authorization": f"Bearer {key}"},
        {"x-api-key": key, "Authorization": "Bearer wrong"},
        {"cookie": f"x-api-key={key}"},
    ]
    for headers in refused:
        answer = tenant.get(PATH, key=None, headers=headers)
        assert (answer.status, answer.code) == (401, "unauthorized"), headers
        assert answer.headers["www-authenticate"] == 'Bearer realm="postroom"'


def test_never_the_query_string(tenant: Tenant) -> None:
    for name in ("x-api-key", "api_key", "key", "access_token", "Authorization"):
        assert tenant.get(f"{PATH}?{name}={tenant.key}", key=None).status == 401


def test_only_a_hash_is_stored(tenant: Tenant) -> None:
    sql = "SELECT * FROM api_keys WHERE organization_id = :o"
    (row,) = tenant.api.database.write_sync(lambda tx: tx.all(sql, o=tenant.organization_id))
    assert tenant.key not in repr(row)
    assert tenant.key[:10] in row
    assert digest(tenant.key) in row


def test_a_revoked_key_is_refused_at_once_by_every_process(tenant: Tenant, database_url: str) -> None:
    key = tenant.new_key()

    def revoke(tx: Tx) -> None:
        newest = keys.get_all(tx, tenant.organization_id)[-1]
        keys.revoke(tx, Actor(tenant.organization_id), newest.id)

    with ApiServer.start(database_url) as other:
        apis = [tenant.api, other]
        assert [api.request("GET", PATH, key=key).status for api in apis] == [200, 200]
        tenant.api.database.write_sync(revoke)
        assert [api.request("GET", PATH, key=key).status for api in apis] == [401, 401]
    assert tenant.get(PATH).status == 200
    assert tenant.events()[-1]["type"] == "key.revoked"


def test_an_expired_key_is_refused(tenant: Tenant) -> None:
    key = tenant.new_key(expires_at=2**60)
    assert tenant.get(PATH, key=key).status == 200
    sql = "UPDATE api_keys SET expires_at = :now WHERE digest = :digest"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, now=tx.now, digest=digest(key)))
    assert tenant.get(PATH, key=key).status == 401


def test_a_missing_scope_is_named(tenant: Tenant) -> None:
    key = tenant.new_key(scopes=["accounts:read"])
    assert tenant.get(PATH, key=key).status == 200
    refused = tenant.post(f"{PATH}/create", {}, key=key)
    assert (refused.status, refused.code) == (403, "forbidden")
    assert "accounts:write" in refused.json["detail"]
    assert tenant.get(PATH, key=tenant.new_key(scopes=[])).status == 403


def _client_address(server: ApiServer, tenant: Tenant, headers: Mapping[str, str]) -> str:
    """The client address that the audit log records for a request with these headers."""
    body = {"domain": tenant.domain, "local_part": f"n{len(tenant.events())}", "user_id": "u"}
    made: Response = server.request("POST", f"{PATH}/create", body, key=tenant.key, headers=headers)
    assert made.status == 201
    address: str = tenant.events()[-1]["client_address"]
    return address


def test_forwarded_for_counts_only_from_trusted_proxies(tenant: Tenant, database_url: str) -> None:
    spoofed = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7"}
    assert _client_address(tenant.api, tenant, spoofed) == "127.0.0.1"
    with ApiServer.start(database_url, Settings(trusted_proxies="192.0.2.0/24")) as elsewhere:
        assert _client_address(elsewhere, tenant, spoofed) == "127.0.0.1"


# (the X-Forwarded-For, its right-most address that is not a trusted proxy)
FORWARDED = [
    ("203.0.113.7", "203.0.113.7"),
    ("203.0.113.7, 192.0.2.1", "203.0.113.7"),
    ("1.1.1.1, 203.0.113.7, 192.0.2.1,192.0.2.2", "203.0.113.7"),
    ("203.0.113.7, 198.51.100.1, 192.0.2.1", "198.51.100.1"),
    ("2001:db8::1, 192.0.2.1", "2001:db8::1"),
    ("192.0.2.1, 192.0.2.2", "192.0.2.1"),
    ("evil, 203.0.113.7", "203.0.113.7"),
    ("203.0.113.7, evil", "127.0.0.1"),
    ("203.0.113.7, evil, 192.0.2.1", "192.0.2.1"),
    ("", "127.0.0.1"),
    ("<script>", "127.0.0.1"),
    ("203.0.113.7:1234", "127.0.0.1"),
]


def test_the_right_most_untrusted_hop_is_the_client(tenant: Tenant, database_url: str) -> None:
    settings = Settings(trusted_proxies="127.0.0.0/8, 192.0.2.0/24, ::1/128")
    with ApiServer.start(database_url, settings) as server:
        for sent, address in FORWARDED:
            assert _client_address(server, tenant, {"X-Forwarded-For": sent}) == address, sent
        assert _client_address(server, tenant, {}) == "127.0.0.1"


@pytest.mark.parametrize("name", ["x-user-id", "x-organization-id", "x-original-url", "x-rewrite-url"])
def test_headers_that_mean_nothing(tenant: Tenant, stranger: Tenant, name: str) -> None:
    stranger.create()
    assert tenant.get(PATH, headers={name: str(stranger.organization_id)}).json["items"] == []
