"""Makes docs/screenshots/: a server with an invented company in it, a real Chromium, one picture a
page.

    .venv/bin/python docs/screenshots.py

The pictures are of the console as it is. What is invented is in the database only.
"""

import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Page, expect, sync_playwright

from postroom.auth.keys import CreateKey
from postroom.db import Tx, migrate
from postroom.domains import dkim
from postroom.mailboxes.interface import OpenSession, Usage
from postroom.service import bootstrap
from postroom.settings import Settings
from tests.harness.dns_server import DnsServer
from tests.harness.server import ApiServer

FOLDER = Path(__file__).parent / "screenshots"
DAY = 24 * 3600 * 1000
ORGANIZATION = "Northwind Hosting"
PEOPLE = ["amelie", "bruno", "clara", "dev", "emil", "farah", "goran", "hana", "ines", "jonas", "kira", "leo", "mila"]
ROLES = ["billing", "support", "sales", "hello", "team", "orders", "invoices", "press", "jobs", "studio"]
HOST = "mail.northwind.example"
DOMAINS = {
    "harborlight.example": "acme_studio",
    "fernandco.example": "fern_and_co",
    "lumen-labs.example": "lumen_labs",
    "oakandash.example": "oak_and_ash",
}


def make(tx: Tx) -> str:
    """The company: its domains, each with a DKIM key, which a worker would make, and an API key."""
    bootstrap.create_domain(tx, ORGANIZATION, "northwind-mail.example", None, "active", dkim.generate())
    for name, user in DOMAINS.items():
        bootstrap.create_domain(tx, ORGANIZATION, name, user, "active", dkim.generate())
    bootstrap.create_domain(tx, ORGANIZATION, "brightpath.example", "brightpath", "pending", dkim.generate())
    return bootstrap.create_key(tx, ORGANIZATION, CreateKey("Console"))


def populate(server: ApiServer, key: str) -> int:
    """Accounts and keys by the API, and then a past for them. The id of one account."""
    chance = random.Random(7)  # noqa: S311
    ids = []
    for name, user in DOMAINS.items():
        for local in chance.sample(PEOPLE, 9) + chance.sample(ROLES, 4):
            shown = local.title() if local in PEOPLE else None
            body = {"domain": name, "local_part": local, "user_id": user, "display_name": shown}
            made = server.request("POST", "/v2/email-accounts/create", body, key=key)
            ids.append(made.json["account"]["id"])
    for id_ in chance.sample(ids, 6):
        server.request("PUT", f"/v2/email-accounts/{id_}", {"status": "suspended"}, key=key)
    for id_ in [chance.choice(ids), ids[-3]]:
        server.request("POST", f"/v2/email-accounts/{id_}/password/reset", {}, key=key)
    for made_key in (
        {"name": "Provisioning service", "scopes": ["accounts:read", "accounts:write"], "networks": ["192.0.2.0/24"]},
        {"name": "Acme Studio's panel", "user_id": "acme_studio"},
        {"name": "Reporting", "scopes": ["stats:read", "events:read"], "expires_at": "2030-01-31T00:00:00Z"},
    ):
        server.request("POST", "/v2/keys", made_key, key=key)
    server.database.write_sync(lambda tx: age(tx, chance))
    return int(ids[-3])


def publish(server: ApiServer, dns: DnsServer, key: str) -> None:
    """Half of the records that the pending domain needs."""
    path = "/v2/domains/brightpath.example/info"
    wanted = server.request("GET", path, key=key, user_id="brightpath").json["dns"]
    dns.publish(HOST, "A", "192.0.2.25")
    dns.publish_all("brightpath.example", [each for each in wanted if each["purpose"] in ("ownership", "mx")])


def age(tx: Tx, chance: random.Random) -> None:
    """Spreads what has just been done over two weeks, in the same order."""
    now = int(time.time() * 1000)
    found = tx.all("SELECT id, account_id, type FROM events ORDER BY id")
    times = sorted(now - int(chance.triangular(0, 13.4, 2) * DAY) for _ in found)
    for (id_, account_id, type_), moment in zip(found, times, strict=True):
        tx.run("UPDATE events SET created_at = :moment WHERE id = :id", moment=moment, id=id_)
        if account_id and type_ == "account.created":
            tx.run("UPDATE accounts SET created_at = :moment WHERE id = :id", moment=moment, id=account_id)
    tx.run("UPDATE accounts SET last_login_at = :moment WHERE status = 'active'", moment=now - 7 * 60_000)
    tx.run("UPDATE domains SET created_at = :moment, updated_at = :moment", moment=now - 40 * DAY)


def shoot(page: Page, name: str) -> None:
    page.locator("h1").first.wait_for(state="attached")
    expect(page.locator(".skeleton, [aria-busy]")).to_have_count(0)
    page.mouse.move(0, 0)
    page.screenshot(path=FOLDER / f"{name}.png", animations="disabled")


def sign_in(page: Page, base: str, key: str) -> None:
    page.goto(base)
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(".tile")


def pictures(page: Page, base: str, account: int) -> None:
    for name in ("accounts", "keys"):
        page.goto(f"{base}/{name}")
        shoot(page, name)
    page.goto(f"{base}/accounts/{account}")
    shoot(page, "account")
    page.goto(f"{base}/domains/brightpath.example?user_id=brightpath")
    shoot(page, "domain")
    page.goto(f"{base}/accounts")
    page.get_by_role("button", name="Create account").first.click()
    page.get_by_label("Name before the @").fill("welcome")
    page.get_by_label("Domain", exact=True).last.fill("harborlight.example")
    page.get_by_label("User", exact=True).last.fill("acme_studio")
    page.get_by_role("dialog").get_by_role("button", name="Create account").click()
    page.wait_for_selector(".secret")
    shoot(page, "created")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, DnsServer.start() as dns, sync_playwright() as playwright:
        url = f"sqlite:///{folder}/postroom.db"
        migrate(url)
        settings = Settings(rate_limit="off", hostname=HOST, resolver=dns.address)
        with ApiServer.start(url, settings) as server:
            server.reasons.update(worker=None, dovecot=None, milter=None, opendkim=None, postfix=None)
            key = server.database.write_sync(make)
            account = populate(server, key)
            publish(server, dns, key)
            server.mailboxes.size = Usage(1_288_490_188, 4812)
            phone, desk = OpenSession("imap", "198.51.100.23"), OpenSession("imap", "2001:db8:7::2a")
            server.mailboxes.open = [phone, phone, desk, desk, desk]
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium-headless-shell", args=["--no-sandbox"]
            )
            base = f"http://127.0.0.1:{server.port}"
            looks: list[tuple[str, dict[str, Any]]] = [
                ("", {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}),
                ("-dark", {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}),
                ("-phone", {"viewport": {"width": 360, "height": 780}, "has_touch": True, "color_scheme": "light"}),
            ]
            for suffix, options in looks:
                page = browser.new_page(**options)
                page.goto(base)
                sign_in(page, base, key)
                if suffix != "-phone":
                    shoot(page, f"overview{suffix}")
                if not suffix:
                    pictures(page, base, account)
                elif suffix == "-phone":
                    for name in ("accounts", "events"):
                        page.goto(f"{base}/{name}")
                        shoot(page, f"{name}{suffix}")
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
