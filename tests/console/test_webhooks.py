"""Webhooks: made with a secret that is shown once, changed, disabled with a key, made active again,
deleted."""

from typing import Any

from playwright.sync_api import expect

from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.console.widths import fits

URL = "https://platform-with-a-long-name.example/hooks/postroom?token=0123456789abcdef0123456789abcdef"


def only(console: Visit) -> Any:
    (found,) = console.tenant.get("/v2/webhooks").json["items"]
    return found


def test_it_works(console: Visit) -> None:
    page = console.page
    console.open("/webhooks")
    expect(page.get_by_text("No webhooks")).to_be_visible()
    expect(page.get_by_text("and mail to those that ask for it")).to_be_visible()
    console.button("Create webhook").click()
    console.dialog.get_by_label("URL").fill("http://platform.example/")
    create = console.dialog.get_by_role("button", name="Create webhook")
    create.click()
    expect(console.dialog.get_by_text("Use https")).to_be_visible()
    console.dialog.get_by_label("URL").fill(URL)
    console.dialog.get_by_label("Events").fill("account.*, domain.lost")
    console.dialog.get_by_label("Only for user").fill("user_1")
    judge(console, "a new webhook")
    create.click()
    first = page.locator(".secret").inner_text()
    assert first.startswith("whsec_")
    console.button("Done").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Webhook {only(console)['id']}")
    assert (only(console)["events"], only(console)["user_id"]) == (["account.*", "domain.lost"], "user_1")
    console.button("New secret").click()
    console.button("Make a new secret").click()
    expect(page.locator(".secret")).to_contain_text("whsec_")
    assert page.locator(".secret").inner_text() != first
    console.button("Done").click()
    expect(page.get_by_text("Former secret signs until")).to_be_visible()
    console.button("Change").click()
    console.dialog.get_by_label("Description").fill("Billing system")
    console.dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Billing system")).to_be_visible()
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 800})
    console.wait_until_loaded()
    judge(console, "a webhook on a dark phone")
    fits(console, "a webhook")
    page.get_by_role("link", name="Webhooks").first.click()
    expect(page.get_by_role("link", name=URL)).to_be_visible()
    console.wait_until_loaded()
    fits(console, "the webhooks")
    page.get_by_role("link", name=URL).click()
    console.button("Delete").click()
    console.dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No webhooks")).to_be_visible()


def test_a_webhook_goes_with_its_key(console: Visit) -> None:
    tenant, page = console.tenant, console.page
    ids = []
    for name in ("kept", "revoked"):
        key = tenant.new_key(name=name)
        made = tenant.post("/v2/webhooks/create", {"url": "https://platform.example/", "events": ["*"]}, key=key)
        ids.append(made.json["webhook"]["id"])
    console.open("/keys")
    for name in ("kept", "revoked"):
        console.button(f"Revoke {name}").click()
        if name == "kept":
            console.dialog.get_by_label("Leave the webhooks").check()
        console.dialog.get_by_role("button", name="Revoke").click()
        expect(console.button(f"Revoke {name}")).to_have_count(0)
    assert [hook["status"] for hook in tenant.get("/v2/webhooks").json["items"]] == ["active", "disabled"]
    console.open(f"/webhooks/{ids[1]}")
    expect(page.get_by_text("Its key was revoked.")).to_be_visible()
    judge(console, "a disabled webhook")
    fits(console, "a disabled webhook")
    console.button("Make active").click()
    console.dialog.get_by_role("button", name="Make active").click()
    expect(page.get_by_text("Its key was revoked.")).to_have_count(0)
    assert tenant.get(f"/v2/webhooks/{ids[1]}").json["webhook"]["status"] == "active"


def test_who_may_see_it(visit: Visit) -> None:
    visit.sign_in(visit.tenant.new_key(["webhooks:read"]))
    visit.open("/webhooks")
    expect(visit.page.get_by_text("No webhooks")).to_be_visible()
    expect(visit.button("Create webhook")).to_have_count(0)
    visit.open("/webhooks/999999999")
    expect(visit.page.get_by_text("There is no such webhook")).to_be_visible()


DELIVERY = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, attempts, next_at,
  last_error, created_at, ended_at)
VALUES (:organization, :webhook, 'event', :event, 'account.created', :status, 2, :next_at, :error, :now, :ended_at)"""


def test_deliveries(console: Visit) -> None:
    """What became of them; one that failed is sent again, and a test says what went wrong."""
    tenant, page = console.tenant, console.page
    made = tenant.post("/v2/webhooks/create", {"url": URL, "events": ["account.*"]}).json["webhook"]
    console.open(f"/webhooks/{made['id']}")
    expect(page.get_by_text("Nothing was sent yet")).to_be_visible()

    def fill(tx: Any) -> None:
        for event in range(1, 14):
            status = ("delivered", "pending", "failed")[event % 3]
            facts: dict[str, Any] = {
                "status": status,
                "error": None if status == "delivered" else "The endpoint has answered 503.",
            }
            facts |= {"next_at": 2**41 if status == "pending" else None, "ended_at": None if status == "pending" else 1}
            tx.run(DELIVERY, organization=tenant.organization_id, webhook=made["id"], event=event, now=tx.now, **facts)

    tenant.api.database.write_sync(fill)
    console.button("Look at the deliveries again").click()
    expect(page.get_by_text("The endpoint has answered 503.").first).to_be_visible()
    expect(page.get_by_text("2 attempts; the next one").first).to_be_visible()
    expect(page.get_by_text("account.created")).to_have_count(10)
    console.button("Show more").click()
    expect(page.get_by_text("account.created")).to_have_count(13)
    judge(console, "deliveries")
    console.button("Send event 11 again").click()
    expect(page.get_by_text("It is sent again").first).to_be_visible()
    console.button("Replay failed").click()
    expect(page.get_by_text("3 deliveries sent again").first).to_be_visible()
    page.set_viewport_size({"width": 360, "height": 800})
    fits(console, "deliveries")
    console.button("Send a test").click()
    expect(page.get_by_text("The test has failed: ").first).to_be_visible()
    console.button("Send a test").click()
    expect(page.get_by_text("Too many requests. Try again in ").first).to_be_visible()


def test_a_delivery_leads_only_to_accounts_that_open(console: Visit) -> None:
    """Mail that is not kept is in an account that nothing shows. The browser's network gives the
    deliveries."""
    tenant, page = console.tenant, console.page
    account = tenant.account("info")
    made = tenant.post("/v2/webhooks/create", {"url": URL, "events": ["account.*"]}).json["webhook"]
    one = {"type": "message.received", "event_id": None, "status": "delivered", "attempts": 1, "last_error": None}
    one |= {"created_at": "2026-11-23T04:11:47.690Z", "next_at": None}
    ids = (account["id"], account["id"] + 1)
    items = [{**one, "id": id_, "message": {"account_id": id_, "id": "1.1"}} for id_ in ids]
    page.route("**/deliveries?*", lambda route: route.fulfill(json={"items": items, "limit": 10, "after": 0}))
    console.open(f"/webhooks/{made['id']}")
    row = page.locator("dl > div", has=page.locator("dt", has_text="message.received"))
    link = row.first.get_by_role("link", name=account["address"])
    expect(link).to_have_attribute("href", f"/accounts/{account['id']}")
    expect(row.last).to_contain_text("which is deleted or of mail that is not kept")
    expect(row.last.get_by_role("link")).to_have_count(0)
