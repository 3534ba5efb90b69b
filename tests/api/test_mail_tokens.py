"""Mail tokens: what they open, for whom, and what ends them. tests/mail/test_mail_tokens.py asks a
real Dovecot."""

from typing import Any

import pytest

from tests.harness.server import Response, Tenant

TOKENS = "/v2/mail-tokens"


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make(tenant: Tenant, user_id: str = "user_123", **fields: Any) -> str:
    made = tenant.post(TOKENS, {"user_id": user_id, **fields})
    assert made.status == 201, made.text
    token: str = made.json["token"]
    return token


def ask(tenant: Tenant, token: str, path: str, **options: Any) -> Response:
    """A request with the token and no key."""
    method = options.pop("method", "GET")
    return tenant.api.request(method, path, options.pop("body", None), headers=bearer(token), **options)


def test_it_works(tenant: Tenant) -> None:
    path = f"/v2/email-accounts/{tenant.account()['id']}"
    made = tenant.post(TOKENS, {"user_id": "user_123"})
    assert (made.status, made.json["scopes"]) == (201, ["messages:read", "messages:write"])
    assert made.json["token"].startswith("mt_")
    token = made.json["token"]
    assert [one["mailbox"] for one in ask(tenant, token, f"{path}/mailboxes").json["items"]] == ["INBOX"]
    synced = ask(tenant, token, "/mail/sync", method="POST", body={"mailbox": "INBOX"})
    assert synced.json == {
        "mailbox": "INBOX",
        "uidvalidity": "1",
        "token": "1.2",
        "changes": {"added": [{"uid": 1}], "updated": [], "removed": []},
    }
    message = ask(tenant, token, "/mail/message", mailbox="INBOX", uid=1).json
    assert (message["uid"], message["flags"], message["rfc822"]) == (1, ["\\Seen"], "Subject: private\r\n\r\nhi\r\n")
    assert message["envelope"]["subject"] == "private"
    assert message["bodyStructure"] == {"type": "text/plain", "part": "1", "encoding": "7bit", "size": 4}
    assert ask(tenant, token, "/mail/attachment", mailbox="INBOX", uid=1, part="2").status == 200
    assert [event["type"] for event in tenant.events()][-2:] == ["mail_token.created", "message.read"]
    assert token not in tenant.get("/v2/events", limit=500).text
