"""POST /v2/email-accounts/:id/sessions/end."""

import pytest

from tests.api.rows import last_event, new_events, stored_password
from tests.harness.server import ApiServer, Tenant


def test_it_works(tenant: Tenant, api: ApiServer) -> None:
    account, at = tenant.account(), last_event(tenant)
    id_, password = account["id"], stored_password(tenant, account["id"])
    path = f"/v2/email-accounts/{id_}/sessions/end"
    answer = tenant.post(path, {"user_id": "user_123"})
    shown = {name: account[name] for name in ("id", "domain", "address")}
    assert (answer.status, answer.json) == (200, {"account": shown})
    assert tenant.post(path, {}, fields="sessions_ended,status").json == {
        "account": {"sessions_ended": True, "status": "active"}
    }
    assert [pair for pair in api.ended if pair[0] == id_] == [(id_, 1), (id_, 2)]
    assert stored_password(tenant, id_) == password
    assert new_events(tenant, at) == ["account.signed_out"] * 2
    assert tenant.events(after=at)[0]["data"] == {"address": account["address"], "status": "active"}


def test_a_suspended_account_stays_so(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.put(f"/v2/email-accounts/{id_}", {"status": "suspended"})
    tenant.post(f"/v2/email-accounts/{id_}/sessions/end", {})
    assert tenant.full(id_)["status"] == "suspended"


@pytest.mark.parametrize(
    ("body", "problem"), [({"user_id": None}, "invalid"), ({"user_id": ""}, "invalid"), ({"id": 1}, "unknown")]
)
def test_it_refuses(tenant: Tenant, api: ApiServer, body: object, problem: str) -> None:
    id_, ended = tenant.account()["id"], len(api.ended)
    answer = tenant.post(f"/v2/email-accounts/{id_}/sessions/end", body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert len(api.ended) == ended
