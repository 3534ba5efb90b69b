"""The main task of each page, with a mouse, a keyboard and a phone."""

import re

import pytest
from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import Visit

XSS = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"
PHONE = {"viewport": {"width": 375, "height": 700}, "has_touch": True}


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


def test_what_is_not_there_says_so_and_no_more(console: Visit) -> None:
    console.page.goto(f"{console.base}/accounts/999999999")
    expect(console.page.locator(".state p").first).to_have_text("It does not exist, or this key may not see it.")


def test_copying_without_the_clipboard_interface(console: Visit) -> None:
    """Browsers have no clipboard API over plain HTTP."""
    console.page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
    console.page.add_init_script("addEventListener('copy', () => { window.copied = getSelection().toString(); })")
    account = console.tenant.account("copy")
    console.open(f"/accounts/{account['id']}")
    console.button("Copy the address").click()
    expect(console.page.locator(".copyable .done")).to_have_count(1)
    assert console.page.evaluate("[isSecureContext, copied]") == [False, account["address"]]


def test_creating_with_the_keyboard_alone(console: Visit) -> None:
    page = console.page
    console.open("/accounts")
    console.button("Create account").first.focus()
    page.keyboard.press("Enter")
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


def test_domains(console: Visit) -> None:
    console.open("/domains")
    expect(console.page.get_by_role("link", name=console.tenant.domain)).to_be_visible()
    console.button("Add domain").click()
    console.dialog.get_by_label("Domain").fill("customer.example")
    console.dialog.get_by_label("User").fill("user 1/2")
    console.dialog.get_by_role("button", name="Add domain").click()
    expect(console.page.locator("h1")).to_have_text("customer.example")
    expect(console.page.locator(".banner")).to_contain_text("pending")
    expect(console.page.locator(".record").first).to_contain_text("_postroom-challenge")
    console.button("Check DNS now").click()
    expect(console.page.locator(".record").first).to_contain_text("Missing")
    expect(console.page.locator(".fix").first).to_contain_text("publish it")
    expect(console.page.locator(".banner")).to_contain_text("0 of")
    expect(console.page.locator(".banner")).to_contain_text("user ")
    console.button("Delete").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(console.page.get_by_role("heading", name="Domains", exact=True)).to_be_visible()
    expect(console.page.get_by_role("link", name="customer.example")).to_have_count(0)


def test_a_domain_of_the_demo_explains_itself(console: Visit) -> None:
    """The page explains why the domain is active without a record, whose domain it is, what its
    names mean, and what a real domain needs."""
    notes = console.page.locator(".notes p")
    console.open(f"/domains/{console.tenant.domain}")
    expect(notes).to_have_count(4)
    for text in ("no record is required", "every user of the organization", "Add domain", "POSTROOM_HOSTNAME"):
        expect(console.page.locator(".notes")).to_contain_text(text)
    expect(console.page.get_by_role("heading", name="What a real domain would need")).to_be_visible()
    console.tenant.post("/v2/domain", {"domain": "real.example", "user_id": "u"})
    console.open("/domains/real.example?user_id=u")
    expect(notes).to_have_count(1)
    expect(notes).to_contain_text("mail.postroom.test is what this server calls itself")
    expect(console.page.get_by_role("heading", name="Required", exact=True)).to_be_visible()


def test_overview_and_events(console: Visit) -> None:
    console.tenant.account("first")
    console.tenant.api.reasons["postfix"] = "nothing listens"
    try:
        console.open("/")
    finally:
        console.tenant.api.reasons.clear()
    expect(console.page.locator(".tile").first).to_contain_text("Accounts1")
    expect(console.page.locator(".parts")).to_contain_text("nothing listens")
    expect(console.page.locator("figcaption")).to_have_text("1 in the last 14 days")
    console.page.get_by_role("link", name="All events").click()
    expect(console.page.locator("tbody tr").first).to_contain_text("Account created")


def test_a_narrow_key_sees_what_it_may(visit: Visit) -> None:
    visit.sign_in(visit.tenant.new_key(["accounts:read"], user_id="u1"))
    visit.open("/accounts")
    expect(visit.button("Create account")).to_have_count(0)
    expect(visit.page.get_by_role("link", name="Keys")).to_have_count(0)
    visit.open("/keys")
    expect(visit.page.get_by_text("Not for this key")).to_be_visible()


def test_busy_and_too_many(console: Visit) -> None:
    """On 503 or 429, the page says so and tries again by itself. The browser's network gives the
    answers."""
    asked = []

    def refuse(route):  # type: ignore[no-untyped-def]
        asked.append(route.request.url)
        if len(asked) > 1:
            return route.continue_()
        return route.fulfill(status=503, headers={"retry-after": "1"}, json={"code": "busy", "detail": "Busy."})

    console.page.route("**/v2/keys*", refuse)
    console.page.goto(f"{console.base}/keys")
    expect(console.page.get_by_text("The server is busy")).to_be_visible()
    expect(console.page.locator("tbody tr")).to_have_count(1)


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


def test_nothing_that_is_stored_becomes_markup(console: Visit) -> None:
    account = console.tenant.account("xss", user_id=XSS, display_name=XSS)
    console.tenant.post("/v2/keys", {"name": XSS, "user_id": XSS})
    console.tenant.post("/v2/domain", {"domain": "xss.example", "user_id": XSS})
    alerts: list[str] = []
    console.page.on("dialog", lambda dialog: alerts.append(dialog.message))
    for path in ("/", "/accounts", f"/accounts/{account['id']}", "/keys", "/events", "/domains"):
        console.open(path)
        if path != "/":
            expect(console.page.get_by_text(XSS).first).to_be_visible()
        assert console.page.locator("main img, main script").count() == 0
    assert alerts == []


@pytest.mark.parametrize("visit", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_accessibility(console: Visit) -> None:
    account = console.tenant.account("axe", display_name="Ann")
    paths = ["/", "/accounts", f"/accounts/{account['id']}", "/keys", "/events", "/domains"]
    paths += [f"/domains/{console.tenant.domain}", "/nothing-is-here"]
    for path in paths[:-1]:
        console.open(path)
        judge(console, path)
        width = console.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{path} is {width} px too wide"
    console.open("/accounts")
    console.button("Create account").first.click()
    judge(console, "the dialog")
    console.page.keyboard.press("Escape")
    console.button("Sign out").click()
    expect(console.button("Sign in")).to_be_visible()
    judge(console, "signing in")


@pytest.mark.parametrize("visit", [PHONE], ids=["phone"], indirect=True)
def test_on_a_phone(console: Visit) -> None:
    console.page.get_by_role("link", name="Accounts", exact=True).tap()
    console.button("Create account").first.tap()
    fill_account(console, "phone")
    console.dialog.get_by_role("button", name="Create account").tap()
    expect(console.page.locator(".secret")).to_be_in_viewport()


def test_the_theme_is_kept(console: Visit) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(background)
    console.button("Use the dark theme").click()
    dark = console.page.evaluate(background)
    assert dark != light
    console.page.reload()
    assert console.page.evaluate(background) == dark
    console.settle()


def test_a_hundred_thousand_accounts(console: Visit) -> None:
    tenant = console.tenant
    fill = """
    INSERT INTO accounts (organization_id, domain_id, user_id, address, status, is_default, password, generation,
      created_at, updated_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    SELECT :o, (SELECT id FROM domains WHERE name = :d), 'u' || i % 999,
      'a' || substr('000000' || i, length('000000' || i) - 5) || '@' || :d,
      'active', 0, 'x', 1, 1, 1 FROM n"""
    tenant.api.database.write_sync(lambda tx: tx.run(fill, o=tenant.organization_id, d=tenant.domain))
    console.open("/accounts")
    first = console.page.locator("tbody tr a").first
    expect(first).to_have_text(f"a100000@{tenant.domain}")
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
