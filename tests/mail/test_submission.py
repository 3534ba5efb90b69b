"""Submission: a user can use only the account's own senders, and no mail leaves while outbound mail
is off."""

import base64
import smtplib
import socket
import ssl

import pytest

from tests.mail.clients import HOST, message, own_address, smtp, submission, tls
from tests.mail.platform import Platform


@pytest.mark.parametrize("over_tls", [True, False], ids=["submissions", "submission"])
def test_it_works(platform: Platform, over_tls: bool) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    with submission(platform.service, alice.address, alice.password, over_tls) as client:
        client.send_message(message(alice.address, bob.address, "hello"), alice.address, [bob.address])
    assert bob.wait_for("hello")


def test_a_user_may_send_with_a_tag(platform: Platform) -> None:
    alice = platform.create("alice")
    with submission(platform.service, alice.address, alice.password) as client:
        client.ehlo()
        assert client.mail(alice.address.replace("@", "+news@"))[0] == 250
        assert client.rcpt(alice.address)[0] == 250


def test_it_refuses_the_senders_of_others(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    others = (bob.address, "someone@elsewhere.example", f"nobody@{platform.domain}", f"{alice.id}@acct.internal")
    for sender in ("", *others):
        with submission(platform.service, alice.address, alice.password) as client:
            client.ehlo()
            client.mail(sender)
            code, text = client.rcpt(alice.address)
            assert (code, text[:5]) in ((553, b"5.7.1"), (550, b"5.7.1")), (sender, code, text)


def test_it_refuses_recipients(platform: Platform) -> None:
    alice = platform.create("alice")
    refused = {
        f"nobody@{platform.domain}": (550, b"5.1.1"),
        f"{alice.id}@acct.internal": (550, b"5.1.1"),
        f"{alice.id}@1.acct.internal": (550, b"5.1.1"),
    }
    with submission(platform.service, alice.address, alice.password) as client:
        client.ehlo()
        client.mail(alice.address)
        answers = {to: client.rcpt(to) for to in refused}
    assert {to: (code, text[:5]) for to, (code, text) in answers.items()} == refused


def test_outbound_is_off_and_says_so(platform: Platform) -> None:
    alice = platform.create("alice")
    with submission(platform.service, alice.address, alice.password) as client:
        client.ehlo()
        client.mail(alice.address)
        code, text = client.rcpt("someone@elsewhere.example")
    assert 550 <= code <= 554
    assert b"POSTROOM_OUTBOUND=off" in text


@pytest.mark.parametrize("port", ["submission_port", "submissions_port"])
def test_nobody_sends_without_login(platform: Platform, port: str) -> None:
    alice = platform.create("alice")
    client: smtplib.SMTP
    if port == "submissions_port":
        client = smtplib.SMTP_SSL(HOST, platform.service.ports[port], context=tls(), source_address=(own_address(), 0))
    else:
        client = smtplib.SMTP(HOST, platform.service.ports[port], source_address=(own_address(), 0))
        client.starttls(context=tls())
    with client:
        client.ehlo()
        client.mail(alice.address)
        assert client.rcpt(alice.address)[0] == 554


def test_no_password_before_tls(platform: Platform) -> None:
    with smtplib.SMTP(HOST, platform.service.ports["submission_port"], source_address=(own_address(), 0)) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0a\0b").decode())[0] in (503, 530, 538)
        assert client.docmd("MAIL", "FROM:<a@b.example>")[0] == 530


def test_the_inbound_port_takes_no_login_and_relays_nothing(platform: Platform) -> None:
    alice = platform.create("alice")
    with smtp(platform.service) as client:
        client.starttls(context=tls())
        client.ehlo()
        assert "auth" not in client.esmtp_features
        client.mail(alice.address)
        assert client.rcpt("someone@elsewhere.example")[0] == 554


def test_old_tls_is_refused(platform: Platform) -> None:
    context = tls()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection((HOST, platform.service.ports["submissions_port"])) as plain,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        context.wrap_socket(plain)
