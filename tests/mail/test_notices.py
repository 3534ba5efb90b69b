"""Delivery notices (RFC 3461): clients cannot ask for them."""

from tests.mail import clients
from tests.mail.platform import Platform

SENDER = "someone@elsewhere.example"


def test_a_stranger_gets_no_notice_of_delivery(platform: Platform) -> None:
    """DSN is not offered, and each of its parameters is refused. The same mail without them is
    accepted."""
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


def test_submission_offers_no_notice_of_delivery(platform: Platform) -> None:
    sender = platform.create("sender")
    with clients.submission(platform.service, sender.address, sender.password) as client:
        client.ehlo()
        assert not client.has_extn("dsn")
        assert client.mail(sender.address, ["RET=HDRS"])[0] == 501
