"""GET /v2/email-accounts/:id/usage and …/sessions: what the API answers for given results of
Dovecot. tests/mail/test_mailbox.py asks a real Dovecot."""

from collections.abc import Iterator

import pytest

from postroom.errors import MailUnavailable, Refused
from postroom.mailboxes.interface import OpenSession, Usage
from tests.harness.server import ApiServer, Tenant, Told


@pytest.fixture
def told(api: ApiServer) -> Iterator[Told]:
    yield api.mailboxes
    api.mailboxes.problem, api.mailboxes.size, api.mailboxes.open = None, Usage(0, 0), []


def test_it_works(tenant: Tenant, told: Told) -> None:
    account = tenant.account()
    path, who = f"/v2/email-accounts/{account['id']}", {"id": account["id"], "address": account["address"]}
    told.size = Usage(2048, 3)
    told.open = [OpenSession("imap", "192.0.2.7"), OpenSession("imap", "2001:db8::1")]
    quotas = {"quota_bytes": None, "quota_messages": None, "over_quota": False}
    sizes = {"used_bytes": 2048, "messages": 3, "forwards_by_script": False}
    usage = tenant.get(f"{path}/usage").json
    assert usage.pop("sent")["recipients_today"] == 0
    assert usage == {**who, **sizes, **quotas}
    assert tenant.get(f"{path}/sessions", user_id="user_123").json == {
        **who,
        "sessions": [
            {"protocol": "imap", "client_address": "192.0.2.7"},
            {"protocol": "imap", "client_address": "2001:db8::1"},
        ],
    }
    assert told.asked[-2:] == [account["id"]] * 2


@pytest.mark.parametrize("what", ["usage", "sessions"])
def test_it_refuses(tenant: Tenant, told: Told, what: str) -> None:
    account = tenant.account()
    path = f"/v2/email-accounts/{account['id']}/{what}"
    told.problem = MailUnavailable("Dovecot does not answer now. Try again.", 5)
    answer = tenant.get(path)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "mail_unavailable", "5")
    told.problem = Refused("mail_off", "This instance runs without mail.")
    answer = tenant.get(path)
    assert (answer.status, answer.code) == (409, "mail_off")
    assert "retry-after" not in answer.headers
    told.problem = None
    tenant.post("/v2/email-accounts/delete", {"id": account["id"]})
    asked = len(told.asked)
    assert tenant.get(path).code == "not_found"
    assert tenant.get(path, user_id="").problem("user_id")
    assert len(told.asked) == asked
