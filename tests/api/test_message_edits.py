"""The routes that change messages and tell of changes, for given results of Dovecot.
tests/mail/test_message_edits.py, test_message_sync.py and test_message_changes.py ask a real
one."""

import json
from collections.abc import Iterator

import pytest

from postroom.errors import MailUnavailable, Refused
from postroom.messages.mailbox_states import LONGEST_ID, MailboxState, changes, id_of, states_of
from tests.harness.server import ApiServer, Response, Tenant
from tests.harness.told_messages import ToldMessages

PUT, DELETE, SYNC, FOLLOW = "messages/1.1", "messages/delete", "messages/sync", "changes"
BODIES: dict[str, dict[str, object]] = {PUT: {"flags": {"seen": True}}, DELETE: {"ids": ["1.1"]}, SYNC: {}}


@pytest.fixture
def told(api: ApiServer) -> Iterator[ToldMessages]:
    yield api.messages
    api.messages.problem = None


@pytest.fixture
def path(tenant: Tenant) -> str:
    return f"/v2/email-accounts/{tenant.account()['id']}"


def ask(tenant: Tenant, path: str, rest: str, **options: str) -> Response:
    if rest == FOLLOW:
        return tenant.get(f"{path}/{rest}", **options)
    key = {"key": options.pop("key")} if "key" in options else {}
    return tenant.request("PUT" if rest == PUT else "POST", f"{path}/{rest}", BODIES[rest] | options, **key)


def edits(tenant: Tenant) -> list[str]:
    return [one["type"] for one in tenant.events() if one["type"].startswith("message.")]


def test_it_works(tenant: Tenant, told: ToldMessages, path: str) -> None:
    assert ask(tenant, path, PUT).json == {"message": {"id": "1.1", "mailbox": "INBOX", "flags": ["\\Seen"]}}
    assert ask(tenant, path, DELETE).json["deleted"] == [{"id": "1.1", "new_id": "1.1"}]
    assert ask(tenant, path, SYNC).json["changes"] == {"added": [{"uid": 1}], "updated": [], "removed": []}
    assert edits(tenant) == ["message.updated", "message.deleted"]
    stream = ask(tenant, path, FOLLOW)
    assert stream.headers["content-type"] == "text/event-stream"
    begin, id_, data, *_ = [line for line in stream.text.splitlines() if line]
    assert (begin, states_of(id_.removeprefix("id: "))) == ("retry: 2000", told.states)
    assert json.loads(data.removeprefix("data: ")) == {
        "type": "mailbox_changed",
        "mailbox": "INBOX",
        "uidvalidity": "1",
        "token": "1.2",
        "eventType": "state",
    }
    again = tenant.get(f"{path}/{FOLLOW}", headers={"Last-Event-ID": id_.removeprefix("id: ")})
    assert "data" not in again.text


@pytest.mark.parametrize("rest", [PUT, DELETE, SYNC, FOLLOW])
def test_it_refuses(tenant: Tenant, told: ToldMessages, path: str, rest: str) -> None:
    told.problem = MailUnavailable("Dovecot does not answer now. Try again.", 5)
    answer = ask(tenant, path, rest)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "mail_unavailable", "5")
    told.problem = Refused("mail_off", "This instance runs without mail.")
    assert ask(tenant, path, rest).code == "mail_off"
    told.problem = None
    asked = len(told.asked)
    assert ask(tenant, path, rest, user_id="other").code == "not_found"
    assert ask(tenant, path, rest, key=tenant.new_key(scopes=["accounts:write"])).code == "forbidden"
    tenant.post("/v2/email-accounts/delete", {"id": int(path.rpartition("/")[2])})
    assert ask(tenant, path, rest).code == "not_found"
    assert (len(told.asked), edits(tenant)) == (asked, [])


def test_the_scope_must_be_asked_for(tenant: Tenant, path: str) -> None:
    usual = tenant.post("/v2/keys", {}).json["api_key"]
    reader = tenant.post("/v2/keys", {"scopes": ["messages:read"]}).json["api_key"]
    writer = tenant.post("/v2/keys", {"scopes": ["messages:write"]}).json["api_key"]
    for key, codes in ((usual, [403] * 4), (reader, [403, 403, 200, 200]), (writer, [200, 200, 403, 403])):
        assert [ask(tenant, path, rest, key=key).status for rest in (PUT, DELETE, SYNC, FOLLOW)] == codes


@pytest.mark.parametrize(
    ("rest", "body", "field"),
    [
        (PUT, {}, "flags"),
        (PUT, {"flags": {}}, "flags"),
        (PUT, {"flags": None}, "flags"),
        (PUT, {"flags": {"seen": "yes"}}, "flags"),
        (PUT, {"flags": {"deleted": True}}, "flags"),
        (PUT, {"mailbox": ""}, "mailbox"),
        (PUT, {"mailbox": "a\nb"}, "mailbox"),
        (DELETE, {}, "ids"),
        (DELETE, {"ids": []}, "ids"),
        (DELETE, {"ids": ["1.1"] * 501}, "ids"),
        (DELETE, {"ids": [1]}, "ids"),
        (DELETE, {"ids": ["1.1", "nonsense"]}, "ids[1]"),
        (DELETE, {"ids": ["1.1"], "mailbox": "x" * 1001}, "mailbox"),
        (SYNC, {"token": "1"}, "token"),
        (SYNC, {"token": 1}, "token"),
        (SYNC, {"uidvalidity": 1}, "uidvalidity"),
    ],
)
def test_a_wrong_body(tenant: Tenant, told: ToldMessages, path: str, rest: str, body: object, field: str) -> None:
    asked = len(told.asked)
    answer = tenant.request("PUT" if rest == PUT else "POST", f"{path}/{rest}", body)
    assert (answer.status, answer.json["errors"][0]["field"].partition(".")[0]) == (400, field)
    assert len(told.asked) == asked


def test_an_id_of_many_mailboxes_says_nothing() -> None:
    """Their client is told of each mailbox when it comes back."""
    few = {f"mailbox {one}": MailboxState(one, 1, 2, 3) for one in range(100)}
    many = {f"{one * 7919 % 10007} mailbox": MailboxState(one * 31, one, 2 * one, 3) for one in range(5000)}
    assert (states_of(id_of(few)), states_of(id_of(many))) == (few, None)
    assert len(id_of(few)) < LONGEST_ID
    told = {"a": MailboxState(1, 1, 1, 0), "b": MailboxState(1, 1, 1, 0), "c": MailboxState(1, 9, 9, 9)}
    now = {"b": MailboxState(1, 2, 5, 1), "c": MailboxState(1, 9, 10, 9), "d": MailboxState(1, 1, 1, 0)}
    kinds = [(one.mailbox, one.event_type) for one in changes(told, now)]
    assert kinds == [("b", "added"), ("c", "updated"), ("d", "created"), ("a", "deleted")]
