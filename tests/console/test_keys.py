"""Keys: made with scopes of one's own choice or a preset, and revoked."""

from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import ABSOLUTE, Visit
from tests.console.widths import fits


def test_keys(console: Visit) -> None:
    console.open("/keys")
    console.button("Create key").click()
    console.dialog.get_by_label("Name").fill("Reports")
    console.dialog.get_by_label("accounts:write").uncheck()
    console.dialog.get_by_role("button", name="Create key").click()
    made = console.page.locator(".secret").inner_text()
    assert console.tenant.get("/v2/email-accounts", key=made).status == 200
    assert console.tenant.post("/v2/email-accounts/create", {}, key=made).status == 403
    console.button("Done").click()
    console.button("Revoke Reports").click()
    console.dialog.get_by_role("button", name="Revoke").click()
    expect(console.page.locator(".toast")).to_contain_text("Key revoked")
    assert console.tenant.get("/v2/email-accounts", key=made).status == 401


def test_a_preset_chooses_the_scopes_of_a_key(console: Visit) -> None:
    console.open("/keys")
    expect(console.page.get_by_role("columnheader", name="Created")).to_be_visible()
    expect(console.page.locator("tbody tr").first.locator("time").first).to_have_attribute("title", ABSOLUTE)
    console.button("Create key").click()
    preset, boxes = console.dialog.get_by_label("What it is for"), console.dialog.locator("[name=scope]")
    checked = console.dialog.locator("[name=scope]:checked")
    expect(checked).to_have_count(boxes.count())
    preset.select_option("Reports and monitoring")
    assert [box.get_attribute("value") for box in checked.all()] == ["events:read", "stats:read"]
    console.dialog.get_by_label("accounts:read").check()
    expect(preset).to_have_value("own")
    console.dialog.get_by_label("accounts:read").uncheck()
    expect(preset).to_have_value("monitoring")
    console.dialog.get_by_role("button", name="Create key").click()
    made = console.page.locator(".secret").inner_text()
    assert console.tenant.get("/v2/stats", key=made).status == 200
    assert console.tenant.get("/v2/email-accounts", key=made).status == 403


def test_the_scopes_of_a_key_unfold(console: Visit) -> None:
    console.tenant.new_key(["stats:read", "events:read"], name="Reports")
    console.open("/keys")
    row = console.page.locator("tbody tr", has_text="Reports")
    expect(row.get_by_text("stats:read")).to_be_hidden()
    row.get_by_text("2 scopes").focus()
    console.page.keyboard.press("Enter")
    expect(row.locator(".tag")).to_have_text(["stats:read", "events:read"])
    expect(row.get_by_text("stats:read")).to_be_visible()
    console.page.locator("tbody tr", has_text="yours").get_by_text("all that you may").click()
    judge(console, "the scopes of keys")
    fits(console, "the scopes of keys")


def test_a_preset_is_no_wider_than_the_own_key(visit: Visit) -> None:
    visit.sign_in(visit.tenant.new_key(["accounts:read", "keys:read", "keys:write"]))
    visit.open("/keys")
    visit.button("Create key").click()
    preset = visit.dialog.get_by_label("What it is for")
    expect(preset.locator("option")).to_have_text(
        [
            "Everything that you may",
            "Read everything, change nothing",
            "Create and manage accounts",
            "My own choice",
        ]
    )
    preset.select_option("Create and manage accounts")
    checked = visit.dialog.locator("[name=scope]:checked")
    assert [box.get_attribute("value") for box in checked.all()] == ["accounts:read"]
