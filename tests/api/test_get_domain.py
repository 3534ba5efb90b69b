"""GET /v2/domains/:domain/info: a domain and its DNS records."""

import pytest

from tests.harness.server import Tenant


def test_it_works(tenant: Tenant) -> None:
    name = tenant.new_domain("bücher.example".encode("idna").decode().replace("example", tenant.domain), "u")
    shown = tenant.get(f"/v2/domains/{name}/info", user_id="u")
    assert shown.status == 200, shown.text
    assert list(shown.json) == ["domain", "dns", "route", "mx"]
    assert shown.json["domain"] == {"domain": name, "status": "active"}
    assert shown.json == tenant.get(f"/v2/domains/{name.upper()}/info", user_id="u").json
    full = tenant.get(f"/v2/domains/{name}/info", user_id="u", fields="user_id,activated_by").json["domain"]
    assert full == {"user_id": "u", "activated_by": "operator"}
    assert tenant.request("HEAD", f"/v2/domains/{name}/info?user_id=u").status == 200


def test_a_platform_domain_is_everybodys(tenant: Tenant) -> None:
    for user in ("u", "v"):
        assert tenant.get(f"/v2/domains/{tenant.domain}/info", user_id=user).status == 200
        key = tenant.new_key(user_id=user)
        assert tenant.get(f"/v2/domains/{tenant.domain}/info", key=key).status == 200


@pytest.mark.parametrize("name", ["nobody-has-this.test", "x", "a..b", "%FF", "192.0.2.1"])
def test_it_refuses(tenant: Tenant, name: str) -> None:
    refused = tenant.get(f"/v2/domains/{name}/info?user_id=u")
    assert (refused.status, refused.code) == ((400, "invalid_request") if name == "%FF" else (404, "not_found"))


def test_the_user_is_needed(tenant: Tenant) -> None:
    assert tenant.get(f"/v2/domains/{tenant.domain}/info").problem("user_id") == "required"
    assert tenant.get(f"/v2/domains/{tenant.domain}/info", user_id="u", fields="no").problem("fields")
