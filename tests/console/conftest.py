"""A real Chromium with a real server. Each test asserts at its end what every page promises: no
error on the browser's console, no violation of the policy, no request to another host."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from postroom.db import migrate
from tests.harness.dns_server import DnsServer
from tests.harness.server import UNLIMITED, ApiServer, Tenant
from tests.harness.service import LONG

# Browsers log this for every answer that is not 2xx, even if the page expects the answer.
NOT_OURS = "Failed to load resource"
# An exact time in a title: with the year, the seconds and the zone.
ABSOLUTE = re.compile(r"\d{4}.*\d:\d\d:\d\d.*(UTC|GMT|[A-Z]{3})")


# Playwright itself waits 5 seconds, which a busy machine needs now and then.
expect.set_options(timeout=LONG * 1_000)


@dataclass
class Visit:
    """A browser window with one tenant and its server."""

    page: Page
    tenant: Tenant
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.tenant.api.port}"

    def watch(self) -> None:
        self.page.on("console", self._keep)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._judge(request.url))

    def _keep(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(NOT_OURS):
            self.errors.append(message.text)

    def _judge(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.base).netloc and not url.startswith("data:"):
            self.outside.append(url)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)
        self.wait_until_loaded()

    def wait_until_loaded(self) -> None:
        """Waits until the page has loaded everything."""
        self.page.locator("h1").first.wait_for(state="attached")
        expect(self.page.locator(".skeleton, [aria-busy]")).to_have_count(0)

    def sign_in(self, key: str | None = None) -> "Visit":
        self.open("/")
        self.page.get_by_label("API key").fill(key or self.tenant.key)
        self.button("Sign in").click()
        expect(self.page.get_by_role("navigation", name="Console")).to_be_visible()
        self.wait_until_loaded()
        return self

    def sign_out(self) -> None:
        """Signs out of the console, and waits until the server has ended the session."""
        self.button("Sign out").click()
        expect(self.button("Sign in")).to_be_visible()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def dialog(self) -> Any:
        return self.page.get_by_role("dialog")

    def end(self) -> None:
        self.page.close()
        assert self.errors == []
        assert self.outside == []


@pytest.fixture(scope="session")
def dns() -> Iterator[DnsServer]:
    """The DNS that the server asks."""
    with DnsServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[ApiServer]:
    """A server for these tests, on one engine only, because the tests of the API run on both."""
    url = f"sqlite:///{tmp_path_factory.mktemp('db') / 'postroom.db'}"
    migrate(url)
    with ApiServer.start(url, msgspec.structs.replace(UNLIMITED, resolver=dns.address)) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one file of tests. It must not live longer, because until Playwright ends, an
    event loop runs in this thread."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path="/usr/bin/chromium-headless-shell", args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Browser, tenant: Tenant, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A window without a sign-in. An indirect parameter has the options of the window."""
    options = getattr(request, "param", {})
    context = browser.new_context(**options)
    context.set_default_timeout(LONG * 1_000)
    made = Visit(context.new_page(), tenant)
    made.watch()
    yield made
    made.end()
    context.close()


@pytest.fixture
def console(visit: Visit) -> Visit:
    """A window that is signed in with the tenant's key."""
    return visit.sign_in()
