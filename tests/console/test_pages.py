"""The main task of each page, with a mouse, a keyboard and a phone."""

import re

import pytest
from playwright.sync_api import expect

from postroom.events import TYPES
from tests.console.conftest import ABSOLUTE, Visit

XSS = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"


def test_a_missing_account_says_so_and_no_more(console: Visit) -> None:
    console.page.goto(f"{console.base}/accounts/999999999")
    expect(console.page.locator(".state p").first).to_have_text("It does not exist, or this key may not see it.")
    expect(console.page.locator("h1")).to_have_text("There is no such account")
    console.page.get_by_role("link", name="To the accounts").click()
    expect(console.page).to_have_url(f"{console.base}/accounts")


@pytest.mark.parametrize("is_signed_in", [True, False], ids=["signed in", "a stranger"])
def test_a_path_without_a_page_has_a_way_back(visit: Visit, is_signed_in: bool) -> None:
    if is_signed_in:
        visit.sign_in()
    for path in ("/nowhere", "/accounts/7/x", "/accounts/seven"):
        visit.open(path)
        expect(visit.page.get_by_role("heading", name="There is no such page")).to_be_visible()
    visit.page.get_by_role("link", name="To the overview" if is_signed_in else "To the console").click()
    expect(visit.page.locator("h1")).to_have_text("Overview" if is_signed_in else "Sign in")
    visit.wait_until_loaded()


def test_copying_without_the_clipboard_interface(console: Visit) -> None:
    """Browsers have no clipboard API over plain HTTP."""
    console.page.add_init_script("Object.defineProperty(window, 'isSecureContext', {value: false})")
    console.page.add_init_script("addEventListener('copy', () => { window.copied = getSelection().toString(); })")
    account = console.tenant.account("copy")
    console.open(f"/accounts/{account['id']}")
    console.button("Copy the address").click()
    expect(console.page.locator(".copyable .done")).to_have_count(1)
    assert console.page.evaluate("[isSecureContext, copied]") == [False, account["address"]]


def test_times_are_absolute_on_hover(console: Visit) -> None:
    account = console.tenant.account("timed")
    for path in ("/", "/accounts", f"/accounts/{account['id']}", "/domains", "/keys", "/events"):
        console.open(path)
        times = console.page.locator("main time")
        expect(times.first).to_have_attribute("title", ABSOLUTE)
        assert times.evaluate_all("(all) => all.every((time) => time.title && time.dateTime)")


def test_events_by_type(console: Visit) -> None:
    """With the keyboard. A type that is rare among many others is found, however far back."""
    tenant = console.tenant
    tenant.post("/v2/email-accounts/delete", {"id": tenant.account("rare")["id"]})
    sql = """
    INSERT INTO events (organization_id, type, data, created_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)
    SELECT :o, 'account.updated', '{}', :now FROM n"""
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id, now=tx.now))
    console.open("/events")
    rows = console.page.locator("tbody tr")
    expect(rows).to_have_count(50)
    console.page.get_by_label("Type").focus()
    console.page.keyboard.type("Account deleted")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(f"rare@{tenant.domain}")
    expect(console.page).to_have_url(re.compile(r"\?type=account\.deleted$"))
    console.page.reload()
    expect(rows).to_have_count(1)
    console.page.get_by_label("Type").select_option("account.restored")
    expect(console.page.get_by_text("Nothing has happened that fits")).to_be_visible()


def test_every_type_of_event_has_words(console: Visit) -> None:
    console.open("/events")
    options = console.page.get_by_label("Type").locator("option")
    assert sorted(option.get_attribute("value") or "" for option in options.all()) == sorted(("", *TYPES))


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


EVENT = """
INSERT INTO events (organization_id, type, account_id, user_id, key_id, request_id, data, created_at)
VALUES (:organization, :type, :account, 'u', :key, :request, :data, :now)"""


def happen(console: Visit, type_: str, data: str, account: int | None = None, **by: int | str | None) -> None:
    tenant = console.tenant
    facts = {"organization": tenant.organization_id, "type": type_, "account": account, "data": data}
    facts |= {"key": None, "request": None, **by}
    tenant.api.database.write_sync(lambda tx: tx.run(EVENT, now=tx.now, **facts))


@pytest.mark.parametrize(
    ("type_", "data", "by"),
    [
        ("webhook.disabled", '{"host": "a.example", "reason": "gone"}', "Postroom"),
        ("webhook.disabled", '{"host": "a.example", "reason": "key_revoked"}', "operator"),
        ("account.send_limit_reached", '{"limit": "recipients_per_hour", "number": 1}', "Postroom"),
        ("account.login_attack_started", '{"failures": 30, "networks": 1}', "Postroom"),
        ("domain.suspended", '{"domain": "a.example", "from": "active", "to": "suspended"}', "operator"),
        ("domain.activated", '{"domain": "a.example", "from": "suspended", "to": "active"}', "operator"),
        ("domain.activated", '{"domain": "a.example", "from": "pending", "to": "active"}', "Postroom or its operator"),
    ],
)
def test_who_made_a_change_without_a_key(console: Visit, type_: str, data: str, by: str) -> None:
    happen(console, type_, data)
    console.open("/events")
    happened = console.page.locator(f"tbody tr:has([title='{type_}'])")
    expect(happened.locator("td.by")).to_have_text(by)
    console.open("/")
    expect(console.page.locator(f".event-list li:has([title='{type_}']) .by")).to_have_text(by)


@pytest.mark.parametrize(
    ("type_", "data", "words"),
    [
        ("account.send_limit_reached", '{"limit": "recipients_per_hour", "number": 1}', "1 recipient per hour"),
        ("account.send_blocked", '{"limit": "new_recipients_per_day", "number": 2}', "2 new recipients per day"),
        ("account.login_attack_started", '{"failures": 30, "networks": 1}', "30 wrong passwords from 1 network"),
        ("account.login_attack_ended", '{"failures": 1, "seconds": 9}', "1 wrong password"),
    ],
)
def test_the_numbers_of_an_event(console: Visit, type_: str, data: str, words: str) -> None:
    happen(console, type_, data)
    console.open("/events")
    expect(console.page.locator(f"tbody tr:has([title='{type_}']) td.grow .faint")).to_have_text(words)


def test_what_the_owner_did_without_a_key(console: Visit) -> None:
    """A setup link ends app passwords, for example."""
    happen(console, "credential.deleted", '{"address": "a@b.example", "name": "Phone"}', request="5fab217b49179153")
    console.open("/events")
    expect(console.page.locator("tbody tr:has([title='credential.deleted']) td.by")).to_have_text("its owner")


def test_an_event_leads_only_to_accounts_that_open(console: Visit) -> None:
    """The hidden account of a domain that keeps no mail does not. A catch-all has its address."""
    tenant, page = console.tenant, console.page
    account = tenant.account("info")
    tenant.post(
        "/v2/email-aliases/create",
        {"domain": tenant.domain, "local_part": "*", "user_id": account["user_id"], "account_ids": [account["id"]]},
    )
    happen(console, "message.read", f'{{"address": "*@{tenant.domain}"}}', account=account["id"] + 1, key=1)
    for path, item in (("/events", "tbody tr"), ("/", ".event-list li")):
        console.open(path)
        hidden = page.locator(f"{item}:has([title='message.read'])")
        expect(hidden).to_contain_text(f"Mail that is not kept, {tenant.domain}")
        expect(hidden.get_by_role("link")).to_have_count(0)
        caught = page.locator(f"{item}:has([title='alias.created'])").get_by_role("link")
        expect(caught).to_have_attribute("href", f"/accounts/{account['id']}")


def test_the_overview_counts_domains_with_accounts(console: Visit) -> None:
    """The counts of a domain stay after its last account is deleted."""
    tenant = console.tenant
    tenant.post("/v2/email-accounts/delete", {"id": tenant.account("gone", domain=tenant.new_domain())["id"]})
    tenant.account("kept")
    assert len(tenant.get("/v2/stats").json["domains"]) == 2
    console.open("/")
    expect(console.page.locator(".tile").last).to_have_text("Domains1with accounts")


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


def test_the_theme_is_kept(console: Visit) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(background)
    console.button("Use the dark theme").click()
    dark = console.page.evaluate(background)
    assert dark != light
    console.page.reload()
    assert console.page.evaluate(background) == dark
    console.wait_until_loaded()
