"""Aliases, groups and catch-alls with real mail. A change is in force for the next message after
the answer."""

import smtplib
from typing import Any

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import HOST, deliver, message, smtp, submission
from tests.mail.platform import Mailbox, Platform

OUTSIDE = "someone@elsewhere.example"


def alias(platform: Platform, local_part: str, *boxes: Mailbox, user_id: str = "u", **more: Any) -> Any:
    body: dict[str, Any] = {"domain": platform.domain, "local_part": local_part, "user_id": user_id}
    body |= {"account_ids": [box.id for box in boxes], **more}
    return platform.call("POST", "/v2/email-aliases/create", body)["alias"]


def rcpt(platform: Platform, address: str) -> tuple[int, str]:
    """The answer to RCPT on port 25."""
    with smtplib.SMTP(HOST, platform.service.ports["smtp_port"], timeout=60) as client:
        client.ehlo("client.test")
        client.mail(OUTSIDE)
        code, text = client.rcpt(address)
        return code, text.decode()


def send_as(box: Mailbox, sender: str, to: str, subject: str) -> None:
    with submission(box.platform.service, box.address, box.password) as client:
        client.send_message(message(sender, to, subject), sender, [to])


@pytest.fixture
def ann(platform: Platform) -> Mailbox:
    return platform.create("ann", user_id="u")


@pytest.fixture
def ben(platform: Platform) -> Mailbox:
    return platform.create("ben", user_id="u")


def test_it_works(platform: Platform, ann: Mailbox) -> None:
    sales = f"sales@{platform.domain}"
    assert rcpt(platform, sales)[0] == 550
    made = alias(platform, "sales", ann)
    assert (made["kind"], made["address"]) == ("alias", sales)
    deliver(platform.service, OUTSIDE, sales, "to sales")
    deliver(platform.service, OUTSIDE, f"sales+tag@{platform.domain}", "to the tag")
    assert ann.wait_for("to sales")
    assert ann.wait_for("to the tag")
    platform.call("POST", "/v2/email-aliases/delete", {"id": made["id"]})
    assert rcpt(platform, sales)[0] == 550


@pytest.mark.parametrize("count", [5, pytest.param(1000, marks=pytest.mark.long)])
def test_each_alias_takes_the_very_next_message(platform: Platform, ann: Mailbox, count: int) -> None:
    """The recipient is asked for before and after each change, in a session that stays open."""
    platform.call("PUT", "/v2/limits", {"user_id": "u", "aliases_per_account": count})
    numbers = range(count)
    for first in numbers[::5]:  # Postfix is slow in a session with many errors
        with smtp(platform.service) as client:
            client.ehlo()
            for number in numbers[first : first + 5]:
                address = f"alias{number}@{platform.domain}"
                client.mail(OUTSIDE)
                assert client.rcpt(address)[0] == 550
                client.rset()
                assert alias(platform, f"alias{number}", ann)["address"] == address
                client.send_message(message(OUTSIDE, address, f"message {number}"), OUTSIDE, [address])
    subjects = sorted(f"message {number}" for number in numbers)
    with ann.login() as imap:
        wait_for("all messages", lambda: sorted(imap.subjects()) == subjects)


def test_each_account_of_a_group_gets_a_copy(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    made = alias(platform, "team", ann, ben)
    deliver(platform.service, OUTSIDE, made["address"], "to both")
    assert ann.wait_for("to both")
    assert ben.wait_for("to both")
    platform.call("PUT", f"/v2/email-aliases/{made['id']}", {"account_ids": [ben.id]})
    deliver(platform.service, OUTSIDE, made["address"], "to ben")
    assert ben.wait_for("to ben")
    assert ann.subjects() == ["to both"]


def test_the_catch_all_takes_unknown_addresses_only(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    """Never tagged mail of a mailbox or an alias, nor mail to an address in quarantine or to a role
    of a platform domain."""
    gone = platform.create("gone", user_id="u")
    gone.delete()
    alias(platform, "*", ann)
    alias(platform, "sales", ben)
    domain = platform.domain
    deliver(platform.service, OUTSIDE, f"nobody+x@{domain}", "caught")
    assert ann.wait_for("caught")
    for number, to in enumerate(("ben", "ben+tag", "sales", "sales+tag", "BEN+Tag")):
        deliver(platform.service, OUTSIDE, f"{to}@{domain}", f"not caught {number}")
        assert ben.wait_for(f"not caught {number}")
    for to in ("gone", "gone+tag", "admin", "hostmaster", "webmaster+tag"):
        code, text = rcpt(platform, f"{to}@{domain}")
        assert (code, "5.1.1" in text) == (550, True), (to, text)
    assert ann.subjects() == ["caught"]


def test_mail_from_inside_to_an_address_in_quarantine_is_not_caught(
    platform: Platform, ann: Mailbox, ben: Mailbox
) -> None:
    """A script's forward does not pass smtpd's list of recipients."""
    gone = platform.create("gone", user_id="u")
    gone.delete()
    alias(platform, "*", ann)
    ben.put_script(f'redirect "gone@{platform.domain}";'.encode())
    ben.receive("for nobody")
    assert ben.wait_for("for nobody")
    assert ann.subjects() == []


def test_disabled_suspended_and_deleted_accounts(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    team, one = alias(platform, "team", ann, ben)["address"], alias(platform, "one", ann)["address"]
    ann.update(status="suspended")
    assert rcpt(platform, one)[0] == 250
    ann.update(status="disabled")
    code, text = rcpt(platform, one)
    assert (code, "5.2.1" in text) == (550, True)
    deliver(platform.service, OUTSIDE, team, "for the living one")
    assert ben.wait_for("for the living one")
    ben.update(status="disabled")
    assert "5.2.1" in rcpt(platform, team)[1]
    ann.update(status="active")
    assert rcpt(platform, team)[0] == rcpt(platform, one)[0] == 250
    ann.delete()
    assert "5.1.1" in rcpt(platform, one)[1]
    ben.delete()
    assert "5.1.1" in rcpt(platform, team)[1]
    platform.call("POST", f"/v2/email-accounts/{ann.id}/restore", {})
    assert rcpt(platform, team)[0] == rcpt(platform, one)[0] == 250


def test_who_may_send_as_an_alias(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    """The envelope (Postfix) and From (the milter) are both checked."""
    yes, no = alias(platform, "yes", ann)["address"], alias(platform, "no", ann, may_send=False)["address"]
    team = alias(platform, "team", ann, ben)["address"]
    alias(platform, "*", ann)
    send_as(ann, yes, ben.address, "as an alias")
    assert b"DKIM-Signature" in ben.wait_for("as an alias")
    for box in (ann, ben):
        send_as(box, team, ben.address, f"as the team {box.id}")
        assert ben.wait_for(f"as the team {box.id}")
    for sender in (no, f"anything@{platform.domain}"):
        with pytest.raises(smtplib.SMTPException):
            send_as(ann, sender, ben.address, "not allowed")
    with pytest.raises(smtplib.SMTPException):
        send_as(ben, yes, ben.address, "not allowed")
    with submission(platform.service, ann.address, ann.password) as client, pytest.raises(smtplib.SMTPException):
        client.send_message(message(no, ben.address, "not allowed"), ann.address, [ben.address])
    assert "not allowed" not in ben.subjects()


def test_an_expired_alias_ends(platform: Platform, ann: Mailbox) -> None:
    made = alias(platform, "short", ann, expires_at="2099-01-01T00:00:00Z")
    assert rcpt(platform, made["address"])[0] == 250
    platform.sql("UPDATE aliases SET expires_at = 1 WHERE id = :id RETURNING id", id=made["id"])
    wait_for("the worker to end the alias", lambda: rcpt(platform, made["address"])[0] == 550)
    assert alias(platform, "short", ann)["address"] == made["address"]
