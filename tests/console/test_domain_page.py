"""The page of a domain: what is required stands above and is judged, what is recommended is folded,
and a pending domain's page refreshes by itself."""

import re

import idna
import msgspec
import pytest
from playwright.sync_api import expect

from postroom.domains.dns_records import Record, zone
from tests.console.axe import judge
from tests.console.conftest import Visit
from tests.harness.dns_server import DnsServer

HOST = "mail.postroom.test"


def claim(console: Visit, name: str, user: str = "user_1") -> list[Record]:
    made = console.tenant.post("/v2/domain", {"domain": name, "user_id": user})
    assert made.status == 201, made.text
    return msgspec.convert(made.json["domain"]["dns"], list[Record])


def publish(dns: DnsServer, name: str, records: list[Record]) -> None:
    dns.publish(HOST, "A", "192.0.2.25")
    dns.publish_all(name, msgspec.to_builtins(records))


def test_required_records_are_judged_and_recommended_ones_are_folded(console: Visit, dns: DnsServer) -> None:
    records = claim(console, "judged.example")
    publish(dns, "judged.example", [r for r in records if r.purpose in ("ownership", "mx")])
    page = console.page
    console.open("/domains/judged.example?user_id=user_1")
    expect(page.locator(".banner")).to_contain_text("2 of 4 required records found")
    required = page.locator("section.card", has=page.get_by_role("heading", name="Required", exact=True))
    expect(required.locator(".sign")).to_have_text(["Found", "Found", "Missing", "Missing"])
    fold = page.locator("details.fold")
    expect(fold.locator("summary")).to_contain_text("0 of 11 published")
    expect(fold.locator(".record").first).to_be_hidden()
    fold.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(fold.locator(".record").first).to_be_visible()
    expect(fold.locator(".sign")).to_have_text(["Not published"] * 11)
    expect(fold.locator(".bad, .warn")).to_have_count(0)
    judge(console, "a domain with its recommended records")


def test_an_srv_record_is_shown_in_its_parts(console: Visit) -> None:
    claim(console, "parts.example")
    console.open("/domains/parts.example?user_id=user_1")
    console.page.locator("summary").click()
    record = console.page.locator(".record", has_text="_imaps._tcp")
    expect(record.locator(".label")).to_have_text(
        ["Host", "Service", "Protocol", "Priority", "Weight", "Port", "Target"]
    )
    expect(record.locator("code")).to_have_text(["_imaps._tcp", "_imaps", "_tcp", "0", "1", "1993", HOST])
    expect(console.button("Copy the port of SRV _imaps._tcp")).to_be_visible()


@pytest.mark.parametrize(
    "visit", [{"permissions": ["clipboard-read", "clipboard-write"]}], ids=["clipboard"], indirect=True
)
def test_all_records_are_copied_and_saved_as_a_zone_file(console: Visit) -> None:
    """The same lines as `postroom domains dns --format zone` prints, with long texts split."""
    records = claim(console, "zone.example")
    assert any(len(record.expected_value) > 255 for record in records)
    console.open("/domains/zone.example?user_id=user_1")
    clipboard = "navigator.clipboard.readText()"
    console.button("Copy all of the required records").click()
    expect(console.page.get_by_text("Copied", exact=True).first).to_be_visible()
    assert console.page.evaluate(clipboard) == zone("zone.example", [r for r in records if r.required])
    console.page.locator("summary").click()
    console.button("Copy all of the recommended records").click()
    expect(console.page.locator(".fold").get_by_text("Copied", exact=True)).to_be_visible()
    assert console.page.evaluate(clipboard) == zone("zone.example", [r for r in records if not r.required])
    with console.page.expect_download() as download:
        console.button("Zone file").click()
    assert download.value.suggested_filename == "zone.example.zone"
    assert download.value.path().read_text() == zone("zone.example", records)


def test_a_pending_domain_refreshes_by_itself(console: Visit, dns: DnsServer) -> None:
    """And disturbs nobody who reads: an open fold stays open."""
    records = claim(console, "waits.example")
    page = console.page
    page.clock.install()
    console.open("/domains/waits.example?user_id=user_1")
    expect(page.locator(".banner")).to_contain_text("0 of 4 required records found")
    page.locator("summary").click()
    publish(dns, "waits.example", [r for r in records if r.required])
    rested = "UPDATE domain_checks SET free_at = 0"
    console.tenant.api.database.write_sync(lambda tx: tx.run(rested))
    page.clock.run_for(16_000)
    expect(page.locator(".banner")).to_contain_text("active")
    expect(page.locator(".banner")).to_contain_text("4 of 4 required records found")
    expect(page.locator(".toast")).to_contain_text("The domain is active")
    expect(console.button("Create account")).to_be_visible()
    expect(page.locator("details.fold")).to_have_attribute("open", "")


def test_a_key_that_only_reads_sees_the_domain_become_active(visit: Visit) -> None:
    claim(visit, "reads.example")
    visit.page.clock.install()
    visit.sign_in(visit.tenant.new_key(["domains:read"]))
    visit.open("/domains/reads.example?user_id=user_1")
    expect(visit.page.locator(".banner")).to_contain_text("pending")
    active = "UPDATE domains SET status = 'active' WHERE name = 'reads.example'"
    visit.tenant.api.database.write_sync(lambda tx: tx.run(active))
    visit.page.clock.run_for(16_000)
    expect(visit.page.locator(".banner")).to_contain_text("active")


def test_a_name_is_shown_in_both_spellings(console: Visit) -> None:
    claim(console, "b\u00fccher.example")
    console.open("/domains/xn--bcher-kva.example?user_id=user_1")
    expect(console.page.locator("h1")).to_have_text("b\u00fccher.example")
    expect(console.page.locator(".spelling code")).to_have_text("xn--bcher-kva.example")
    console.open("/domains")
    expect(console.page.get_by_role("link", name="b\u00fccher.example")).to_be_visible()
    expect(console.page.get_by_text("xn--bcher-kva.example")).to_be_visible()


NAMES = [
    "b\u00fccher.example",
    "stra\u00dfe.example",
    "\u4f8b\u3048.\u30c6\u30b9\u30c8",
    "\u0440\u043e\u0441\u0441\u0438\u044f.example",
    "\u05d9\u05e9\u05e8\u05d0\u05dc.example",
    "a-\u00fc-b.m\u00fcnchen.example",
    "\u0e44\u0e17\u0e22.example",
]


def test_the_spelling_of_unicode_is_right(console: Visit) -> None:
    (script,) = re.findall(r"/console/\w+/main\.js", console.page.content())[:1]
    given = [idna.encode(name).decode() for name in NAMES] + [
        "plain.example",
        "xn--\u00fc.example",
        "xn--99999999.example",
    ]
    found = console.page.evaluate(
        "async ([module, names]) => { const { unicodeOf } = await import(module); return names.map(unicodeOf); }",
        [script.replace("main.js", "idn.js"), given],
    )
    assert found == [*NAMES, None, None, None]


def test_a_domain_that_is_not_there_is_a_page_with_a_way_back(console: Visit) -> None:
    console.open("/domains/not-here.example")
    expect(console.page.locator("h1")).to_have_text("There is no such domain")
    console.page.get_by_role("link", name="To the domains").click()
    expect(console.page.locator("h1")).to_have_text("Domains")


def test_an_account_leads_to_the_domain_of_its_user(console: Visit) -> None:
    console.tenant.new_domain(name="led.example", user_id="user 1/2")
    account = console.tenant.account("info", domain="led.example", user_id="user 1/2")
    console.open(f"/accounts/{account['id']}")
    console.page.get_by_role("link", name="led.example", exact=True).click()
    expect(console.page.locator("h1")).to_have_text("led.example")
    expect(console.page).to_have_url(re.compile(r"/domains/led\.example\?user_id=user\+1%2F2$"))


def test_an_address_without_the_user_finds_the_domain(console: Visit) -> None:
    """If one user has the domain, the page opens and its address is complete; if several have
    claimed it, the page asks whose is meant."""
    for user in ("user_1", "user_2"):
        claim(console, "shared.example", user)
    claim(console, "b\u00fccher.example", "user_1")
    console.open("/domains/B\u00fccher.example")
    expect(console.page.locator("h1")).to_have_text("b\u00fccher.example")
    expect(console.page).to_have_url(re.compile(r"/domains/xn--bcher-kva\.example\?user_id=user_1$"))
    console.open("/domains/shared.example")
    expect(console.page.get_by_text("Whose do you mean?")).to_be_visible()
    judge(console, "a domain of two users")
    console.page.get_by_role("link", name="user user_2").click()
    expect(console.page.locator(".banner")).to_contain_text("user user_2")


def test_a_domain_that_was_not_looked_for_to_the_end_says_so(console: Visit) -> None:
    """The browser's network gives an endless list of domains."""
    more = {"link": '</v2/domains?every_user=true&after=1>; rel="next"'}
    page = {"items": [{"domain": "other.example", "user_id": "u", "status": "active"}], "limit": 500, "offset": 0}
    console.page.route("**/v2/domains?*", lambda route: route.fulfill(json=page, headers=more))
    console.open("/domains/far.example")
    expect(console.page.locator("h1")).to_have_text("There is no such domain")
    expect(console.page.locator(".state p").first).to_contain_text("None of the first 5,000 domains has this name.")
    console.page.unroute_all()


def test_the_route_of_a_domain(console: Visit) -> None:
    """A URL for its mail is set, with a secret that is shown once, and ended again."""
    console.tenant.new_domain(name="routed.example", user_id="user_1")
    console.open("/domains/routed.example?user_id=user_1")
    card = console.page.locator("section.card", has=console.page.get_by_role("heading", name="Inbound mail"))
    expect(card).to_contain_text("sent nowhere else")
    card.get_by_role("button", name="Send to a URL").click()
    console.dialog.get_by_label("URL").fill("https://platform.example/mail")
    console.dialog.get_by_role("button", name="Send to this URL").click()
    expect(console.dialog.locator("code.secret")).to_contain_text("whsec_")
    judge(console, "the secret of a route")
    console.dialog.get_by_role("button", name="Done").click()
    expect(card).to_contain_text("https://platform.example/mail")
    (found,) = console.tenant.get("/v2/webhooks").json["items"]
    assert found["forward_mode"] == "webhook_then_store"
    judge(console, "a domain with a route")
    card.get_by_role("button", name="Change URL").click()
    console.dialog.get_by_label("Sent messages").select_option("webhook")
    console.dialog.get_by_role("button", name="Send to this URL").click()
    expect(card).to_contain_text("leaves its mailbox")
    card.get_by_role("button", name="Change URL").click()
    console.dialog.get_by_label("URL").fill("https://platform.example/other")
    console.dialog.get_by_role("button", name="Send to this URL").click()
    expect(card).to_contain_text("https://platform.example/other")
    expect(card).to_contain_text("leaves its mailbox")
    card.get_by_role("button", name="Only store").click()
    expect(card).to_contain_text("sent nowhere else")
    assert console.tenant.get("/v2/webhooks").json["items"] == []
