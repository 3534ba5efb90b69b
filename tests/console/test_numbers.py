"""The console shows no number that it has not read: a call that fails is an error and not a zero,
and a count that was cut off says so."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.console.conftest import Visit

BROKEN = {"status": 500, "json": {"code": "internal_error", "detail": "The request id finds this in the log."}}


def fail(console: Visit, path: str, **answer: Any) -> None:
    console.page.route(re.compile(re.escape(path)), lambda route: route.fulfill(**(answer or BROKEN)))


def card(console: Visit, title: str) -> Any:
    heading = console.page.get_by_role("heading", name=title, exact=True)
    return console.page.locator("section.card", has=heading)


def test_events_that_cannot_be_read_are_not_none(console: Visit) -> None:
    console.tenant.account("one")
    fail(console, "/v2/events")
    console.open("/")
    for title in ("Accounts created", "Recent events"):
        expect(card(console, title).get_by_role("alert")).to_contain_text("That did not work")
        expect(card(console, title)).not_to_contain_text(re.compile(r"\d"))
    console.page.unroute_all()
    card(console, "Accounts created").get_by_role("button", name="Try again").click()
    expect(console.page.locator("figcaption")).to_have_text("1 in the last 14 days")


def test_counts_that_cannot_be_read_are_not_zero(console: Visit) -> None:
    fail(console, "/v2/stats")
    console.open("/")
    expect(console.page.locator(".tiles").get_by_role("alert")).to_be_visible()
    expect(console.page.locator(".tiles")).not_to_contain_text(re.compile(r"\d"))


def test_a_health_that_cannot_be_read_is_none(console: Visit) -> None:
    fail(console, "/readyz", status=502, content_type="text/html", body="Bad gateway")
    console.open("/")
    expect(card(console, "Health").get_by_role("alert")).to_be_visible()
    expect(card(console, "Health")).not_to_contain_text(re.compile("runs|does not run"))


@pytest.mark.parametrize("part", ["usage", "sessions"])
def test_a_mailbox_that_cannot_be_read_is_not_empty(console: Visit, part: str) -> None:
    account = console.tenant.account("unread")
    fail(console, f"/v2/email-accounts/{account['id']}/{part}")
    console.open(f"/accounts/{account['id']}")
    title = {"usage": "Mailbox", "sessions": "Open sessions"}[part]
    expect(card(console, title).get_by_role("alert")).to_be_visible()
    expect(card(console, title)).not_to_contain_text(re.compile("Nobody|0"))


def test_a_count_that_was_cut_off_says_so(console: Visit) -> None:
    """More events than are read, all of the last minute: what is older was not counted."""
    sql = """
    INSERT INTO events (organization_id, type, data, created_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
    SELECT :o, 'account.created', '{}', :now - 5000 FROM n"""
    tenant = console.tenant
    tenant.api.database.write_sync(lambda tx: tx.run(sql, o=tenant.organization_id, now=tx.now))
    console.open("/")
    expect(console.page.locator("figcaption")).to_contain_text("At least 1,000 in the last two minutes")
    bars = console.page.locator(".chart title").all_text_contents()
    assert bars[0].endswith(": not counted")
    assert any("at least 1,000 accounts" in bar for bar in bars)
    expect(console.page.locator(".chart .unknown").first).to_be_attached()
