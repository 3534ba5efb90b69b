"""A client that syncs has the same messages and flags as IMAP, whatever happened meanwhile."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, change, flags_by_imap, listed, read
from tests.mail.test_messages import letter

SMALL = b"Subject: x\r\n\r\nx\r\n"


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def synced(box: Mailbox, **sent: str) -> dict[str, Any]:
    status, answer = change(box, "POST", "messages/sync", sent)
    assert status == 200, answer
    found: dict[str, Any] = answer
    return found


@dataclass
class Copy:
    """A client's copy of a mailbox: flags by UID. As the answer has no flags of a new message, they
    are unknown until a list shows them."""

    box: Mailbox
    mailbox: str = "INBOX"
    uidvalidity: str = ""
    token: str = ""
    flags: dict[int, set[str] | None] = field(default_factory=dict)
    pages: int = 0

    def sync(self) -> None:
        more = True
        while more:
            answer = synced(self.box, mailbox=self.mailbox, uidvalidity=self.uidvalidity, token=self.token)
            if answer["reset"]:
                self.flags.clear()
            changes = answer["changes"]
            assert sum(map(len, changes.values())) <= 10_000
            for one in changes["added"]:
                self.flags[one["uid"]] = None
            for one in changes["updated"]:
                assert one["uid"] in self.flags
                assert one["modseq"].isdigit()
                self.flags[one["uid"]] = set(one["flags"])
            for one in changes["removed"]:
                self.flags.pop(one["uid"], None)
            self.uidvalidity, self.token, more = answer["uidvalidity"], answer["token"], answer["more"]
            self.pages += 1
        if None in self.flags.values():
            self._fetch()

    def _fetch(self) -> None:
        """Flags of a list may be newer than the token: the next sync tells them again."""
        after = 0
        while items := listed(self.box, f"?limit=500&after_uid={after}&mailbox={self.mailbox}"):
            for item in items:
                if self.flags.get(item["uid"], ()) is None:
                    self.flags[item["uid"]] = set(item["flags"])
            after = max(item["uid"] for item in items)


def test_it_works(box: Mailbox) -> None:
    append(box, letter("one").as_bytes(), letter("two").as_bytes())
    first = synced(box)
    assert (first["mailbox"], first["reset"], first["more"]) == ("INBOX", True, False)
    assert first["uidvalidity"] == listed(box)[0]["id"].partition(".")[0]
    assert first["changes"] == {"added": [{"uid": 1}, {"uid": 2}], "updated": [], "removed": []}
    known = {"uidvalidity": first["uidvalidity"], "token": first["token"]}
    nothing: dict[str, list[object]] = {"added": [], "updated": [], "removed": []}
    again = synced(box, **known)
    assert (again["changes"], again["reset"], again["token"]) == (nothing, False, first["token"])
    with box.login() as imap:
        imap.append("INBOX", "", "", SMALL)
        imap.select("INBOX")
        imap.uid("STORE", "1", "+FLAGS", "(\\Seen $Label)")
        imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
        imap.expunge()
    second = synced(box, **known)
    (updated,) = second["changes"].pop("updated")
    assert second["changes"] == {"added": [{"uid": 3}], "removed": [{"uid": 2}]}
    assert (updated["uid"], updated["flags"]) == (1, ["$Label", "\\Seen"])
    assert synced(box, uidvalidity=first["uidvalidity"], token=second["token"])["changes"] == nothing
    # The old token still gives the same.
    assert synced(box, **known)["changes"]["added"] == [{"uid": 3}]


def test_a_message_that_came_and_went_is_not_told(box: Mailbox) -> None:
    append(box, SMALL)
    first = synced(box)
    append(box, SMALL)
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "2", "+FLAGS", "(\\Deleted)")
        imap.expunge()
    second = synced(box, uidvalidity=first["uidvalidity"], token=first["token"])
    assert second["changes"] == {"added": [], "updated": [], "removed": []}


def test_a_mailbox_that_was_made_again_begins_anew(box: Mailbox) -> None:
    with box.login() as imap:
        imap.create("Work")
        imap.append("Work", "", "", SMALL)
    copy = Copy(box, "Work")
    copy.sync()
    with box.login() as imap:
        imap.delete("Work")
        assert change(box, "POST", "messages/sync", {"mailbox": "Work", "token": copy.token})[0] == 404
        imap.create("Work")
        for _ in range(2):
            imap.append("Work", "\\Flagged", "", SMALL)
    before = copy.uidvalidity
    answer = synced(box, mailbox="Work", uidvalidity=before, token=copy.token)
    assert (answer["reset"], answer["changes"]["added"]) == (True, [{"uid": 1}, {"uid": 2}])
    copy.sync()
    assert copy.uidvalidity != before
    assert copy.flags == flags_by_imap(box, "Work") == {1: {"\\Flagged"}, 2: {"\\Flagged"}}


def test_a_token_of_the_future_begins_anew(box: Mailbox) -> None:
    """A mailbox that was restored is older than what a client has seen."""
    append(box, SMALL)
    first = synced(box)
    modseq, uidnext = first["token"].split(".")
    ahead = (f"{int(modseq) + 100}.{uidnext}", f"{modseq}.{int(uidnext) + 5}")
    made_up = ("0.1.0.4294967295.0", "0.1.0.9999999999.4294967295", f"0.1.{modseq}.{uidnext}.{uidnext}")
    for token in (*ahead, *made_up):
        answer = synced(box, uidvalidity=first["uidvalidity"], token=token)
        assert (answer["reset"], answer["changes"]["added"], answer["token"]) == (True, [{"uid": 1}], first["token"])


def test_a_token_that_is_none(box: Mailbox) -> None:
    for token in ("x", "1", "1.2.3", "-1.2", "1.2.3.4.5.6", "9" * 99, "1.2\n", "\u0661.2"):
        status, answer = change(box, "POST", "messages/sync", {"token": token})
        assert (status, answer["errors"][0]["field"]) == (400, "token"), token


def test_many_messages_come_in_pages(box: Mailbox) -> None:
    """12,000 messages, some of which go while the client fetches the pages."""
    with box.login() as imap:
        for _ in range(120):
            imap.append("INBOX", "", "", SMALL)
        imap.select("INBOX")
        for _ in range(99):
            imap.uid("COPY", "1:120", "INBOX")
        first = synced(box)
        assert (len(first["changes"]["added"]), first["more"], first["reset"]) == (10_000, True, True)
        imap.uid("STORE", "5,11000", "+FLAGS", "(\\Deleted)")
        imap.expunge()
        imap.uid("STORE", "6,11001", "+FLAGS", "(\\Seen)")
        imap.append("INBOX", "", "", SMALL)
    second = synced(box, uidvalidity=first["uidvalidity"], token=first["token"])
    assert (len(second["changes"]["added"]), second["more"], second["reset"]) == (1999, False, False)
    third = synced(box, uidvalidity=first["uidvalidity"], token=second["token"])["changes"]
    assert third["added"] == [{"uid": 12001}]
    assert [(one["uid"], one["flags"]) for one in third["updated"]] == [(6, ["\\Seen"]), (11001, ["\\Seen"])]
    assert third["removed"] == [{"uid": 5}, {"uid": 11000}]
    # As many changes of flags come in pages, too.
    known = synced(box, uidvalidity=first["uidvalidity"], token=second["token"])["token"]
    with box.login() as imap:
        imap.select("INBOX")
        imap.uid("STORE", "1:*", "+FLAGS", "(\\Flagged)")
    fourth = synced(box, uidvalidity=first["uidvalidity"], token=known)
    fifth = synced(box, uidvalidity=first["uidvalidity"], token=fourth["token"])
    assert (fourth["more"], fifth["more"]) == (True, False)
    flagged = [one["uid"] for page in (fourth, fifth) for one in page["changes"]["updated"]]
    assert flagged == [uid for uid in range(1, 12002) if uid not in (5, 11000)]


def test_a_thousand_changes_by_several_clients(box: Mailbox) -> None:
    append(box, *[SMALL] * 50)
    copies = [Copy(box), Copy(box)]
    for copy in copies:
        copy.sync()

    def client(seed: int) -> None:
        chance = random.Random(seed)
        with box.login() as imap:
            imap.select("INBOX")
            for _ in range(250):
                uid = chance.randint(1, 300)
                match chance.randint(1, 6):
                    case 1 | 2 | 3:
                        imap.append("INBOX", "", "", SMALL)
                    case 4:
                        imap.uid("STORE", str(uid), "+FLAGS", chance.choice(("(\\Seen)", "(\\Flagged $a)")))
                    case 5:
                        imap.uid("MOVE", str(uid), "Archive")
                    case _:
                        imap.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
                        imap.uid("EXPUNGE", str(uid))

    with ThreadPoolExecutor(4) as threads:
        work = [threads.submit(client, seed) for seed in range(4)]
        while not all(one.done() for one in work):
            copies[0].sync()
    for one in work:
        one.result()
    for copy in copies:
        copy.sync()
        copy.sync()  # what a list showed may be newer than the token
        assert copy.flags == flags_by_imap(box)
    assert copies[0].pages > copies[1].pages


def test_a_key_must_have_the_scope(box: Mailbox) -> None:
    writer = box.platform.call("POST", "/v2/keys", {"scopes": ["messages:write"]})["api_key"]
    status, answer = change(box, "POST", "messages/sync", {}, writer)
    assert (status, answer["code"]) == (403, "forbidden")


def test_a_sync_tells_no_content_and_is_no_event(box: Mailbox) -> None:
    append(box, SMALL)
    synced(box)
    assert read(box, f"/v2/events?type=message.read&account_id={box.id}")["items"] == []
