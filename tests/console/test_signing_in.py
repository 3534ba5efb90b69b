"""Signing in and out, and a session that ends while somebody works."""

import re

from playwright.sync_api import expect

from postroom.service import bootstrap
from tests.console.conftest import Visit


def test_it_works(visit: Visit) -> None:
    visit.open("/accounts")
    expect(visit.page).to_have_url(re.compile(r"/sign-in\?next=%2Faccounts$"))
    visit.page.get_by_label("API key").fill(f" {visit.tenant.key} ")
    visit.page.keyboard.press("Enter")
    expect(visit.page).to_have_url(f"{visit.base}/accounts")
    expect(visit.page.locator(".who")).to_contain_text(visit.tenant.organization)


def test_the_key_is_kept_nowhere(console: Visit) -> None:
    kept = console.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert kept == '[{},{},""]'
    assert console.tenant.key not in console.page.content()


def test_a_wrong_key(visit: Visit) -> None:
    visit.open("/")
    for key, words in (("pr_wrong", "not valid here"), ("", "Enter a key"), ("schlüssel", "does not look like a key")):
        visit.page.get_by_label("API key").fill(key)
        visit.button("Sign in").click()
        expect(visit.page.locator(".field .error")).to_contain_text(words)
        expect(visit.page.get_by_label("API key")).to_be_focused()


def test_a_link_works_once(visit: Visit) -> None:
    link = visit.tenant.api.database.write_sync(lambda tx: bootstrap.create_link(tx, visit.tenant.organization))
    visit.page.goto(f"{visit.base}/sign-in#link={link}")
    expect(visit.page).to_have_url(f"{visit.base}/")
    expect(visit.page.get_by_role("heading", name="Overview")).to_be_visible()
    visit.wait_until_loaded()
    visit.sign_out()
    visit.page.goto(f"{visit.base}/sign-in#link={link}")
    expect(visit.page.get_by_role("alert").first).to_contain_text("has been used or is too old")
    assert link not in visit.page.url


def test_signing_out(console: Visit) -> None:
    console.sign_out()
    console.open("/keys")
    expect(console.button("Sign in")).to_be_visible()


def test_a_session_that_expires_leads_back_to_where_one_was(console: Visit) -> None:
    console.open("/accounts?status=active")
    sql = "UPDATE console_sessions SET expires_at = 1 WHERE organization_id = :o"
    console.tenant.api.database.write_sync(lambda tx: tx.run(sql, o=console.tenant.organization_id))
    console.page.get_by_role("link", name="Events").click()
    expect(console.page.locator(".toast")).to_contain_text("Your session has ended")
    console.page.get_by_label("API key").fill(console.tenant.key)
    console.button("Sign in").click()
    expect(console.page).to_have_url(f"{console.base}/events")


def test_a_revoked_key_signs_out(visit: Visit) -> None:
    key = visit.tenant.new_key()
    visit.sign_in(key)
    visit.tenant.post("/v2/keys/delete", {"id": visit.tenant.key_id(key)})
    visit.page.get_by_role("link", name="Accounts", exact=True).click()
    expect(visit.button("Sign in")).to_be_visible()


def test_a_write_without_the_token_is_refused(console: Visit) -> None:
    body = '{"domain":"x.test","local_part":"a","user_id":"u"}'
    status = console.page.evaluate(
        "async (body) => (await fetch('/v2/email-accounts/create', "
        "{method: 'POST', body, headers: {'content-type': 'application/json'}})).status",
        body,
    )
    assert status == 403
    assert console.tenant.get("/v2/email-accounts").json["items"] == []


def test_another_address_is_not_followed_after_signing_in(visit: Visit) -> None:
    visit.open("/sign-in?next=https%3A%2F%2Fevil.example%2F")
    visit.page.get_by_label("API key").fill(visit.tenant.key)
    visit.button("Sign in").click()
    expect(visit.page).to_have_url(f"{visit.base}/")
    visit.wait_until_loaded()
