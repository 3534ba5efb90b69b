"""Logins with the spellings of an internationalized domain that people and mail clients use, on
both engines."""

import unicodedata

import pytest

from tests.mail.clients import HOST, Imap, Pop3, put_script, submission, tls
from tests.mail.platform import Mailbox, Platform

SPELLINGS = {
    "A-labels": "xn--bcher-kva.{0}",
    "A-labels in capitals": "XN--BCHER-KVA.{0}",
    "U-labels": "b\u00fccher.{0}",
    "a capital": "B\u00fccher.{0}",
    "capitals": "B\u00dcCHER.{0}",
    "decomposed": unicodedata.normalize("NFD", "b\u00fccher.{0}"),
    "decomposed, in capitals": unicodedata.normalize("NFD", "B\u00dcCHER.{0}"),
    "an ideographic dot": "b\u00fccher\u3002{0}",
    "a full-width dot": "xn--bcher-kva\uff0e{0}",
}
NOBODY = [
    b"billing@b\xc3\xb6cher.test",
    b"billing@\xff\xfe",
    b"billing@b\xc3",
    b"b\xc3@x.test",
    b"\xff",
    b"\xc3\xbc@b\xc3\xbccher.test",
    b"billing@x' OR '1'='1",
    b'billing@x"--',
    b"billing@x\\\\",
    b"billing@" + b"\xc3\xbc" * 500,
]


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    platform.new_domain(f"xn--bcher-kva.{platform.domain}")
    body = {"domain": f"b\u00fccher.{platform.domain}", "local_part": "billing", "user_id": "u"}
    made = platform.call("POST", "/v2/email-accounts/create", body)
    return Mailbox(platform, made["account"]["id"], made["account"]["address"], made["password"])


def login(box: Mailbox, name: bytes, form: bytes) -> bytes:
    """Returns the IMAP answer to a user name, sent quoted or as a literal."""
    imap = Imap(HOST, box.platform.service.ports["imaps_port"], ssl_context=tls())
    imap.send(b"t LOGIN " + form.replace(b"NAME", name) % {b"n": len(name)} + b' "' + box.password.encode() + b'"\r\n')
    answer = imap.readline()
    while answer.startswith((b"*", b"+")):
        answer = imap.readline()
    imap.shutdown()
    return answer


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_it_works(box: Mailbox, spelling: str) -> None:
    ports, user = box.platform.service.ports, "billing@" + SPELLINGS[spelling].format(box.platform.domain)
    for form in (b'"NAME"', b"{%(n)d+}\r\nNAME"):
        assert login(box, user.encode(), form).startswith(b"t OK"), form
    pop3 = Pop3(HOST, ports["pop3s_port"])
    pop3.encoding = "utf-8"
    pop3.user(user)
    pop3.pass_(box.password)
    pop3.quit()
    submission(box.platform.service, user, box.password).quit()
    put_script(HOST, ports["sieve_port"], user, box.password, b"keep;")


@pytest.mark.parametrize("name", NOBODY)
def test_whoever_is_nobody_is_told_so(box: Mailbox, name: bytes) -> None:
    """The answer never claims a temporary failure."""
    answer = login(box, name, b"{%(n)d+}\r\nNAME")
    assert answer.startswith((b"t NO [AUTHENTICATIONFAILED]", b"t BAD"))
    assert box.can_login()


def test_what_is_handed_out_logs_in(box: Mailbox) -> None:
    given = box.platform.call("GET", f"/v2/email-accounts/{box.id}/client-settings", None)
    names = {way["username"] for ways in given["settings"].values() for way in ways} if "settings" in given else set()
    names |= {way["username"] for ways in given.values() if isinstance(ways, list) for way in ways}
    assert names
    for name in names:
        assert login(box, name.encode(), b'"NAME"').startswith(b"t OK")
