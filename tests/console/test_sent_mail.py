"""What became of sent mail, on an account's page."""

import time
from typing import Any

from playwright.sync_api import expect

from postroom.accounts import sent_mail
from postroom.accounts.sent_mail import Sender, Told
from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.console.widths import fits

NO = "host mx.far.example[192.0.2.1] said: 550 5.1.1 No such user here (in reply to RCPT TO command)"
BUSY = (
    "connect to mx.customer-with-a-long-name.example[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:25: Connection timed out"
)


def record(console: Visit, account: Any, *fates: tuple[str, str, str | None]) -> None:
    now = time.time_ns() // 1_000_000
    told = [
        Told("4jd31V4G43zK3Wl", recipient, None, status, None, "5.1.1", reason, now)
        for recipient, status, reason in fates
    ]
    senders = {"4jd31V4G43zK3Wl": Sender(account["id"], "<1@mail.example>", now)}
    console.tenant.api.database.write_sync(lambda tx: sent_mail.record(tx, 0, told, senders))


def test_it_works(console: Visit) -> None:
    account, page = console.tenant.account("writer"), console.page
    console.open(f"/accounts/{account['id']}")
    expect(page.get_by_text("Nothing sent in the last 30 days")).to_be_visible()
    fates = [(f"r{number}@far.example", "delivered", "250 2.0.0 Ok") for number in range(10)]
    long = "someone-with-many-names.and-one-more-department@customer-with-a-long-name.example"
    record(console, account, *fates, (long, "delayed", BUSY), ("nobody@far.example", "bounced", NO))
    console.button("Look at sent mail again").click()
    for words, reason in (("Still trying", BUSY), ("Not delivered", NO)):
        row = page.locator(".broad .facts > div", has_text=words)
        expect(row.locator("dd")).to_contain_text(reason)
    expect(page.get_by_text("Delivered", exact=True)).to_have_count(8)
    expect(page.get_by_text("250 2.0.0")).to_have_count(0)
    chart = page.locator(".chart")
    expect(chart).to_contain_text("12 recipients in the last 30 days, 1 not delivered")
    expect(chart.locator("title").last).to_contain_text("12 recipients, 1 not delivered, 1 still waiting")
    expect(page.get_by_text("Forwards and replies are not counted here.")).to_be_visible()
    judge(console, "sent mail")
    console.button("Show more").click()
    expect(page.get_by_text("Delivered", exact=True)).to_have_count(10)
    expect(console.button("Show more")).to_have_count(0)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 800})
    console.wait_until_loaded()
    judge(console, "sent mail on a dark phone")
    fits(console, "sent mail")


def test_without_the_scope(console: Visit) -> None:
    tenant = console.tenant
    account = tenant.account("nosent")
    console.sign_out()
    console.sign_in(tenant.new_key(scopes=["accounts:read"]))
    console.open(f"/accounts/{account['id']}")
    expect(console.page.get_by_text("It lacks the scope sent:read.")).to_be_visible()
