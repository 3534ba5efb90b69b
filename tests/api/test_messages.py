"""The routes that read messages, for given results of Dovecot. tests/mail/test_messages.py asks a
real Dovecot."""

from collections.abc import Iterator

import pytest

from postroom.errors import MailUnavailable, Refused
from tests.harness.server import ApiServer, Tenant
from tests.harness.told_messages import ToldMessages

RESTS = ("mailboxes", "changes", "messages", "messages/1.1", "messages/1.1/raw", "messages/1.1/attachments/2")


@pytest.fixture
def told(api: ApiServer) -> Iterator[ToldMessages]:
    yield api.messages
    api.messages.problem = None


@pytest.fixture
def path(tenant: Tenant) -> str:
    return f"/v2/email-accounts/{tenant.account()['id']}"


def reads(tenant: Tenant) -> list[tuple[int, int | None]]:
    """The account and the key of each event that tells of reading."""
    return [(one["account_id"], one["key_id"]) for one in tenant.events() if one["type"] == "message.read"]


def test_it_works(tenant: Tenant, told: ToldMessages, path: str) -> None:
    assert [one["mailbox"] for one in tenant.get(f"{path}/mailboxes").json["items"]] == ["INBOX"]
    assert reads(tenant) == []
    answer = tenant.get(f"{path}/messages", limit=7, subject="a b", mailbox="Sent")
    assert answer.json["items"][0]["subject"] == "private"
    assert answer.headers["link"] == f'<{path}/messages?subject=a+b&mailbox=Sent&limit=7&before_uid=1>; rel="next"'
    following = tenant.get(f"{path}/messages?before_uid=9&limit=7").headers["link"]
    assert following == f'<{path}/messages?limit=7&before_uid=1>; rel="next"'
    shown = tenant.get(f"{path}/messages/1.1", mailbox="Sent").json["message"]
    assert (shown["subject"], shown["text"], shown["message_id"], shown["mailbox"]) == (
        "private",
        "hi\n",
        "1.1",
        "Sent",
    )
    assert shown["raw_url"].endswith(f"{path}/messages/1.1/raw?mailbox=Sent")
    assert tenant.get(f"{path}/messages/1.1/raw").text.encode() == told.content
    assert len(reads(tenant)) == 1


@pytest.mark.parametrize("rest", RESTS[2:])
def test_each_way_to_read_is_an_event(tenant: Tenant, told: ToldMessages, path: str, rest: str) -> None:
    for _ in range(2):
        assert tenant.get(f"{path}/{rest}").status == 200
    ((account, key),) = reads(tenant)
    assert path.endswith(f"/{account}")
    assert key == tenant.key_id(tenant.key)


@pytest.mark.parametrize("rest", RESTS)
def test_it_refuses(tenant: Tenant, told: ToldMessages, path: str, rest: str) -> None:
    told.problem = MailUnavailable("Dovecot does not answer now. Try again.", 5)
    answer = tenant.get(f"{path}/{rest}")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "mail_unavailable", "5")
    told.problem = Refused("mail_off", "This instance runs without mail.")
    assert tenant.get(f"{path}/{rest}").code == "mail_off"
    assert reads(tenant) == []
    told.problem = None
    asked = len(told.asked)
    assert tenant.get(f"{path}/{rest}", user_id="other").code == "not_found"
    assert tenant.get(f"{path}/{rest}", key=tenant.new_key(scopes=["accounts:read"])).status == 403
    tenant.post("/v2/email-accounts/delete", {"id": int(path.rpartition("/")[2])})
    assert tenant.get(f"{path}/{rest}").code == "not_found"
    assert len(told.asked) == asked


def test_the_scope_must_be_asked_for(tenant: Tenant, path: str) -> None:
    usual = tenant.post("/v2/keys", {}).json["api_key"]
    asked_for = tenant.post("/v2/keys", {"scopes": ["messages:read"]}).json["api_key"]
    assert tenant.get(f"{path}/messages", key=usual).status == 403
    assert tenant.get(f"{path}/messages", key=asked_for).status == 200
