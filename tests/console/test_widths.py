"""Every page at three widths, light and dark, with no account and with a few. A hundred thousand
accounts are in test_pages.py."""

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.console.widths import fits

LONG = "someone-with-many-names.and-one-more-department"
PAGES = ("/", "/accounts", "/keys", "/webhooks", "/events", "/domains", "/accounts/999999999", "/nowhere")


def look(console: Visit, path: str, open_: Callable[[], None] = lambda: None) -> None:
    """Opens a page, and whatever opens on it: at each width, and judged on a dark phone and on a
    light desk."""
    console.page.emulate_media(color_scheme="dark")
    console.page.set_viewport_size({"width": 360, "height": 800})
    console.open(path)
    open_()
    console.wait_until_loaded()
    judge(console, f"{path} on a dark phone")
    fits(console, path)
    console.page.emulate_media(color_scheme="light")
    judge(console, f"{path} on a light desk")


def test_every_page_with_a_few_accounts(console: Visit) -> None:
    tenant, page = console.tenant, console.page
    account = tenant.account(LONG, display_name="A name that is as long as names of people are", user_id="u" * 60)
    tenant.account("billing", user_id="customer-4711")
    tenant.post("/v2/email-accounts/delete", {"id": tenant.account("gone")["id"]})
    tenant.post("/v2/domain", {"domain": "b\u00fccher.example", "user_id": "user 1/2"})
    networks = ["192.0.2.0/24", "2001:db8:aaaa:bbbb:cccc:dddd::/96"]
    key = {"name": "A key with a name of some length", "networks": networks, "expires_at": "2030-01-31T00:00:00Z"}
    assert tenant.post("/v2/keys", key).status == 201
    sql = "UPDATE events SET client_address = '2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff' WHERE organization_id = :o"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id))
    for path in (*PAGES, "/accounts?status=deleted", f"/accounts/{account['id']}", f"/domains/{tenant.domain}"):
        look(console, path)
    look(console, "/domains/xn--bcher-kva.example?user_id=user%201%2F2", lambda: page.locator("summary").click())
    look(console, "/accounts", lambda: console.button("Create account").click())
    look(console, "/keys", lambda: console.button("Create key").click())
    look(console, "/domains", lambda: console.button("Add domain").click())
    look(console, f"/accounts/{account['id']}", lambda: reset(console))


def reset(console: Visit) -> None:
    console.button("Reset password").click()
    console.dialog.get_by_role("button", name="Reset password").click()
    expect(console.page.locator(".secret")).to_be_visible()


def test_every_page_with_no_account(console: Visit) -> None:
    tenant = console.tenant
    tenant.post("/v2/domains/delete", {"domain": tenant.domain, "user_id": "u"})
    for path in PAGES[:5]:
        look(console, path)
    console.sign_out()
    for path in ("/sign-in", "/nowhere"):
        look(console, path)


def test_an_address_breaks_at_its_at(console: Visit) -> None:
    account, page = console.tenant.account(LONG), console.page
    page.set_viewport_size({"width": 360, "height": 800})
    for path in ("/accounts", "/events", f"/accounts/{account['id']}"):
        console.open(path)
        link = page.locator(":is(a, h1)", has_text=re.compile(f"^{re.escape(account['address'])}$")).first
        lines = link.evaluate(
            """(element) => {
              const range = document.createRange();
              range.selectNodeContents(element.lastChild);
              return [element.lastChild.textContent, range.getClientRects().length];
            }"""
        )
        assert lines == [f"@{console.tenant.domain}", 1]
