"""An organization without a domain is led to its first one, not to a form that can only fail."""

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Visit


@pytest.fixture
def bare(console: Visit) -> Visit:
    """A visitor whose organization has no domain."""
    tenant = console.tenant
    assert tenant.post("/v2/domains/delete", {"domain": tenant.domain, "user_id": "u"}).status == 200
    return console


def add(console: Visit, name: str) -> None:
    console.dialog.get_by_label("Domain").fill(name)
    console.dialog.get_by_label("User").fill("user_1")
    console.dialog.get_by_role("button", name="Add domain").click()
    expect(console.page.locator("h1")).to_have_text(name)
    expect(console.page.locator(".record").first).to_contain_text("_postroom-challenge")


@pytest.mark.parametrize("path", ["/", "/accounts"])
def test_it_is_led_to_the_first_domain(bare: Visit, path: str) -> None:
    bare.open(path)
    expect(bare.page.get_by_role("heading", name="First, a domain")).to_be_visible()
    bare.button("Add domain").click()
    add(bare, f"first{'a' if path == '/' else 'b'}.example")


def test_the_button_for_an_account_leads_there_too(bare: Visit) -> None:
    bare.open("/accounts")
    bare.button("Create account").click()
    expect(bare.dialog).to_contain_text("First, a domain")
    bare.dialog.get_by_role("button", name="Add domain").click()
    add(bare, "first-c.example")
    bare.open("/accounts")
    bare.button("Create account").click()
    expect(bare.dialog).to_contain_text("No domain is active yet")
    bare.dialog.get_by_role("button", name="Open the domain").click()
    expect(bare.page.locator("h1")).to_have_text("first-c.example")


def test_a_domain_without_accounts_is_offered(bare: Visit) -> None:
    name = bare.tenant.new_domain()
    bare.open("/accounts")
    bare.button("Create account").first.click()
    expect(bare.dialog.get_by_label("Domain")).to_have_value(name)


def test_a_key_that_may_not_see_domains_gets_the_form(visit: Visit) -> None:
    visit.sign_in(visit.tenant.new_key(["accounts:read", "accounts:write"]))
    visit.open("/accounts")
    visit.button("Create account").first.click()
    expect(visit.dialog.get_by_label("Name before the @")).to_be_visible()
