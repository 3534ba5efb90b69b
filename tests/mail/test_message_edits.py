"""Messages changed over HTTP: IMAP shows each change, and nothing else has changed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, by_imap, change, flags_by_imap, listed, read
from tests.mail.test_messages import letter


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def filled(box: Mailbox, number: int = 3) -> list[str]:
    """Fills the INBOX and returns the ids, the oldest first."""
    append(box, *(letter(f"letter {one}").as_bytes() for one in range(number)))
    return [item["id"] for item in reversed(listed(box))]


def events(box: Mailbox, type_: str) -> list[dict[str, object]]:
    found = read(box, f"/v2/events?type={type_}&account_id={box.id}")["items"]
    return [event["data"] for event in found]


def test_it_works(box: Mailbox) -> None:
    """A flag, a move and both."""
    first, second, third = filled(box)
    assert change(box, "PUT", f"messages/{first}", {"flags": {"seen": True, "flagged": True}}) == (
        200,
        {"message": {"id": first, "mailbox": "INBOX", "flags": ["\\Flagged", "\\Seen"]}},
    )
    assert flags_by_imap(box) == {1: {"\\Flagged", "\\Seen"}, 2: set(), 3: set()}
    status, answer = change(box, "PUT", f"messages/{second}", {"mailbox": "Archive"})
    moved = answer["message"]
    assert (status, moved["mailbox"], moved["flags"]) == (200, "Archive", [])
    assert read(box, f"messages/{moved['id']}?mailbox=Archive")["message"]["subject"] == "letter 1"
    status, answer = change(box, "PUT", f"messages/{third}", {"mailbox": "Archive", "flags": {"answered": True}})
    assert (status, answer["message"]["flags"]) == (200, ["\\Answered"])
    assert set(by_imap(box)) == {1}
    assert flags_by_imap(box, "Archive") == {1: set(), 2: {"\\Answered"}}
    back = change(box, "PUT", f"messages/{moved['id']}?mailbox=Archive", {"mailbox": "INBOX"})[1]["message"]
    assert back["id"] == f"{first.partition('.')[0]}.4"
    told = events(box, "message.updated")
    assert [one["moved"] for one in told] == [False, True, True, True]
    assert set(told[0]) == {"address", "status", "moved"}


def test_a_flag_is_removed_and_others_stay(box: Mailbox) -> None:
    (id_,) = filled(box, 1)
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "1", "+FLAGS", "(\\Seen \\Flagged \\Deleted $Forwarded)")
    status, answer = change(box, "PUT", f"messages/{id_}", {"flags": {"seen": False, "answered": True}})
    assert (status, answer["message"]["flags"]) == (200, ["$Forwarded", "\\Answered", "\\Deleted", "\\Flagged"])
    assert flags_by_imap(box)[1] == {"\\Answered", "\\Deleted", "\\Flagged", "$Forwarded"}


def test_nothing_to_change_is_no_event(box: Mailbox) -> None:
    (id_,) = filled(box, 1)
    for body in ({"flags": {"seen": False}}, {"mailbox": "INBOX"}):
        assert change(box, "PUT", f"messages/{id_}", body)[0] == 200
    assert events(box, "message.updated") == []
    empty: list[object] = [{}, {"flags": {}}, {"user_id": "user_123"}]
    for sent in empty:
        status, answer = change(box, "PUT", f"messages/{id_}", sent)
        assert (status, answer["errors"][0]["field"]) == (400, "flags")


def test_what_is_not_there(box: Mailbox) -> None:
    (id_,) = filled(box, 1)
    status, answer = change(box, "PUT", f"messages/{id_}", {"flags": {"seen": True}, "mailbox": "Nowhere"})
    assert (status, answer["errors"][0]["field"], answer["errors"][0]["code"]) == (400, "mailbox", "unknown")
    assert flags_by_imap(box) == {1: set()}, "a refusal has changed something"
    seen = {"flags": {"seen": True}}
    validity = id_.partition(".")[0]
    for rest in (f"{validity}.99", f"{int(validity) + 1}.1", "x", f"{id_}?mailbox=Archive", f"{id_}?mailbox=Nowhere"):
        assert change(box, "PUT", f"messages/{rest}", seen)[0] == 404, rest
    assert change(box, "POST", "messages/delete", {"ids": [id_], "mailbox": "Nowhere"})[0] == 404
    assert flags_by_imap(box) == {1: set()}


def test_a_deletion(box: Mailbox) -> None:
    first, second, third = filled(box)
    other = f"{int(first.partition('.')[0]) + 1}.1"
    body = {"ids": [first, second, other, first]}
    status, answer = change(box, "POST", "messages/delete", body)
    assert (status, answer["mailbox"], answer["not_found"]) == (200, "Trash", [other])
    assert [one["id"] for one in answer["deleted"]] == [first, second]
    for one, subject in zip(answer["deleted"], ("letter 0", "letter 1"), strict=True):
        assert read(box, f"messages/{one['new_id']}?mailbox=Trash")["message"]["subject"] == subject
    assert set(by_imap(box)) == {3}
    again = change(box, "POST", "messages/delete", body)
    assert again == (200, {"mailbox": "Trash", "deleted": [], "not_found": [first, second, other]})
    told = events(box, "message.deleted")
    assert [(one["messages"], one["purged"]) for one in told] == [(2, False)]
    assert set(told[0]) == {"address", "status", "messages", "purged"}
    # In the Trash they stay until they are purged.
    ids = [one["new_id"] for one in answer["deleted"]]
    kept = change(box, "POST", "messages/delete", {"ids": ids, "mailbox": "Trash"})[1]
    assert kept["deleted"] == [{"id": id_, "new_id": id_} for id_ in ids]
    assert set(by_imap(box, "Trash")) == {1, 2}
    gone = change(box, "POST", "messages/delete", {"ids": ids, "mailbox": "Trash", "purge": True})[1]
    assert gone == {"mailbox": None, "deleted": [{"id": id_, "new_id": None} for id_ in ids], "not_found": []}
    assert by_imap(box, "Trash") == {}
    assert [(one["messages"], one["purged"]) for one in events(box, "message.deleted")] == [(2, False), (2, True)]
    assert third == listed(box)[0]["id"]


def test_a_purge_erases_no_other_message(box: Mailbox) -> None:
    """A mail client has marked another message, and its owner may still change their mind."""
    first, second, third = filled(box)
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "1", "+FLAGS", "(\\Deleted)")
    used = read(box, "usage")["used_bytes"]
    assert change(box, "POST", "messages/delete", {"ids": [second], "purge": True})[0] == 200
    assert flags_by_imap(box) == {1: {"\\Deleted"}, 3: set()}
    assert read(box, "usage")["used_bytes"] < used
    assert [item["id"] for item in listed(box)] == [third, first]


def test_the_trash_is_made_and_may_have_another_name(box: Mailbox) -> None:
    (id_,) = filled(box, 1)
    with box.login() as imap:
        imap.delete("Trash")
    (one,) = change(box, "POST", "messages/delete", {"ids": [id_]})[1]["deleted"]
    assert read(box, f"messages/{one['new_id']}?mailbox=Trash")["message"]["subject"] == "letter 0"


def test_a_full_account_can_be_emptied(platform: Platform) -> None:
    box = platform.create(quota_messages=3)
    ids = filled(box, 3)
    status, answer = change(box, "POST", "messages/delete", {"ids": ids[:1]})
    assert (status, len(answer["deleted"])) == (200, 1)
    assert change(box, "PUT", f"messages/{ids[1]}", {"mailbox": "Archive"})[0] == 200
    assert change(box, "POST", "messages/delete", {"ids": ids[2:], "purge": True})[0] == 200
    assert read(box, "usage")["messages"] == 2


def test_the_number_of_ids_has_a_bound(box: Mailbox) -> None:
    filled(box, 1)
    validity = listed(box)[0]["id"].partition(".")[0]
    ids = [f"{validity}.{uid}" for uid in range(1, 502)]
    assert change(box, "POST", "messages/delete", {"ids": ids})[0] == 400
    assert change(box, "POST", "messages/delete", {"ids": []})[0] == 400
    status, answer = change(box, "POST", "messages/delete", {"ids": ids[:500]})
    assert (status, len(answer["deleted"]), len(answer["not_found"])) == (200, 1, 499)


def test_500_scattered_messages_at_once(box: Mailbox) -> None:
    filled(box, 500)
    ids = [item["id"] for item in reversed(listed(box, "?limit=500"))]
    scattered = ids[::2]
    status, answer = change(box, "POST", "messages/delete", {"ids": scattered})
    assert (status, [one["id"] for one in answer["deleted"]]) == (200, scattered)
    assert [item["id"] for item in reversed(listed(box, "?limit=500"))] == ids[1::2]


def test_two_clients_delete_the_same(box: Mailbox) -> None:
    """Each message is deleted by one of them."""
    ids = filled(box, 40)
    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(change, box, "POST", "messages/delete", {"ids": ids}) for _ in range(4)]
    answers = [one.result() for one in work]
    assert {status for status, _ in answers} == {200}
    deleted = [one["id"] for _, answer in answers for one in answer["deleted"]]
    assert sorted(deleted) == sorted(ids)
    assert len(by_imap(box, "Trash")) == 40


def test_an_idempotency_key(box: Mailbox) -> None:
    """The second answer has the new id, although the message is not there any more."""
    first, second = filled(box, 2)
    for method, rest, body in (
        ("PUT", f"messages/{first}", {"mailbox": "Archive"}),
        ("POST", "messages/delete", {"ids": [second]}),
    ):
        answers = [change(box, method, rest, body, **{"idempotency-key": rest}) for _ in range(2)]
        assert answers[0] == answers[1]
        assert answers[0][0] == 200
    assert len(events(box, "message.updated")) == len(events(box, "message.deleted")) == 1
    assert set(by_imap(box, "Archive")) == set(by_imap(box, "Trash")) == {1}


def test_a_key_must_have_the_scope(box: Mailbox) -> None:
    (id_,) = filled(box, 1)
    reader = box.platform.call("POST", "/v2/keys", {"scopes": ["messages:read"]})["api_key"]
    writer = box.platform.call("POST", "/v2/keys", {"scopes": ["messages:write"]})["api_key"]
    for method, rest, body in (
        ("PUT", f"messages/{id_}", {"flags": {"seen": True}}),
        ("POST", "messages/delete", {"ids": [id_]}),
    ):
        status, answer = change(box, method, rest, body, reader)
        assert (status, answer["code"]) == (403, "forbidden")
    assert flags_by_imap(box) == {1: set()}
    assert change(box, "PUT", f"messages/{id_}", {"flags": {"seen": True}}, writer)[0] == 200


@pytest.mark.parametrize("name", ["inbox", "Inbox"])
def test_inbox_has_any_case(box: Mailbox, name: str) -> None:
    """Another spelling is the same mailbox (RFC 9051, 5.1): nothing is moved."""
    (id_,) = filled(box, 1)
    status, answer = change(box, "PUT", f"messages/{id_}?mailbox={name}", {"flags": {"seen": True}, "mailbox": "INBOX"})
    assert (status, answer["message"]["id"], answer["message"]["mailbox"]) == (200, id_, "INBOX")
    status, answer = change(box, "PUT", f"messages/{id_}", {"mailbox": name})
    assert (status, answer["message"]["id"], answer["message"]["mailbox"]) == (200, id_, "INBOX")
    assert flags_by_imap(box) == {1: {"\\Seen"}}
