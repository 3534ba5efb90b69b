"""POST /v2/email-accounts/create."""

from tests.server import Tenant

PATH = "/v2/email-accounts/create"


def test_it_works(tenant: Tenant) -> None:
    made = tenant.create("billing", display_name="Billing")
    assert made.status == 201
    account = made.json["account"]
    assert made.headers["location"] == f"/v2/email-accounts/{account['id']}"
    assert list(made.json) == ["account", "password", "note"]
    assert account == {
        "id": account["id"],
        "userId": "user_123",
        "domain": tenant.domain,
        "local_part": "billing",
        "address": f"billing@{tenant.domain}",
        "display_name": "Billing",
        "status": "active",
        "isDefault": True,
    }
    assert made.json["note"] == "Save this password now. It will not be shown again."
