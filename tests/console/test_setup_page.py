"""The page of a setup link, in a real browser: the whole way, and links that do not work."""

from typing import Any

import pytest
from playwright.sync_api import Request, expect

from tests.api.rows import opens
from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.console.widths import fits

GOOD = "a horse beside the lake"


def made(visit: Visit, name: str = "owner") -> tuple[int, str]:
    """An account without a password, and its link."""
    answer = visit.tenant.create(name, credential="setup_link").json
    token = answer["setup_url"].partition("#")[2]  # these servers have no port of their own in the settings
    return answer["account"]["id"], f"{visit.base}/setup#{token}"


@pytest.fixture
def asked(visit: Visit) -> list[Request]:
    """Every request of the window."""
    found: list[Request] = []
    visit.page.on("request", lambda request: found.append(request))
    return found


def fill(visit: Visit, password: str, again: str) -> None:
    visit.page.get_by_label("New password").fill(password)
    visit.page.get_by_label("The same password again").fill(again)
    visit.button("Set the password").click()


@pytest.mark.parametrize("visit", [{}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"])
def test_it_works(visit: Visit, asked: list[Request]) -> None:
    id_, url = made(visit)
    token = url.partition("#")[2]
    page = visit.page
    page.goto(url)
    expect(page.get_by_label("Your address")).to_have_value(f"owner@{visit.tenant.domain}")
    assert page.url == f"{visit.base}/setup"
    judge(visit, "the form")
    fits(visit, "the form")
    fill(visit, GOOD, f"{GOOD}s")
    expect(page.locator("[data-field=again] .error")).to_contain_text("not the same")
    fill(visit, "passwordpassword", "passwordpassword")
    expect(page.locator("[data-field=password] .error")).to_contain_text("most common")
    judge(visit, "an error")
    fill(visit, GOOD, GOOD)
    expect(page.get_by_role("heading", name="Your password is set")).to_be_visible()
    expect(page.get_by_text("Reading (IMAP)")).to_be_visible()
    judge(visit, "the settings")
    fits(visit, "the settings")
    with page.expect_download() as download:
        page.get_by_role("link", name="Profile for Apple devices").click()
    assert "plist" in download.value.path().read_text()
    assert opens(visit.tenant, id_, GOOD)
    assert not [one for one in asked if token in one.url or token in (one.headers.get("referer") or "")]
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.length])")
    assert token not in kept
    assert token not in page.content()
    page.goto("about:blank")
    page.goto(url)
    expect(page.get_by_role("heading", name="This link does not work")).to_be_visible()


@pytest.mark.parametrize("visit", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_wrong_old_and_used_are_one_page(visit: Visit) -> None:
    id_, url = made(visit, "old")
    visit.tenant.post(f"/v2/email-accounts/{id_}/password/reset", {})
    seen: list[Any] = []
    for link in (url, f"{visit.base}/setup#{'x' * 43}", f"{visit.base}/setup#short", f"{visit.base}/setup"):
        visit.page.goto("about:blank")
        visit.page.goto(link)
        expect(visit.page.get_by_role("heading", name="This link does not work")).to_be_visible()
        seen.append((visit.page.title(), visit.page.locator("#main").inner_html(), visit.page.url))
    assert len(set(seen)) == 1
    judge(visit, "a link that does not work")
    fits(visit, "a link that does not work", (360,))


def test_the_headers_of_the_page(visit: Visit) -> None:
    answer = visit.tenant.get("/setup", key=None)
    assert answer.status == 200
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert visit.tenant.post("/setup", {}, key=None).status == 405


def test_a_link_of_a_new_account_and_a_newer_one(console: Visit) -> None:
    """The console shows each link once, and says that the owner has set the password."""
    page, tenant = console.page, console.tenant
    console.open("/accounts")
    console.button("Create account").first.click()
    console.dialog.get_by_label("Name before the @").fill("linked")
    console.dialog.get_by_label("Domain").fill(tenant.domain)
    console.dialog.get_by_label("User", exact=True).fill("user_1")
    console.dialog.get_by_role("checkbox", name="Make a link instead").check()
    expect(console.dialog.get_by_label("Password", exact=True)).to_be_hidden()
    judge(console, "the dialog of a new account")
    console.dialog.get_by_role("button", name="Create account").click()
    first = console.dialog.get_by_label("Setup link", exact=True).inner_text()
    judge(console, "a new link")
    console.button("Done").click()
    page.get_by_role("link", name=f"linked@{tenant.domain}").click()
    expect(page.get_by_text("none yet")).to_be_visible()
    console.button("Make setup link").click()
    console.dialog.get_by_label("It works for").select_option("A week")
    judge(console, "the dialog of a link")
    console.dialog.get_by_role("button", name="Make setup link").click()
    second = console.dialog.get_by_label("Setup link", exact=True).inner_text()
    page.keyboard.press("Escape")
    expect(console.dialog).to_be_visible()
    console.button("Done").click()
    expect(console.dialog).not_to_be_visible()
    assert "#" not in page.url
    assert second not in page.content()
    found = [
        tenant.post("/setup/accept", {"token": link.partition("#")[2], "password": GOOD}, key=None).status
        for link in (first, second)
    ]
    assert found == [404, 200]
    console.open(page.url.removeprefix(console.base))
    row = page.get_by_role("row", name="Password set by its owner")
    expect(row).to_contain_text("its owner")
    expect(row).not_to_contain_text("operator")
