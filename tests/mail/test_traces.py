"""What Dovecot says about the messages of an account: which delivery each is, when it came."""

import asyncio
import smtplib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postroom.errors import MailUnavailable
from postroom.mailboxes.dovecot import DovecotMailboxes
from postroom.mailplane.dovecot import doveadm, traces
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint, Folder
from postroom.mailplane.internal_addresses import delivery_name
from tests.mail.clients import message
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_inbound_webhooks import OUTSIDE


@pytest.fixture
def endpoint(platform: Platform) -> DoveadmEndpoint:
    found = doveadm.local(platform.service.data / "run")
    assert found
    return found


class Terminator:
    """Knows the doveadm of one machine."""

    def __init__(self, endpoint: DoveadmEndpoint) -> None:
        self._endpoint = endpoint

    async def endpoints(self, _account_id: int) -> list[DoveadmEndpoint]:
        return [self._endpoint]


async def inbox(endpoint: DoveadmEndpoint, account_id: int) -> Folder:
    return next(one for one in await doveadm.folders(endpoint, account_id) if one.name == "INBOX")


def test_one_delivery_is_not_taken_for_another(platform: Platform, anna: Mailbox, endpoint: DoveadmEndpoint) -> None:
    """Ids of one LMTP connection begin alike, and a message may have the id of another in a field
    below."""
    inside, run = delivery_name(anna.id), platform.service.data / "run"
    with smtplib.LMTP(str(run / "dovecot" / "lmtp"), local_hostname="mail.postroom.test") as client:
        for number in range(12):
            client.sendmail(OUTSIDE, [inside], message(OUTSIDE, inside, f"burst {number}").as_bytes())

    async def by_id() -> dict[str, int]:
        folder = await inbox(endpoint, anna.id)
        fields = await doveadm.received(endpoint, anna.id, folder, range(1, folder.uidnext), 0)
        return {told.id: uid for uid, field in fields.items() if (told := traces.trace(field))}

    ids = asyncio.run(by_id())
    assert len(ids) == 12
    assert any(one != other and other.startswith(one) for one in ids for other in ids)
    with anna.login() as imap:
        first = min(ids, key=len)
        imap.append("Archive", "", "", f"Received: x\r\nReceived: {first}\r\n\r\nforged".encode())
    for id_, uid in ids.items():
        assert asyncio.run(doveadm.find(endpoint, anna.id, id_, 0)) == [("INBOX", uid)]


def asked(
    endpoint: DoveadmEndpoint, anna: Mailbox, question: Callable[[DovecotMailboxes, Folder], Awaitable[Any]]
) -> Any:
    async def ask() -> Any:
        folder = await inbox(endpoint, anna.id)
        return await question(DovecotMailboxes(Terminator(endpoint)), folder)  # type: ignore[arg-type]

    return asyncio.run(ask())


def test_messages_from_before_a_time(anna: Mailbox, endpoint: DoveadmEndpoint) -> None:
    ages = (10, 26, 22, 0)
    with anna.login() as imap:
        for hours in ages:
            at = datetime.now(UTC) - timedelta(hours=hours)
            imap.append("INBOX", "", at, f"Subject: {hours}\r\n\r\n".encode())  # type: ignore[arg-type]
    for hours, uids in ((30, []), (24, [2]), (18, [2, 3]), (5, [1, 2, 3])):
        before = int(time.time()) - hours * 3600
        assert (
            asked(endpoint, anna, lambda mailboxes, folder, at=before: mailboxes.uids_before(anna.id, folder, at))
            == uids
        )


def test_fields_that_are_too_large(anna: Mailbox, endpoint: DoveadmEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer about some messages is refused, as if Dovecot were away; one alone is left out."""
    with anna.login() as imap:
        for size in (10, 5000, 10):
            imap.append("INBOX", "", "", f"Received: {'x' * size}\r\n\r\n".encode())
    monkeypatch.setattr(doveadm, "MOST_BYTES", 4000)

    def received(uids: range) -> Any:
        return asked(endpoint, anna, lambda mailboxes, folder: mailboxes.received(anna.id, folder, uids, 0))

    with pytest.raises(MailUnavailable):
        received(range(1, 4))
    assert [list(received(range(uid, uid + 1))) for uid in (1, 2, 3)] == [[1], [], [3]]
