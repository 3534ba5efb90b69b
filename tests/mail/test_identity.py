"""Mail belongs to an account, not to an address: storage and queue use the id."""

import json
from pathlib import Path

from tests.harness import mail_queue
from tests.harness.service import Service, wait_for
from tests.mail.clients import message, submission
from tests.mail.platform import Platform


def test_it_works(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("hello")
    mailbox.wait_for("hello")
    assert len([path for path in mailbox.home.rglob("*") if path.parent.name in ("new", "cur")]) == 1


def test_an_address_that_is_made_again_starts_empty(platform: Platform) -> None:
    old = platform.create()
    old.receive("old")
    old.wait_for("old")
    old.delete()
    new = platform.create()
    assert new.id > old.id
    assert new.subjects() == []
    assert not old.can_login()


def test_queued_mail_of_the_old_account_never_reaches_the_new_one(platform: Platform) -> None:
    """The message is accepted while Dovecot does not answer, so that it waits in the queue."""
    service = platform.service
    old, neighbour = platform.create(), platform.create("neighbour")
    with (
        submission(service, neighbour.address, neighbour.password) as client,
        _dovecot_stopped(service),
    ):
        client.send_message(message(neighbour.address, old.address, "for the old one"))
        neighbour.receive("for the neighbour")
        wait_for("both to wait", lambda: {f"{box.id}@acct.internal" for box in (old, neighbour)} <= deferred(service))
    # Dovecot is back. The account is deleted and created again before the queue's next attempt.
    old.delete()
    new = platform.create()
    mail_queue.flush(service)
    assert neighbour.wait_for("for the neighbour")
    wait_for("the end of the wait", lambda: f"{old.id}@acct.internal" not in mail_queue.queued(service))
    assert new.subjects() == []
    bounce = neighbour.wait_for("Undelivered Mail Returned to Sender").decode()
    for told in (f"\n<{old.address}>: ", f"Original-Recipient: rfc822;{old.address}", "Status: 5.1.1", "550 5.1.1"):
        assert told in bounce.replace("\r", "")
    for secret in ("acct.internal", str(service.data), "lmtp"):
        assert secret not in bounce.replace("with LMTP", "")


def test_everything_belongs_to_the_system_user(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("hello")
    mailbox.wait_for("hello")
    data = platform.service.data
    owner = (data / "db").stat().st_uid
    assert owner != 0
    for folder in ("mail", "db"):
        found = [data / folder, *(data / folder).rglob("*")]
        assert [path for path in found if path.lstat().st_uid != owner] == []
        assert (data / folder).stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o777 for path in (data / "db").iterdir()} == {0o600}


class _dovecot_stopped:
    """Moves LMTP's socket away, so that LMTP does not answer."""

    def __init__(self, service: Service) -> None:
        self._socket: Path = service.data / "run" / "dovecot" / "lmtp"

    def __enter__(self) -> None:
        self._socket.rename(self._socket.with_name("lmtp.away"))

    def __exit__(self, *_: object) -> None:
        self._socket.with_name("lmtp.away").rename(self._socket)


def deferred(service: Service) -> set[str]:
    """The recipients of mail that Postfix has tried to deliver in vain."""
    entries = map(json.loads, mail_queue.queued(service).splitlines())
    waiting = [entry for entry in entries if entry["queue_name"] == "deferred"]
    return {recipient["address"] for entry in waiting for recipient in entry["recipients"]}
