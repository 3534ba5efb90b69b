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

from postroom.accounts import sent_mail
from postroom.accounts.sent_mail import Sender, Told
from postroom.auth.keys import CreateKey
from postroom.db import Tx, migrate
from postroom.domains import dkim
from postroom.mailboxes.interface import OpenSession, SignIn, Usage
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
PASSWORD = "lantern over quiet water"  # noqa: S105
DOMAINS = {
    "harborlight.example": "acme_studio",
    "fernandco.example": "fern_and_co",
    "lumen-labs.example": "lumen_labs",
    "oakandash.example": "oak_and_ash",
}


SENT = "INSERT INTO sent_days (account_id, day, status, recipients) VALUES (:account, :day, :status, :recipients)"


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


def send(tx: Tx, account: int) -> None:
    """Mail that the account has sent: a month of counts, and the last recipients."""
    now = int(time.time() * 1000)
    chance = random.Random(3)  # noqa: S311
    senders = {name: Sender(account, f"<{name}@harborlight.example>", now) for name in ("a", "b", "c")}
    full = "host mx.customer.example[192.0.2.41] said: 452 4.2.2 Mailbox full (in reply to RCPT TO command)"
    gone = "host mx.oldshop.example[192.0.2.77] said: 550 5.1.1 No such user (in reply to RCPT TO command)"
    fates: list[tuple[str, str, str, int, str | None]] = [
        ("a", "lena@customer.example", "delayed", 452, full),
        ("b", "info@oldshop.example", "bounced", 550, gone),
        ("c", "orders@supplier.example", "delivered", 250, None),
    ]
    told = [Told(name, to, None, status, code, "2.0.0", why, now) for name, to, status, code, why in fates]
    sent_mail.record(tx, 0, told, senders)
    for ago in range(1, 30):
        weekend = (now // DAY - ago) % 7 in (2, 3)
        counts = {"delivered": chance.randrange(2, 9) if weekend else chance.randrange(30, 95)}
        if not weekend and chance.random() < 0.5:
            counts["bounced"] = chance.randrange(1, 6)
        for status, recipients in counts.items():
            tx.run(SENT, account=account, day=now // DAY - ago, status=status, recipients=recipients)


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
    card = page.locator(".card", has=page.get_by_role("heading", name="Sent mail"))
    card.screenshot(path=FOLDER / "sent-mail.png", animations="disabled")
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


def owner_page(page: Page, base: str, server: ApiServer, account: int, name: str) -> None:
    """The page of an account's owner, who has an app password and is away."""
    sql = "SELECT address, generation FROM accounts WHERE id = :id"
    ((address, generation),) = server.database.write_sync(lambda tx: tx.all(sql, id=account))
    server.mailboxes.right[address, PASSWORD] = SignIn(account, generation)
    page.goto(f"{base}/me")
    page.get_by_label("Address").fill(address)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Change password").wait_for()
    shoot(page, name)


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
            server.database.write_sync(lambda tx: send(tx, account))
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
                    owner_page(page, base, server, account, "me")
                elif suffix == "-phone":
                    for name in ("accounts", "events"):
                        page.goto(f"{base}/{name}")
                        shoot(page, f"{name}{suffix}")
                    owner_page(page, base, server, account, "me-phone")
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
