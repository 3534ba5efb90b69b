"""The page of an account: the settings for mail clients, its mailbox and its sessions."""

import plistlib
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from postroom.accounts import sent_counts
from postroom.errors import MailUnavailable, Refused
from postroom.mailboxes.interface import OpenSession, Usage
from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.harness.hashes import HASHES
from tests.harness.server import Told


def test_settings_for_mail_clients(console: Visit) -> None:
    account = console.tenant.account("settings", display_name="Settings")
    console.open(f"/accounts/{account['id']}")
    for label in ("Copy the user name", "Copy the server", "Copy the managesieve port with STARTTLS"):
        expect(console.button(label)).to_be_visible()
    ways = console.page.locator(".way code")
    expect(ways).to_have_text(["1993", "1143", "1995", "1110", "1465", "1587", "4190"])
    with console.page.expect_download() as download:
        console.page.get_by_role("link", name="Profile for iPhone and Mac").click()
    assert download.value.suggested_filename == f"{account['address']}.mobileconfig"
    (mail,) = plistlib.loads(download.value.path().read_bytes())["PayloadContent"]
    assert (mail["EmailAddress"], mail["EmailAccountName"]) == (account["address"], "Settings")


@pytest.fixture
def told(console: Visit) -> Iterator[Told]:
    """What the server reports about mailboxes: a size and three sessions."""
    mailboxes = console.tenant.api.mailboxes
    mailboxes.size = Usage(2_150_000, 1234)
    mailboxes.open = [OpenSession("imap", "192.0.2.7")] * 2 + [OpenSession("pop3", "2001:db8::1")]
    yield mailboxes
    mailboxes.size, mailboxes.open, mailboxes.problem = Usage(0, 0), [], None


def test_the_mailbox_of_an_account(console: Visit, told: Told) -> None:
    account, page = console.tenant.account("mailbox"), console.page
    console.open(f"/accounts/{account['id']}")
    facts = {"Used": "2.2 MB", "Messages": "1,234", "Last login": "never"}
    facts |= {"IMAP": "192.0.2.72 connections", "POP3": "2001:db8::11 connection"}
    for name, value in facts.items():
        row = page.locator("dl > div", has=page.locator("dt", has_text=re.compile(f"^{name}$")))
        expect(row.locator("dd")).to_have_text(value)
    console.button("Sign out everywhere").focus()
    page.keyboard.press("Enter")
    told.open = []
    console.dialog.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Nobody is logged in")).to_be_visible()
    expect(console.button("Sign out everywhere")).to_be_hidden()
    assert (account["id"], 1) in console.tenant.api.ended
    told.open = [OpenSession("managesieve", "192.0.2.9")]
    console.button("Look again").click()
    expect(page.locator("dt", has_text="ManageSieve")).to_be_visible()


def test_a_page_whose_mailbox_does_not_answer(console: Visit, told: Told) -> None:
    """The page shows everything else, and shows the mailbox as soon as Dovecot answers."""
    account, page = console.tenant.account("away"), console.page
    told.problem = MailUnavailable("Dovecot does not answer now. Try again.", 1)
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(["No answer from the mailbox"] * 2)
    expect(page.locator(".verdict")).to_have_text("active")
    judge(console, "an account whose mailbox gives no answer")
    told.problem = None
    expect(page.get_by_text("2.2 MB")).to_be_visible()
    told.problem = Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(["No mail here"] * 2)


def test_a_script_that_forwards_is_seen_and_a_reset_stops_it(console: Visit, told: Told) -> None:
    account, page = console.tenant.account("taken"), console.page
    told.size = Usage(1, 1, True)
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("by a Sieve script")).to_be_visible()
    console.button("Reset password").click()
    console.dialog.get_by_label("Stop its Sieve scripts too").check()
    console.dialog.get_by_role("button", name="Reset password").click()
    expect(console.dialog.get_by_text("Save this password now")).to_be_visible()
    types = [event["type"] for event in console.tenant.events() if event["account_id"] == account["id"]]
    assert types[-2:] == ["account.scripts_disabled", "account.password_reset"]


def test_the_quota_of_an_account(console: Visit, told: Told) -> None:
    """A quota below the usage is seen as a full mailbox, and can be lifted."""
    account, page = console.tenant.account("quota"), console.page
    console.open(f"/accounts/{account['id']}")

    def change(megabytes: str, messages: str) -> None:
        console.button("Change the quota").click()
        console.dialog.get_by_label("Megabytes").fill(megabytes)
        console.dialog.get_by_label("Messages").fill(messages)
        console.dialog.get_by_role("button", name="Save").click()

    change("many", "")
    expect(console.dialog.get_by_text("Use a number.")).to_be_visible()
    judge(console, "a quota that is no number")
    console.dialog.get_by_role("button", name="Cancel").click()
    change("2.1", "5000")
    expect(page.get_by_text("2.2 MB of 2.1 MB")).to_be_visible()
    expect(page.get_by_text("1,234 of 5,000")).to_be_visible()
    expect(page.get_by_text("new mail is refused")).to_be_visible()
    expect(page.get_by_role("table").get_by_text("Mailbox full")).to_be_visible()
    judge(console, "an account with a full mailbox")
    assert console.tenant.full(account["id"])["quota_bytes"] == 2_100_000
    change("", "")
    expect(page.get_by_text("new mail is refused")).to_be_hidden()
    full = console.tenant.full(account["id"])
    assert (full["quota_bytes"], full["quota_messages"]) == (None, None)


def test_what_an_account_may_send(console: Visit, told: Told) -> None:
    """The counts, the limits and the block, which a button lifts."""
    account, page = console.tenant.account("sender"), console.page
    write = console.tenant.api.database.write_sync
    write(lambda tx: sent_counts.count(tx, account["id"], 7, []))
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("Both count recipients, also of forwards and replies.")).to_be_visible()
    console.button("Change the send limits").click()
    console.dialog.get_by_label("An hour").fill("many")
    console.dialog.get_by_role("button", name="Save").click()
    expect(console.dialog.get_by_text("Use a whole number.")).to_be_visible()
    judge(console, "a send limit that is no number")
    console.dialog.get_by_label("An hour").fill("20")
    console.dialog.get_by_label("It may send mail").uncheck()
    console.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("7 of 20")).to_be_visible()
    expect(page.get_by_text("switched off")).to_be_visible()
    full = console.tenant.full(account["id"])
    assert (full["may_send"], full["send_limits"]["recipients_per_hour"]) == (False, 20)
    blocked = "UPDATE accounts SET send_blocked_at = 1, may_send = 1 WHERE id = :id RETURNING id"
    write(lambda tx: tx.all(blocked, id=account["id"]))
    console.open(f"/accounts/{account['id']}")
    judge(console, "a blocked account")
    console.button("Lift the block").click()
    expect(page.locator(".toast")).to_contain_text("may send again")
    expect(console.button("Lift the block")).to_be_hidden()
    assert console.tenant.full(account["id"])["send_blocked_at"] is None


def test_forwarding_and_vacation(console: Visit) -> None:
    account, page = console.tenant.account("rules", password_hash=HASHES[0]), console.page
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("imported as a hash")).to_be_visible()
    console.button("Change the forwarding").click()
    console.dialog.get_by_label("Forward its mail").check()
    console.dialog.get_by_label("Addresses").fill("ann@else.example\nno address")
    console.dialog.get_by_role("button", name="Save").click()
    expect(console.dialog.locator("[data-field=to] .error")).to_contain_text("Address 2")
    console.dialog.get_by_label("Addresses").fill("ann@else.example\nbob@else.example")
    console.dialog.get_by_label("Keep a copy here").uncheck()
    judge(console, "the dialog of a forwarding")
    console.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("ann@else.example, bob@else.example, without a copy here")).to_be_visible()
    expect(page.get_by_text("off → ann@else.example, bob@else.example")).to_have_count(0)
    console.button("Change the vacation").click()
    console.dialog.get_by_label("Reply to mail").check()
    console.dialog.get_by_label("Text").fill("I am away.")
    console.dialog.get_by_label("Until").fill("2199-01-02T03:04:05")
    judge(console, "the dialog of a vacation")
    console.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("replies now")).to_be_visible()
    path = f"/v2/email-accounts/{account['id']}"
    assert console.tenant.get(f"{path}/forwarding").json["forwarding"]["keep_copy"] is False
    rule = console.tenant.get(f"{path}/vacation").json["vacation"]
    assert (rule["text"], rule["subject"], rule["until_at"][:4]) == ("I am away.", None, "2199")
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("off → ann@else.example, bob@else.example")).to_be_visible()
