"""Aliases and the new address on an account's page, the catch-all on a domain's page."""

from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import Visit


def test_aliases_of_an_account(console: Visit) -> None:
    account, page = console.tenant.account("aliased"), console.page
    domain = console.tenant.domain
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("No other address")).to_be_visible()
    console.button("Add alias").click()
    page.get_by_label("Name before the @").fill("a+b")
    console.dialog.get_by_role("button", name="Add alias").click()
    expect(console.dialog.locator(".error").first).not_to_be_empty()
    page.get_by_label("Name before the @").fill("shop")
    judge(console, "the dialog of a new alias")
    console.dialog.get_by_role("button", name="Add alias").click()
    expect(page.locator("dt", has_text=f"shop@{domain}")).to_be_visible()
    judge(console, "an account with an alias")
    console.button(f"Delete shop@{domain}").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No other address")).to_be_visible()
    assert console.tenant.get("/v2/email-aliases").json["items"] == []


def test_a_new_address(console: Visit) -> None:
    account, page = console.tenant.account("maiden"), console.page
    domain = console.tenant.domain
    console.open(f"/accounts/{account['id']}")
    console.button("Rename").click()
    page.get_by_label("Name before the @").fill("married")
    console.dialog.get_by_role("button", name="Change the address").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"married@{domain}")
    row = page.locator("dl > div", has=page.locator("dt", has_text=f"maiden@{domain}"))
    expect(row.get_by_text("former address")).to_be_visible()
    expect(page.get_by_text(f"maiden@{domain} → married@{domain}")).to_be_visible()


def test_the_catch_all_of_a_domain(console: Visit) -> None:
    tenant, page = console.tenant, console.page
    domain = tenant.new_domain(user_id="shop")
    tenant.account("info", domain=domain, user_id="shop")
    console.open(f"/domains/{domain}?user_id=shop")
    console.button("Set a catch-all").click()
    page.get_by_label("Account", exact=True).fill(f"nobody@{domain}")
    console.dialog.get_by_role("button", name="Set a catch-all").click()
    expect(console.dialog.get_by_text("There is no such account of this user.")).to_be_visible()
    page.get_by_label("Account", exact=True).fill(f"Info@{domain}")
    console.dialog.get_by_role("button", name="Set a catch-all").click()
    expect(page.get_by_role("link", name=f"info@{domain}")).to_be_visible()
    judge(console, "a domain with a catch-all")
    page.locator("section", has_text="Catch-all").get_by_role("button", name="Delete").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Unknown addresses are refused")).to_be_visible()


def test_without_the_right_to_write(console: Visit) -> None:
    tenant = console.tenant
    account = tenant.account("readonly")
    console.sign_out()
    console.sign_in(tenant.new_key(scopes=["accounts:read", "domains:read"]))
    console.open(f"/accounts/{account['id']}")
    for name in ("Add alias", "Rename"):
        expect(console.button(name)).to_have_count(0)
    console.open(f"/domains/{tenant.domain}")
    expect(console.button("Set a catch-all")).to_have_count(0)
