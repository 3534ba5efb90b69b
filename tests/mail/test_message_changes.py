"""A stream tells of each change in an account's mailboxes, and ends when its client must go."""

import pytest

from tests.mail.following import following, is_of
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_message_sync import synced


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create()


def test_it_works(box: Mailbox) -> None:
    """A message is delivered; the token of the event is that of a client that has synced."""
    with following(box) as stream:
        first = stream.wait_for(is_of("INBOX", "state"))
        box.receive("hello")
        event = stream.wait_for(is_of("INBOX", "added"))
        now = synced(box)
        assert event == {
            "type": "mailbox_changed",
            "mailbox": "INBOX",
            "uidvalidity": now["uidvalidity"],
            "token": now["token"],
            "eventType": "added",
        }
        assert first["token"] != event["token"]
        since = synced(box, uidvalidity=first["uidvalidity"], token=first["token"])
        assert since["changes"]["added"] == [{"uid": 1}]
