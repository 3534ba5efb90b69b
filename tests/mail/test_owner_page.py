"""Signing in on the owner's page with a real Dovecot: which passwords it takes, and what ends the
sessions of the page and of mail clients."""

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.harness.service import wait_for
from tests.mail.clients import HOST
from tests.mail.platform import Mailbox
from tests.mail.test_app_passwords import Session, create

NEW = "lantern over quiet water"


@dataclass
class Page:
    """The page in a browser, as HTTP."""

    mailbox: Mailbox
    cookie: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    source: str = HOST

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Returns the JSON of the answer; `status` is its status."""
        sent = {"cookie": self.cookie, "x-csrf-token": self.told.get("csrf_token", "")} | headers
        data = None if body is None else json.dumps(body)
        sent |= {"content-type": "application/json"} if data else {}
        service = self.mailbox.platform.service
        with closing(http.client.HTTPConnection(HOST, service.ports["port"], 60, (self.source, 0))) as connection:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            told, self.status = json.loads(answer.read()), answer.status
        if "csrf_token" in told and answer.getheader("set-cookie"):
            made = [value for name, value in answer.getheaders() if name == "set-cookie" and "Max-Age=0" not in value]
            self.cookie, self.told = made[0].partition(";")[0], told
        return told

    def sign_in(self, password: str | None = None, address: str | None = None, **headers: str) -> int:
        body = {"address": address or self.mailbox.address, "password": password or self.mailbox.password}
        self.ask("POST", "/v2/me/session", body, **headers)
        return self.status

    def is_open(self) -> bool:
        self.ask("GET", "/v2/me")
        return self.status == 200


def test_it_works(alice: Mailbox) -> None:
    page, program = Page(alice), Session(alice, "imap", alice.password)
    _, phone = create(alice)
    device = Session(alice, "imap", phone)
    assert page.sign_in() == 201
    assert page.ask("GET", "/v2/me")["account"]["address"] == alice.address
    assert [one["protocol"] for one in page.ask("GET", "/v2/me/sessions")["sessions"]] == ["imap", "imap"]
    made = page.ask("POST", "/v2/me/app-passwords", {"name": "tablet", "scopes": ["imap"]})
    tablet = Session(alice, "imap", made["password"])
    page.ask("POST", "/v2/me/app-passwords/delete", {"id": made["app_password"]["id"]})
    assert (tablet.is_open(), program.is_open(), device.is_open()) == (False, True, True)
    elsewhere = Page(alice)
    assert elsewhere.sign_in() == 201
    assert page.ask("POST", "/v2/me/password", {"old": alice.password, "new": NEW})["sessions_ended"] is True
    assert (program.is_open(), device.is_open(), elsewhere.is_open(), page.is_open()) == (False, False, False, True)
    assert (alice.can_login(NEW), alice.can_login(phone), alice.can_login()) == (True, True, False)
    program = Session(alice, "imap", NEW)
    assert page.ask("POST", "/v2/me/sessions/end")["sessions_ended"] is True
    assert (program.is_open(), page.is_open()) == (False, True)
    page.ask("DELETE", "/v2/me/session")
    assert (page.status, page.is_open()) == (200, False)


def test_which_passwords_sign_in(alice: Mailbox, bob: Mailbox) -> None:
    """Only the main password, in whatever spelling of the address a mail client may log in."""
    _, phone = create(alice)
    page = Page(alice)
    for wrong, address in (
        (phone, None),
        (alice.password.upper(), None),
        (bob.password, None),
        (alice.password, bob.address),
        (alice.password, f"nobody@{alice.platform.domain}"),
        (alice.password, f"{alice.id}@1.acct.internal"),
        (alice.password, "' OR 1=1 --"),
        (alice.password, f"{alice.address}\t{bob.address}"),
    ):
        assert page.sign_in(wrong, address) == 401, address
        assert page.told == {}
    assert page.sign_in(None, alice.address.upper()) == 201
    assert page.ask("POST", "/v2/me/password", {"old": phone, "new": NEW})["errors"][0]["code"] == "wrong"


def test_a_suspension(alice: Mailbox) -> None:
    page = Page(alice)
    page.sign_in()
    for status in ("suspended", "disabled"):
        alice.update(status=status)
        assert not page.is_open()
        refused = Page(alice)
        assert refused.sign_in() == 403
        assert (
            refused.ask("POST", "/v2/me/session", {"address": alice.address, "password": alice.password})["detail"]
            == f"This account is {status}."
        )
        assert refused.sign_in("not the password") == 401
    alice.update(status="active")
    assert not page.is_open()
    assert page.sign_in() == 201


def test_switches(alice: Mailbox) -> None:
    """The page needs the main password, and no protocol."""
    page = Page(alice)
    alice.update(protocols=dict.fromkeys(("imap", "pop3", "smtp", "sieve"), False))
    assert page.sign_in() == 201
    assert (page.told["imap"], page.told["profile"]) == ([], None)
    alice.update(main_password=False)
    assert not page.is_open()
    assert page.sign_in() == 401
    alice.update(main_password=True)
    assert page.sign_in() == 201


def test_dovecot_sees_the_address_of_the_client(alice: Mailbox) -> None:
    """The address by which wrong passwords on this page are counted."""
    page = Page(alice, source="127.1.2.3")
    assert page.sign_in() == 201
    log = alice.platform.service.data / "log" / "dovecot.log"

    def told() -> list[str]:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if f'"{alice.id}@1.me.acct.internal"' in line and '"me"' in line]

    (line,) = wait_for("the login in Dovecot's log", told)
    assert '"remote_ip":"127.1.2.3"' in line
    assert (
        alice.platform.call("GET", f"/v2/email-accounts/{alice.id}?fields=*", None)["account"]["last_login_at"] is None
    )
