"""Notices of delivery (RFC 3461): whoever submits may ask for them, and a stranger may not."""

from tests.mail import clients
from tests.mail.platform import Platform

SENDER = "someone@elsewhere.example"


def test_a_stranger_gets_no_notice_of_delivery(platform: Platform) -> None:
    """Neither offered nor taken, with any of the parameters; the same mail without them is."""
    mailbox = platform.create()
    with clients.smtp(platform.service) as client:
        client.ehlo()
        assert not client.has_extn("dsn")
        for parameter in ("RET=HDRS", "ENVID=x"):
            assert client.mail(SENDER, [parameter])[0] == 501, parameter
        assert client.mail(SENDER)[0] == 250
        for parameter in ("NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=NEVER", "ORCPT=rfc822;x@y.example"):
            assert client.rcpt(mailbox.address, [parameter])[0] == 501, parameter
        assert client.rcpt(mailbox.address)[0] == 250


def test_an_own_notice_names_no_mailbox_by_its_internal_name(platform: Platform) -> None:
    sender, receiver = platform.create("sender"), platform.create("receiver")
    with clients.submission(platform.service, sender.address, sender.password) as client:
        client.ehlo()
        assert client.has_extn("dsn")
        message = clients.message(sender.address, receiver.address, "asked for")
        client.send_message(message, sender.address, [receiver.address], ["RET=HDRS"], ["NOTIFY=SUCCESS"])
    with sender.login() as imap:
        notice = imap.wait_for("Successful Mail Delivery Report").decode()
    assert receiver.address in notice
    assert "acct.internal" not in notice
    assert str(platform.service.data) not in notice
