"""docs/quick-start.md with the console alone: from the link of the first start to a mailbox that
works with SMTP and IMAP."""

import imaplib
import os
import re
import smtplib
import ssl
from collections.abc import Iterator
from typing import Any, cast

import pytest
from playwright.sync_api import Browser, expect

from tests.harness.service import Service, wait_for

ADDRESS = "hello@demo.test"


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new() as new:
        yield new.start()


def create(browser: Browser, link: str) -> tuple[str, str]:
    """Creates an account. Returns its password and the text of its page."""
    page = browser.new_page()
    page.goto(link)
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Accounts").click()
    page.get_by_role("button", name="Create account").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name before the @").fill("hello")
    dialog.get_by_label("Domain").fill("demo.test")
    dialog.get_by_label("User", exact=True).fill("user_quick")
    dialog.get_by_role("button", name="Create account").click()
    expect(page.locator(".secret")).to_have_text(re.compile(r"^[a-z]{5}(-[a-z]{5}){5}$"))
    password = page.locator(".secret").inner_text()
    page.get_by_role("button", name="Done").click()
    page.get_by_role("link", name=ADDRESS).click()
    expect(page.locator("main")).to_contain_text("mail.postroom.test")
    words = page.locator("main").inner_text()
    page.close()
    return password, words


@pytest.mark.skipif(os.geteuid() != 0, reason="Postfix needs root")
def test_from_the_link_to_a_mailbox(browser: Browser, service: Service) -> None:
    link = re.search(r"http://\S+/sign-in#link=\S+", service.said())
    assert link
    password, words = create(browser, link[0])
    imaps, submissions = service.ports["imaps_port"], service.ports["submissions_port"]
    assert re.search(rf"\b{imaps}\b", words)
    assert re.search(rf"\b{submissions}\b", words)
    trusting = ssl.create_default_context(cafile=service.data / "tls" / "cert.pem")
    trusting.check_hostname = False
    with smtplib.SMTP_SSL("127.0.0.1", submissions, context=trusting) as smtp:
        smtp.login(ADDRESS, password)
        smtp.sendmail(ADDRESS, ADDRESS, f"From: {ADDRESS}\nTo: {ADDRESS}\nSubject: Hello\n\nIt works.\n")
    with imaplib.IMAP4_SSL("127.0.0.1", imaps, ssl_context=trusting) as imap:
        imap.login(ADDRESS, password)
        wait_for("the mail", lambda: imap.select()[1] == [b"1"])
        assert b"It works." in cast(Any, imap.fetch("1", "(BODY[TEXT])")[1][0])[1]
