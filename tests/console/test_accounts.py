"""Accounts: made, handed on, found, changed, deleted, restored, and a hundred thousand of them."""

import re

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Visit
from tests.console.widths import fits
from tests.harness.server import Tenant

CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}
PHONE = {"viewport": {"width": 360, "height": 700}, "has_touch": True}


def fill_account(console: Visit, local_part: str, user: str = "user_1") -> None:
    console.dialog.get_by_label("Name before the @").fill(local_part)
    console.dialog.get_by_label("Domain").fill(console.tenant.domain)
    console.dialog.get_by_label("User", exact=True).fill(user)


def test_an_account_from_its_creation_to_its_end(console: Visit) -> None:
    page = console.page
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "welcome")
    console.dialog.get_by_role("button", name="Create account").click()
    secret = page.locator(".secret")
    expect(secret).to_have_text(re.compile(r"^[a-z]{5}(-[a-z]{5}){5}$"))
    password = secret.inner_text()
    console.dialog.get_by_role("button", name="Copy", exact=True).click()
    expect(console.button("Copied")).to_be_visible()
    console.button("Done").click()
    expect(secret).to_have_count(0)
    assert password not in page.content()
    page.get_by_role("link", name=f"welcome@{console.tenant.domain}").click()
    for verb, status in (("Suspend", "suspended"), ("Resume", "active"), ("Disable", "disabled")):
        console.button(verb).click()
        if verb != "Resume":
            console.dialog.get_by_role("button", name=verb).click()
        expect(page.locator(".verdict")).to_have_text(status)
    console.button("Reset password").click()
    console.dialog.get_by_role("button", name="Reset password").click()
    expect(secret).not_to_have_text(password)
    console.button("Done").click()
    console.button("Delete").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No accounts yet")).to_be_visible()
    console.button("Undo").click()
    expect(page.locator("h1")).to_have_text(f"welcome@{console.tenant.domain}")
    types = [event["type"] for event in console.tenant.events() if event["account_id"]]
    assert types[:6] == [
        f"account.{t}" for t in ("created", "suspended", "resumed", "disabled", "password_reset", "deleted")
    ]
    assert types[6] == "account.restored"


def test_an_error_uses_the_words_of_the_form(console: Visit) -> None:
    """The API names its fields and routes."""
    console.tenant.account("taken")
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "taken")
    console.dialog.get_by_role("button", name="Create account").click()
    error = console.dialog.locator("[data-field=local_part] .error")
    expect(error).to_contain_text("choose another name before the @.")
    fill_account(console, "free", user="\u2028")
    console.dialog.get_by_role("button", name="Create account").click()
    expect(console.dialog.locator("[data-field=user_id] .error")).to_contain_text("A user must be")
    console.tenant.put("/v2/limits", {"user_id": "user_1", "accounts": 0})
    fill_account(console, "free")
    console.dialog.get_by_role("button", name="Create account").click()
    expect(console.dialog.get_by_role("alert")).to_contain_text("or have it raised.")


def test_a_deleted_account_is_found_and_restored(console: Visit) -> None:
    account = console.tenant.account("gone", user_id="u1")
    console.tenant.account("other")
    console.tenant.post("/v2/email-accounts/delete", {"id": account["id"], "user_id": "u1"})
    console.open("/accounts")
    page = console.page
    expect(page.get_by_text(account["address"])).to_have_count(0)
    page.get_by_label("Status").select_option("Deleted")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(account["address"])
    expect(rows).to_contain_text("erased in")
    console.button(f"Actions for {account['address']}").click()
    page.get_by_role("menuitem", name="Restore").click()
    expect(page.get_by_text("Nothing to restore")).to_be_visible()
    assert console.tenant.full(account["id"])["status"] == "active"


@pytest.mark.parametrize("visit", [CLIPBOARD], ids=["clipboard"], indirect=True)
def test_after_a_create_everything_can_be_handed_on(console: Visit) -> None:
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "handed")
    console.dialog.get_by_role("button", name="Create account").click()
    console.button("Copy all").click()
    expect(console.button("Copied")).to_be_visible()
    password, address = console.page.locator(".secret").inner_text(), f"handed@{console.tenant.domain}"
    assert console.page.evaluate("navigator.clipboard.readText()").splitlines() == [
        f"Address: {address}",
        f"User name: {address}",
        f"Password: {password}",
        "Server: mail.postroom.test",
        "Reading (IMAP): port 1993 (TLS) or 1143 (STARTTLS)",
        "Reading (POP3): port 1995 (TLS) or 1110 (STARTTLS)",
        "Sending (SMTP): port 1465 (TLS) or 1587 (STARTTLS)",
        "Filters (Sieve): port 4190 (STARTTLS)",
    ]
    for port in ("1993", "1143", "1465", "1587"):
        expect(console.dialog.get_by_text(port, exact=True)).to_be_visible()
    console.page.keyboard.press("Escape")
    expect(console.dialog).to_have_count(0)


def test_the_password_is_shown_without_the_settings(console: Visit) -> None:
    console.page.route("**/client-settings", lambda route: route.abort())
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "alone")
    console.dialog.get_by_role("button", name="Create account").click()
    expect(console.page.locator(".secret")).to_be_visible()
    expect(console.dialog.get_by_role("alert")).to_contain_text("No connection")
    expect(console.button("Copy all")).to_be_disabled()
    console.page.unroute_all()
    console.dialog.get_by_role("button", name="Try again").click()
    expect(console.button("Copy all")).to_be_enabled()


def test_an_escape_does_not_lose_a_password(console: Visit) -> None:
    account = console.tenant.account("kept")
    console.open(f"/accounts/{account['id']}")
    console.button("Reset password").click()
    console.dialog.get_by_role("button", name="Reset password").click()
    expect(console.page.locator(".secret")).to_be_visible()
    console.page.keyboard.press("Escape")
    expect(console.page.locator(".secret")).to_be_visible()
    console.dialog.get_by_role("button", name="Copy", exact=True).click()
    expect(console.button("Copied")).to_be_visible()
    console.page.keyboard.press("Escape")
    expect(console.page.locator(".secret")).to_have_count(0)


def test_creating_with_the_keyboard_alone(console: Visit) -> None:
    page = console.page
    console.open("/accounts")
    console.button("Create account").first.focus()
    page.keyboard.press("Enter")
    expect(console.dialog.get_by_label("Name before the @")).to_be_focused()
    for text in ("keys", console.tenant.domain, "user_1"):
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".secret")).to_be_visible()
    expect(console.button("Copy")).to_be_focused()
    page.keyboard.press("Enter")
    expect(console.button("Copied")).to_be_visible()
    page.keyboard.press("Escape")
    expect(console.dialog).to_have_count(0)
    expect(page.get_by_role("link", name=f"keys@{console.tenant.domain}")).to_be_visible()


def test_what_is_refused_is_said_at_the_field(console: Visit) -> None:
    console.tenant.account("taken")
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "taken")
    console.dialog.get_by_role("button", name="Create account").click()
    box = console.dialog.locator('[data-field="local_part"]')
    expect(box.locator(".error")).to_contain_text(re.compile("taken|exists|address"))
    fill_account(console, "no spaces")
    console.dialog.get_by_role("button", name="Create account").click()
    expect(box.locator("input")).to_have_attribute("aria-invalid", "true")


def test_filters_and_search(console: Visit) -> None:
    for name, user in (("anna", "u1"), ("anton", "u2"), ("berta", "u1")):
        console.tenant.account(name, user_id=user)
    console.open("/accounts")
    rows = console.page.locator("tbody tr")
    expect(rows).to_have_count(3)
    console.page.get_by_label("Search addresses").type("an")
    expect(rows).to_have_count(2)
    console.page.get_by_label("User").type("u1")
    expect(rows).to_have_count(1)
    expect(console.page).to_have_url(re.compile(r"q=an&user_id=u1$"))
    console.page.reload()
    expect(rows).to_have_count(1)
    console.page.get_by_label("Status").select_option("disabled")
    expect(console.page.get_by_text("No account fits")).to_be_visible()


def test_a_search_finds_the_middle_of_an_address_and_the_name(console: Visit) -> None:
    """What starts with the search comes first, then the newest of the others."""
    tenant = console.tenant
    for local_part, name in (("john.smith", None), ("smith", "S"), ("kai", "Zo\u00eb Smithers"), ("other", "Other")):
        tenant.account(local_part, display_name=name, user_id="u2" if local_part == "other" else "u1")
    console.open("/accounts")
    rows, search = console.page.locator("tbody tr"), console.page.get_by_label("Search addresses")
    for text, found in (("Smith", ["smith", "kai", "john.smith"]), ("zoe", ["kai"]), ("n.sm", ["john.smith"])):
        search.fill(text)
        expect(rows).to_contain_text([f"{local_part}@{tenant.domain}" for local_part in found])
        expect(rows).to_have_count(len(found))
    search.fill("other")
    expect(rows).to_have_count(1)
    console.page.get_by_label("User").fill("u1")
    expect(console.page.get_by_text("No account fits")).to_be_visible()


def test_an_unknown_outcome(console: Visit) -> None:
    """The page warns, because a plain retry could carry out the request twice."""
    console.page.route(
        "**/v2/email-accounts/create",
        lambda route: route.fulfill(status=503, headers={"retry-after": "1"}, json={"code": "outcome_unknown"}),
    )
    console.open("/accounts")
    console.button("Create account").first.click()
    fill_account(console, "unsure")
    console.dialog.get_by_role("button", name="Create account").click()
    expect(console.dialog.get_by_text("The request may have been carried out")).to_be_visible()


@pytest.mark.parametrize("visit", [PHONE], ids=["phone"], indirect=True)
def test_on_a_phone(console: Visit) -> None:
    console.page.get_by_role("link", name="Accounts", exact=True).tap()
    console.button("Create account").first.tap()
    fill_account(console, "phone")
    console.dialog.get_by_role("button", name="Create account").tap()
    expect(console.page.locator(".secret")).to_be_in_viewport()


def add_a_hundred_thousand(tenant: Tenant) -> None:
    fill = """
    INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
      created_at, updated_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    SELECT :o, (SELECT id FROM domains WHERE name = :d), 'u' || i % 999,
      'a' || substr('000000' || i, length('000000' || i) - 5) || '@' || :d,
      'active', 0, 'x', 1, 1, 1 FROM n"""
    tenant.api.database.write_sync(lambda tx: tx.run(fill, o=tenant.organization_id, d=tenant.domain))


def test_a_hundred_thousand_accounts(console: Visit) -> None:
    tenant = console.tenant
    add_a_hundred_thousand(tenant)
    for path in ("/", "/events", "/domains"):
        console.open(path)
        fits(console, path)
    console.open("/accounts")
    first = console.page.locator("tbody tr a").first
    expect(first).to_have_text(f"a100000@{tenant.domain}")
    fits(console, "a hundred thousand accounts")
    console.button("Next").click()
    expect(first).to_have_text(f"a099950@{tenant.domain}")
    console.button("Next").click()
    expect(first).to_have_text(f"a099900@{tenant.domain}")
    first.click()
    expect(console.page.locator("h1")).to_have_text(f"a099900@{tenant.domain}")
    console.page.go_back()
    expect(first).to_have_text(f"a099900@{tenant.domain}")
    console.button("Previous").click()
    expect(first).to_have_text(f"a099950@{tenant.domain}")
    console.page.get_by_label("Search addresses").type("a00001")
    expect(console.page.locator("tbody tr")).to_have_count(10)
    expect(first).to_have_text(f"a000019@{tenant.domain}")
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))
    console.page.get_by_label("Search addresses").fill("09999")
    expect(first).to_have_text(f"a099999@{tenant.domain}")
    expect(console.page.locator(".pager")).to_contain_text("Next searches on")
    console.wait_until_loaded()
    asked.clear()
    console.page.get_by_label("Search addresses").fill("00019@")
    expect(console.page.get_by_text("Next searches older ones")).to_be_visible()
    assert len([url for url in asked if "/v2/" in url]) == 10  # however many accounts there are
