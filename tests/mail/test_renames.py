"""Renames under real mail: an account is reached, logs in and sends with its old and its new
address, and no session ends."""

import dataclasses
import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.service import wait_for
from tests.mail.clients import deliver, message, refusal, smtp, submission
from tests.mail.platform import Mailbox, Platform

OUTSIDE = "someone@elsewhere.example"


@pytest.fixture
def ann(platform: Platform) -> Mailbox:
    return platform.create("ann", user_id="u")


@pytest.fixture
def ben(platform: Platform) -> Mailbox:
    return platform.create("ben", user_id="u")


def rename(box: Mailbox, local_part: str, **more: object) -> Mailbox:
    """The same account under its new address."""
    box.update(local_part=local_part, **more)
    return dataclasses.replace(box, address=f"{local_part}@{box.platform.domain}")


def test_it_works(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    ann.receive("before")
    ann.wait_for("before")
    open_session = ann.login()
    anna = rename(ann, "anna")
    assert open_session.is_open()
    assert open_session.subjects() == ["before"]
    for box in (ann, anna):
        deliver(platform.service, OUTSIDE, box.address, f"to {box.address}")
        assert box.wait_for(f"to {box.address}")
        with submission(platform.service, box.address, box.password) as client:
            for sender in (ann.address, anna.address):
                subject = f"as {sender}, in as {box.address}"
                client.send_message(message(sender, ben.address, subject), sender, [ben.address])
                assert b"DKIM-Signature" in ben.wait_for(subject)
    deliver(platform.service, OUTSIDE, f"ann+tag@{platform.domain}", "to a tag of the old address")
    assert anna.wait_for("to a tag of the old address")
    assert ann.home == anna.home


def test_the_end_of_a_former_address(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    """Deleted, the address neither receives nor logs in nor sends; what is open stays open."""
    anna = rename(ann, "anna")
    open_session = ann.login()
    former = platform.sql("SELECT id FROM aliases WHERE address = :address", address=ann.address)[0][0]
    platform.call("POST", "/v2/email-aliases/delete", {"id": former})
    assert refusal(platform.service, ann.address)[0] == 550
    assert not ann.can_login()
    assert anna.can_login()
    assert open_session.is_open()
    with submission(platform.service, anna.address, anna.password) as client, pytest.raises(smtplib.SMTPException):
        client.send_message(message(ann.address, ben.address, "not mine"), ann.address, [ben.address])
    with pytest.raises(smtplib.SMTPAuthenticationError):
        submission(platform.service, ann.address, ann.password)


def test_without_a_former_address_the_old_one_refuses(platform: Platform, ann: Mailbox, ben: Mailbox) -> None:
    body = {"domain": platform.domain, "local_part": "*", "user_id": "u", "account_ids": [ben.id]}
    platform.call("POST", "/v2/email-aliases/create", body)
    anna = rename(ann, "anna", keep_former=False)
    for address in (ann.address, f"ann+tag@{platform.domain}"):
        code, text = refusal(platform.service, address)
        assert (code, "5.1.1" in text) == (550, True), text  # not caught
    assert not ann.can_login()
    assert anna.can_login()


def test_resets_and_suspensions_meet_every_address(platform: Platform, ann: Mailbox) -> None:
    anna = rename(ann, "anna")
    old = ann.login()
    changed = anna.reset()
    assert not old.is_open()
    assert not ann.can_login()
    assert dataclasses.replace(changed, address=ann.address).can_login()
    changed.update(status="suspended")
    assert not dataclasses.replace(changed, address=ann.address).can_login()
    assert refusal(platform.service, ann.address)[0] == 250  # it arrives and waits
    changed.update(status="disabled")
    assert "5.2.1" in refusal(platform.service, ann.address)[1]
    changed.update(status="active")
    assert dataclasses.replace(changed, address=ann.address).can_login()


def test_only_former_addresses_log_in(platform: Platform, ann: Mailbox) -> None:
    body = {"domain": platform.domain, "local_part": "sales", "user_id": "u", "account_ids": [ann.id]}
    platform.call("POST", "/v2/email-aliases/create", body)
    assert not dataclasses.replace(ann, address=f"sales@{platform.domain}").can_login()


def test_a_hundred_renames_under_load(platform: Platform, ann: Mailbox) -> None:
    """No mail is lost, no session is cut, and no login fails. `ann` stays a former address or the
    present one all the time."""
    platform.call("PUT", "/v2/limits", {"user_id": "u", "aliases_per_account": 200})
    session = ann.login()
    done = threading.Event()

    def send() -> list[str]:
        sent: list[str] = []
        with smtp(platform.service) as client:
            while not (sent and done.is_set()):
                subject = f"mail {len(sent)}"
                client.send_message(message(OUTSIDE, ann.address, subject), OUTSIDE, [ann.address])
                sent.append(subject)
        return sent

    def log_in() -> int:
        number = 0
        while not (number and done.is_set()):
            ann.login().logout()
            number += 1
        return number

    with ThreadPoolExecutor(2) as pool:
        sender, client = pool.submit(send), pool.submit(log_in)
        try:
            for number in range(50):
                ann.update(local_part=f"ann{number}")
                ann.update(local_part="ann")
        finally:
            done.set()
        sent, logins = sender.result(120), client.result(120)
    assert session.is_open()
    assert logins > 0
    wait_for("all, once", lambda: sorted(session.subjects()) == sorted(sent))
