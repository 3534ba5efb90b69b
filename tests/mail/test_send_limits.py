"""Send limits at submission, of Sieve scripts and over HTTP. tests/api/test_send_limits.py sets
them, and moves the clock further."""

import smtplib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from postroom.db import open_database
from tests.harness import mail_queue
from tests.harness.service import wait_for
from tests.mail.clients import message, submission
from tests.mail.platform import Mailbox, Platform, nothing_came
from tests.mail.test_delivery_rules import away, forward

pytestmark = pytest.mark.usefixtures("hour")


def many(target: Mailbox, number: int) -> list[str]:
    """Returns different addresses of one mailbox."""
    return [target.address.replace("@", f"+{n}@") for n in range(number)]


def send(box: Mailbox, to: list[str], subject: str = "hello", times: int = 1) -> list[tuple[int, str]]:
    """Submits a message to all of the recipients, several times in one session. Returns the answers
    at the end of the data."""
    answers = []
    with submission(box.platform.service, box.address, box.password) as client:
        for number in range(times):
            made = message(box.address, to[0], f"{subject} {number}" if times > 1 else subject)
            try:
                client.send_message(made, box.address, to)
                answers.append((250, ""))
            except smtplib.SMTPDataError as refused:
                answers.append((refused.smtp_code, bytes(refused.smtp_error).decode()))  # type: ignore[arg-type]
    return answers


def over_http(box: Mailbox, to: list[str], subject: str) -> int:
    """Sends a message with the API. Returns the status of the answer."""
    body = {"to": to, "subject": subject, "text": "x"}
    status, _ = box.platform.try_call("POST", f"/v2/email-accounts/{box.id}/messages/send", body)
    return status


def limit(box: Mailbox, **limits: int | None) -> None:
    box.update(send_limits=limits)


def sent(box: Mailbox) -> Any:
    return box.platform.call("GET", f"/v2/email-accounts/{box.id}/usage", {})["sent"]


def events(box: Mailbox) -> list[str]:
    found = box.platform.call("GET", f"/v2/events?account_id={box.id}", {})["items"]
    return [one["type"] for one in found if one["type"].startswith("account.send_")]


def next_hour(box: Mailbox) -> None:
    """Makes what was counted an hour older."""
    for sql in ("UPDATE sent_counts SET hour = hour - 1", "UPDATE full_periods SET period = period - 1"):
        box.platform.sql(f"{sql} WHERE account_id = :id RETURNING 1", id=box.id)


def test_it_works(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    limit(alice, recipients_per_hour=5, recipients_per_message=4)
    assert send(alice, many(target, 3), "first") == [(250, "")]
    ((code, text),) = send(alice, many(target, 3), "too many")
    assert code == 450
    assert "4.7.1 Sending limit: 5 recipients an hour, next at " in text
    ((code, text),) = send(alice, many(target, 5), "too many at once")
    assert (code, "5.7.1 Sending limit: 4 recipients a message, and this message has 5" in text) == (550, True)
    assert send(alice, many(target, 2), "the rest") == [(250, "")]
    assert send(alice, many(target, 1), "one more")[0][0] == 450
    assert (sent(alice)["recipients_this_hour"], sent(alice)["recipients_today"]) == (5, 5)
    assert events(alice) == ["account.send_limit_reached"]
    next_hour(alice)
    assert send(alice, many(target, 1), "an hour later") == [(250, "")]
    assert send(bob, many(target, 20), "of another") == [(250, "")]
    wanted = ["an hour later", "first", "of another", "the rest"]
    wait_for("all", lambda: sorted(target.subjects()) == wanted)


def test_what_is_refused_does_not_count(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    limit(alice, recipients_per_hour=2)
    with submission(alice.platform.service, alice.address, alice.password) as client:
        forged = message(bob.address, target.address, "forged")
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail(alice.address, [target.address], forged.as_bytes())
        client.mail(alice.address)
        client.rcpt(target.address)
        client.rset()
        unknown = target.address.replace("target", "nobody")
        honest = message(alice.address, target.address, "honest")
        assert set(client.send_message(honest, alice.address, [unknown, target.address])) == {unknown}
    assert sent(alice)["recipients_this_hour"] == 1


@pytest.mark.parametrize("sessions", [1, pytest.param(5, marks=pytest.mark.long)])
def test_a_hijack(alice: Mailbox, bob: Mailbox, target: Mailbox, sessions: int) -> None:
    """Of mail to 1,000 recipients (5,000 in the long test), no more than the limit leaves, in
    whatever way. After three full hours the account is blocked. Nobody else notices."""
    limit(alice, recipients_per_hour=200)
    # Postfix makes a client wait after ten refusals in one session.
    codes = [code for n in range(sessions) for code, _ in send(alice, many(target, 100), f"spam {n}", times=10)]
    assert codes == [250] * 2 + [450] * (10 * sessions - 2)
    assert [over_http(alice, many(target, 100), "spam over HTTP") for _ in range(10 * sessions)] == [
        429
    ] * 10 * sessions
    forward(alice, target.address, keep_copy=False)
    away(alice, subject="Spam")
    bob.send(alice.address, "question")
    alice.receive("from outside")
    assert alice.wait_for("question")
    assert alice.wait_for("from outside")
    assert events(alice) == ["account.send_limit_reached"]
    limit(alice, recipients_per_hour=2)
    for _ in range(2):
        next_hour(alice)
        assert send(alice, many(target, 1), "more spam")[0][0] == 250
        assert over_http(alice, many(target, 1), "more spam over HTTP") == 202
        assert over_http(alice, many(target, 1), "too much") == 429
    assert events(alice) == ["account.send_limit_reached"] * 3 + ["account.send_blocked"]
    next_hour(alice)
    ((code, text),) = send(alice, many(target, 1), "blocked")
    assert (code, "5.7.1 Sending is blocked" in text) == (550, True)
    assert over_http(alice, many(target, 1), "blocked") == 409
    bob.send(alice.address, "another question")
    assert alice.wait_for("another question")
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")
    found = nothing_came(target, bob)
    assert len([subject for subject in found if "spam" in subject]) == len(found) == 6
    assert nothing_came(bob, target) == []
    alice.update(send_blocked=False)
    forward(alice, target.address, enabled=False)
    assert send(alice, many(target, 1), "honest again") == [(250, "")]


def test_forwards_and_replies_count(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """Over the limit, a forward stays in the INBOX, and a reply is dropped."""
    limit(alice, recipients_per_hour=3)
    forward(alice, target.address, keep_copy=False)
    alice.receive("forwarded")
    assert target.wait_for("forwarded")
    away(alice, subject="Away")
    bob.send(alice.address, "answered")
    assert bob.wait_for("Away")
    assert target.wait_for("answered")
    assert sent(alice)["recipients_this_hour"] == 3
    alice.receive("kept")
    assert alice.wait_for("kept")
    target.send(alice.address, "not answered")
    assert alice.wait_for("not answered")
    assert send(alice, many(bob, 1))[0][0] == 450
    next_hour(alice)
    alice.receive("an hour later")
    assert target.wait_for("an hour later")
    assert sorted(target.subjects()) == ["an hour later", "answered", "forwarded"]
    assert sorted(alice.subjects()) == ["kept", "not answered"]
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")


def test_an_account_that_may_not_send(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    forward(alice, target.address, keep_copy=False)
    away(alice, subject="Away")
    with submission(alice.platform.service, alice.address, alice.password) as client:  # also an open session
        alice.update(may_send=False)
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.send_message(message(alice.address, bob.address, "x"), alice.address, [bob.address])
    assert (refused.value.smtp_code, refused.value.smtp_error) == (550, b"5.7.1 This account may not send")
    bob.send(alice.address, "kept")
    assert alice.wait_for("kept")
    assert alice.can_login()
    alice.update(may_send=True)
    alice.receive("forwarded")
    assert target.wait_for("forwarded")
    assert target.subjects() == ["forwarded"]
    assert nothing_came(bob, target) == []


def test_new_recipients(platform: Platform, alice: Mailbox, target: Mailbox) -> None:
    """They are known by hashes, which are kept before there is a limit."""
    assert send(alice, many(target, 2)) == [(250, "")]
    limit(alice, new_recipients_per_day=3)
    assert send(alice, many(target, 4))[0][0] == 450
    assert send(alice, many(target, 3), times=3) == [(250, "")] * 3
    assert sent(alice)["new_recipients_today"] == 3
    known = platform.sql("SELECT recipient_hash FROM known_recipients WHERE account_id = :id", id=alice.id)
    assert all(isinstance(recipient, int) for (recipient,) in known)
    assert "+2@" not in str(platform.sql("SELECT data FROM events WHERE account_id = :id", id=alice.id))


def test_many_at_once_never_pass_the_limit(alice: Mailbox, target: Mailbox) -> None:
    limit(alice, recipients_per_hour=7)
    with ThreadPoolExecutor(5) as pool:
        answers = [
            code for each in pool.map(lambda _: send(alice, [target.address], times=3), range(5)) for code, _ in each
        ]
    assert sorted(answers) == [250] * 7 + [450] * 8
    assert sent(alice)["recipients_this_hour"] == 7


def test_nothing_leaves_uncounted(platform: Platform, alice: Mailbox, target: Mailbox) -> None:
    """While the count cannot be written, the answer is 451. test_senders.py kills and stops the
    milter."""
    limit(alice, recipients_per_hour=3)
    assert send(alice, [target.address], "before") == [(250, "")]
    with locked(alice):
        ((code, _),) = send(alice, [target.address], "while it is locked")
    assert code == 451
    assert send(alice, [target.address], "after") == [(250, "")]
    assert nothing_came(target, target) == ["before", "after"]
    assert sent(alice)["recipients_this_hour"] in (2, 3), "the count may have been written after the 451"


@contextmanager
def locked(box: Mailbox) -> Iterator[None]:
    """Another transaction holds the count of the account during the block."""
    database, is_held, ends = open_database(box.platform.service.database_url), threading.Event(), threading.Event()

    def hold(tx: Any) -> None:
        tx.all("UPDATE sent_counts SET hour = hour WHERE account_id = :id RETURNING 1", id=box.id)
        is_held.set()
        ends.wait()

    holder = threading.Thread(target=database.write_sync, args=(hold,))
    holder.start()
    try:
        is_held.wait()
        yield
    finally:
        ends.set()
        holder.join()
        database.close()
