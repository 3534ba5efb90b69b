"""Mail from outside: who receives mail, who is refused, and the text of a refusal."""

import smtplib
from email import message_from_bytes
from email.policy import default

import pytest

from tests.mail.clients import refusal, smtp
from tests.mail.platform import Mailbox, Platform


def test_it_works(platform: Platform) -> None:
    mailbox = platform.create()
    mailbox.receive("hello")
    message = message_from_bytes(mailbox.wait_for("hello"), policy=default)
    assert message["From"] == "someone@elsewhere.example"
    assert message.get_content().split() == ["Hello."]


def test_it_refuses(platform: Platform) -> None:
    platform.create()
    refused = {
        f"nobody@{platform.domain}": (550, "5.1.1"),
        "someone@not-ours.example": (554, "5.7.1"),
        "1@acct.internal": (550, "5.1.1"),
        "1@1.acct.internal": (554, "5.7.1"),
        f"1%acct.internal@{platform.domain}": (554, "5.7.1"),
        f"@{platform.domain}": (550, "5.1.1"),
        f"billing@sub.{platform.domain}": (554, "5.7.1"),
    }
    answers = {to: refusal(platform.service, to) for to in refused}
    assert {to: (code, text[:5]) for to, (code, text) in answers.items()} == refused


@pytest.mark.parametrize("sender", ["5@acct.internal", "5@1.ACCT.internal"])
def test_nobody_outside_has_an_internal_name(platform: Platform, sender: str) -> None:
    """A bounce to an internal name would bypass the addresses of a mailbox."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        platform.create().receive(sender=sender)
    assert {answer for answer, _ in refused.value.recipients.values()} == {550}


@pytest.mark.parametrize("spelling", ["{0}+tag@{1}", "{0}+a+b@{1}", "BILLING@{1}", "Billing+Tag@{1}"])
def test_tags_and_case_arrive_in_the_inbox(platform: Platform, spelling: str) -> None:
    mailbox = platform.create("billing")
    Mailbox(platform, 0, spelling.format("billing", platform.domain), "").receive("hello")
    assert mailbox.wait_for("hello")


def test_dots_are_significant(platform: Platform) -> None:
    platform.create("a.b")
    assert refusal(platform.service, f"ab@{platform.domain}")[0] == 550


def test_an_internationalized_domain_receives_as_its_a_label(platform: Platform) -> None:
    add = ("domains", "create", f"bücher.{platform.domain}", "--organization", platform.organization, "--active")
    platform.service.run(*add).check_returncode()
    body = {"domain": f"Bücher.{platform.domain}", "local_part": "billing", "user_id": "u"}
    made = platform.call("POST", "/v2/email-accounts/create", body)
    address = made["account"]["address"]
    assert address == f"billing@xn--bcher-kva.{platform.domain}"
    mailbox = Mailbox(platform, made["account"]["id"], address, made["password"])
    mailbox.receive("hello")
    assert mailbox.wait_for("hello")


def test_the_internal_name_shows_nowhere_in_a_message(platform: Platform) -> None:
    alice, bob = platform.create("alice"), platform.create("bob")
    bob.receive("from outside")
    assert b"acct.internal" not in bob.wait_for("from outside")
    alice.send(bob.address, "from alice")
    assert b"acct.internal" not in bob.wait_for("from alice")


def test_a_message_larger_than_allowed_is_refused(platform: Platform) -> None:
    mailbox = platform.create()
    with smtp(platform.service) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == str(50 * 1024 * 1024)
        assert client.docmd("MAIL", f"FROM:<a@elsewhere.example> SIZE={50 * 1024 * 1024 + 1}")[0] == 552
    assert mailbox.subjects() == []


@pytest.mark.parametrize("role", ["postmaster", "abuse", "Postmaster", "ABUSE"])
def test_role_mail_of_a_users_domain_arrives_at_his_default_account(platform: Platform, role: str) -> None:
    own = Platform.new(platform.service, user="owner")
    default, other = own.create("first", "owner"), own.create("second", "owner")
    Mailbox(own, 0, f"{role}@{own.domain}", "").receive("role")
    assert default.wait_for("role")
    default.delete()
    Mailbox(own, 0, f"{role}@{own.domain}", "").receive("role again")
    assert other.wait_for("role again")


def test_role_mail_of_a_users_domain_arrives_at_an_account_of_that_name(platform: Platform) -> None:
    own = Platform.new(platform.service, user="owner")
    default = own.create("first", "owner")
    postmaster = own.create("postmaster", "owner", allow_reserved=True)
    postmaster.receive("role")
    assert postmaster.wait_for("role")
    assert default.subjects() == []


def test_role_mail_of_a_platform_domain_arrives_at_the_operator(platform: Platform) -> None:
    customer = platform.create("first")
    operator = _operator(platform)
    Mailbox(platform, 0, f"abuse@{platform.domain}", "").receive(f"role {platform.domain}")
    assert operator.wait_for(f"role {platform.domain}")
    assert customer.subjects() == []


def test_postmaster_without_a_domain_arrives_at_the_operator(platform: Platform) -> None:
    operator = _operator(platform)
    with smtp(platform.service) as client:
        client.ehlo()
        client.mail("someone@elsewhere.example")
        assert client.rcpt("postmaster")[0] == 250
        client.data(f"Subject: bare {platform.domain}\r\n\r\nHello.\r\n".encode())
    assert operator.wait_for(f"bare {platform.domain}")


def _operator(platform: Platform) -> Mailbox:
    """Returns the mail host's postmaster account with a fresh password."""
    made = platform.service.run("keys", "create", "--organization", "operator")
    operator = Platform(platform.service, "operator", "mail.postroom.test", made.stdout.strip())
    found = operator.call("GET", "/v2/email-accounts", None)["items"]
    assert [item["address"] for item in found] == ["postmaster@mail.postroom.test"]
    return Mailbox(operator, found[0]["id"], found[0]["address"], "").reset()
