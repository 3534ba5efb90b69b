"""Hostile values for RCPT and LOGIN: nothing breaks, no login succeeds, and the next client is
served."""

import re
import smtplib
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from postroom.address import Address, BadAddress
from tests.harness.service import Service
from tests.mail.clients import HOST, Imap, smtp, tls
from tests.mail.platform import Mailbox, Platform

# Values that have broken other servers: SQL, LDAP, paths, percent sequences of Dovecot and Postfix,
# quoting, routes, long parts.
CURSED = (
    "' OR '1'='1",
    "x' UNION SELECT password FROM accounts --",
    "%u",
    "%{password}",
    "%s%s%s%n",
    "../../../etc/passwd",
    "|id",
    "$(id)",
    "`id`",
    "*",
    "a\\",
    '"',
    '"a b"',
    '"a@b"',
    "(comment)a",
    "a+b+c",
    "+",
    ".",
    "..",
    "a..b",
    "@host:a",
    "a%b",
    "a!b",
    "1@2.acct.internal",
    "é",
    "\u202e",
    "\ufeff",
    "\x00",
    "\t",
    "\x7f",
    "a" * 64,
    "a" * 65,
    "a" * 900,
)
BUDGET = settings(phases=[Phase.explicit, Phase.generate])
local_parts = st.sampled_from(CURSED) | st.text(string.printable, max_size=80) | st.text(max_size=40)
LOGINS_AT_ONCE = 48
BEFORE_POSTFIX_SLOWS_DOWN = 9  # smtpd_soft_error_limit


@pytest.fixture(scope="module")
def poisoned(service: Service) -> Mailbox:
    return Platform.new(service).create("alice")


@pytest.fixture(scope="module")
def session(service: Service) -> Iterator["Rcpt"]:
    rcpt = Rcpt(service)
    yield rcpt
    rcpt.close()


class Rcpt:
    """Tries one recipient after another, with a new client before Postfix slows the old one
    down."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client: smtplib.SMTP | None = None
        self._refused = 0

    def __call__(self, path: bytes) -> tuple[int, str]:
        """Returns the answer to RCPT TO:<path>."""
        if self._client is None:
            self._client = smtp(self._service)
            self._client.ehlo()
            self._client.mail("someone@elsewhere.example")
            self._refused = 0
        assert self._client.sock
        self._client.sock.sendall(b"RCPT TO:<" + path + b">\r\n")
        code, text = self._client.getreply()
        self._refused += 1
        if self._refused == BEFORE_POSTFIX_SLOWS_DOWN:
            self.close()
        return code, text.decode(errors="replace")

    def close(self) -> None:
        if self._client:
            self._client.close()
            self._client = None


def test_rcpt(session: Rcpt, poisoned: Mailbox) -> None:
    """No temporary failure (which a broken look-up would cause), no closed connection, and 250 only
    for existing recipients."""
    domain = poisoned.platform.domain
    domains = st.just(domain) | st.sampled_from(
        [f"{domain}.", f"[{domain}]", "acct.internal", "", "x' --", "[127.0.0.1]"]
    )
    here = re.compile(rf"alice(\+[^@]*)?@{re.escape(domain)}\.?", re.I)

    @given(local_parts, domains)
    @settings(BUDGET, max_examples=400)
    def run(local_part: str, host: str) -> None:
        path = re.sub(rb"[\r\n]", b" ", f"{local_part}@{host}".encode(errors="surrogatepass"))
        code, text = session(path)
        assert 500 <= code < 600 or _is_role(path.decode(errors="replace")) or here.fullmatch(path.decode()), (
            path,
            text,
        )

    run()
    session.close()
    assert session(poisoned.address.encode())[0] == 250


def _is_role(path: str) -> bool:
    """Returns whether the address is postmaster@ or abuse@, whose mail always arrives."""
    return path.strip('" ').partition("@")[0].partition("+")[0].lower() in ("postmaster", "abuse")


def test_login(service: Service, poisoned: Mailbox) -> None:
    """Each other name or password is refused as wrong, never as an internal failure, and the
    service still works."""
    text = st.sampled_from(CURSED) | st.text(max_size=40) | st.just(poisoned.password) | st.just(poisoned.address)
    names = text | local_parts.map(lambda part: f"{part}@{poisoned.platform.domain}")

    @given(st.lists(st.tuples(names, text), min_size=LOGINS_AT_ONCE, max_size=LOGINS_AT_ONCE))
    @settings(BUDGET, max_examples=2)
    def run(logins: list[tuple[str, str]]) -> None:
        with ThreadPoolExecutor(LOGINS_AT_ONCE) as pool:
            for (name, password), said in zip(
                logins, pool.map(lambda pair: log_in(service, *pair), logins), strict=True
            ):
                if _is_alice(name, poisoned) and password == poisoned.password:
                    continue
                assert said.startswith(("NO ", "BAD ")), (name, password, said)
                assert "UNAVAILABLE" not in said, (name, password, said)

    run()
    assert poisoned.can_login()
    assert service.ready()


def _is_alice(name: str, mailbox: Mailbox) -> bool:
    try:
        return str(Address.parse(name)) == mailbox.address
    except BadAddress:
        return False


def log_in(service: Service, name: str, password: str) -> str:
    """Returns the answer to LOGIN with two literals, which can carry every byte except NUL (RFC
    3501, 4.3)."""
    client = Imap(HOST, service.ports["imaps_port"], ssl_context=tls())
    try:
        parts = b"".join(b" {%d+}\r\n%b" % (len(part), part) for part in (name.encode(), password.encode()))
        client.send(b"x LOGIN" + parts + b"\r\n")
        while not (line := client.readline()).startswith((b"x ", b"* BYE", b"* BAD")):
            assert line, "the connection ended"
        return line.decode(errors="replace").partition(" ")[2]
    finally:
        client.shutdown()
