"""The owner's page `/me`, in a real browser: the whole way, on a phone and with a dark theme."""

import pytest
from playwright.sync_api import expect

from postroom.errors import Refused
from postroom.mailboxes.interface import OpenSession
from tests.api.owner import PASSWORD, knows
from tests.api.rows import opens
from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.console.widths import fits

NEW = "lantern over quiet water"
PHONE = {"viewport": {"width": 360, "height": 740}}


def sign_in(visit: Visit, address: str, password: str) -> None:
    visit.page.get_by_label("Address").fill(address)
    visit.page.get_by_label("Password", exact=True).fill(password)
    visit.button("Sign in").click()


@pytest.mark.parametrize("visit", [PHONE, {"color_scheme": "dark"}], indirect=True, ids=["phone", "dark"])
def test_it_works(visit: Visit) -> None:
    page, tenant = visit.page, visit.tenant
    id_ = tenant.account("owner")["id"]
    address = knows(tenant, id_)
    tenant.api.mailboxes.open = [OpenSession("imap", "192.0.2.7")] * 2
    visit.open("/me")
    judge(visit, "signing in")
    sign_in(visit, address, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("The address or the password is wrong.")
    sign_in(visit, address, PASSWORD)
    expect(page.get_by_text("2 connections")).to_be_visible()
    visit.wait_until_loaded()
    judge(visit, "the page")
    fits(visit, "the page")
    assert "postroom-me" not in page.evaluate("document.cookie")
    page.set_viewport_size({"width": 360, "height": 740})

    visit.button("Add app password").click()
    visit.dialog.get_by_label("Name").fill("My phone")
    judge(visit, "the dialog of an app password")
    visit.dialog.get_by_role("button", name="Add app password").click()
    secret = visit.dialog.get_by_label("App password", exact=True).inner_text()
    expect(visit.dialog.get_by_text("Reading (IMAP)")).to_be_visible()
    fits(visit, "an app password", (360,))
    visit.button("Done").click()
    expect(page.get_by_text("My phone")).to_be_visible()
    assert secret not in page.content()
    visit.button("Delete My phone").click()
    visit.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="No app password")).to_be_visible()

    visit.button("Change the vacation").click()
    visit.dialog.get_by_label("Reply to mail").check()
    visit.dialog.get_by_label("Text").fill("I am back on Monday.")
    judge(visit, "the dialog of the vacation")
    visit.dialog.get_by_role("button", name="Save").click()
    expect(page.locator("blockquote")).to_have_text("I am back on Monday.")

    visit.button("Change password").click()
    for old, again, field, said in (
        (PASSWORD, "another", "again", "not the same"),
        ("wrong", NEW, "old", "not your password"),
    ):
        visit.dialog.get_by_label("Your password now").fill(old)
        visit.dialog.get_by_label("New password", exact=True).fill(NEW)
        visit.dialog.get_by_label("The new password again").fill(again)
        visit.dialog.get_by_role("button", name="Change password").click()
        expect(page.locator(f"[data-field={field}] .error")).to_contain_text(said)
    judge(visit, "the dialog of the password")
    visit.dialog.get_by_label("Your password now").fill(PASSWORD)
    visit.dialog.get_by_role("button", name="Change password").click()
    expect(page.locator(".toast").last).to_contain_text("Your password is changed")
    assert opens(tenant, id_, NEW)

    expect(page.get_by_role("heading", name="Open sessions")).to_be_visible()
    visit.button("Sign out everywhere").click()  # with the tokens of the new session
    visit.dialog.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.locator(".toast").last).to_contain_text("All mail clients are signed out")
    visit.wait_until_loaded()  # the page asks for the connections once more
    tenant.post(f"/v2/email-accounts/{id_}/password/reset", {})
    visit.button("Change the vacation").click()
    visit.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.locator("dialog")).to_have_count(0)  # a closed dialog is removed a moment later
    assert address not in page.content()


def test_signing_out_and_no_mail(visit: Visit) -> None:
    page, tenant = visit.page, visit.tenant
    address = knows(tenant, tenant.account("owner")["id"])
    visit.open("/me")
    sign_in(visit, address, PASSWORD)
    expect(visit.button("Sign out")).to_be_visible()
    tenant.api.mailboxes.problem = Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")
    try:
        visit.open("/me")  # the session goes on
        expect(page.get_by_role("heading", name="No mail here")).to_be_visible()
        visit.button("Sign out").click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        sign_in(visit, address, PASSWORD)
        expect(page.get_by_role("alert")).to_contain_text("runs without mail")
    finally:
        tenant.api.mailboxes.problem = None
    visit.open("/me")
    expect(visit.button("Sign in")).to_be_visible()
