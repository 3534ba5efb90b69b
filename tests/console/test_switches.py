"""The switches on an account's page."""

from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import Visit


def test_it_works(console: Visit) -> None:
    account, page = console.tenant.account("limited"), console.page
    console.open(f"/accounts/{account['id']}")
    console.button("Change what it may be used for").click()
    for name in ("IMAP", "POP3", "Its main password logs in"):
        console.dialog.get_by_role("checkbox", name=name).uncheck()
    judge(console, "the dialog of the switches")
    console.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("app passwords only")).to_be_visible()
    full = console.tenant.full(account["id"])
    assert (full["protocols"], full["main_password"]) == (
        {"imap": False, "pop3": False, "smtp": True, "sieve": True},
        False,
    )
    assert [one.protocol for one in console.tenant.api.ended_switches] == ["imap", "pop3", None]
    expect(page.get_by_text("Profile for iPhone and Mac")).to_have_count(0)
    expect(page.get_by_text("Reading (IMAP)")).to_have_count(0)
    expect(page.get_by_text("Sending (SMTP)")).to_be_visible()
    judge(console, "an account with switches")
