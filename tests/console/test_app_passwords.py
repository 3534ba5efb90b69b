"""App passwords on an account's page."""

from playwright.sync_api import expect

from postroom.actor import DEFAULT_SCOPES
from tests.console.axe import judge
from tests.console.conftest import Visit


def test_it_works(console: Visit) -> None:
    account, page = console.tenant.account("devices"), console.page
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("No app password")).to_be_visible()
    console.button("Add app password").click()
    page.get_by_label("Name", exact=True).fill("Ann's phone")
    page.get_by_role("checkbox", name="POP3").uncheck()
    page.get_by_label("Expires").select_option("In an hour")
    networks = page.get_by_label("Only from networks")
    networks.fill("192.0.2.1/24")
    judge(console, "the dialog of a new app password")
    console.dialog.get_by_role("button", name="Add app password").click()
    expect(networks).to_have_attribute("aria-invalid", "true")
    networks.fill("192.0.2.0/24 2001:db8::/32")
    console.dialog.get_by_role("button", name="Add app password").click()
    shown = console.dialog.get_by_label("App password", exact=True)
    expect(shown).to_be_visible()
    made = console.tenant.get(f"/v2/email-accounts/{account['id']}/app-passwords").json["app_passwords"]
    assert [(one["name"], one["scopes"]) for one in made] == [("Ann's phone", ["imap", "smtp"])]
    assert made[0]["networks"] == ["192.0.2.0/24", "2001:db8::/32"]
    assert made[0]["expires_at"] > made[0]["created_at"]
    assert len(shown.inner_text()) == 35
    console.dialog.get_by_role("button", name="Done").click()
    expect(page.locator("dt", has_text="Ann's phone")).to_be_visible()
    judge(console, "an account with an app password")
    console.button("Delete Ann's phone").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No app password")).to_be_visible()
    assert made[0]["id"] in console.tenant.api.ended_credentials


def test_without_the_scope(console: Visit) -> None:
    tenant = console.tenant
    account = tenant.account("noscope")
    console.sign_out()
    console.sign_in(tenant.new_key(scopes=DEFAULT_SCOPES))
    console.open(f"/accounts/{account['id']}")
    expect(console.page.get_by_text("A key with the scope credentials:write can add one.")).to_be_visible()
    expect(console.button("Add app password")).to_have_count(0)
