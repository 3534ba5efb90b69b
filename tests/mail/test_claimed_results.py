"""Authentication results that claim to be ours are removed (RFC 8601, 5). Those of others stay."""

import re
import subprocess
from email.parser import BytesHeaderParser
from pathlib import Path

import pytest

from tests.harness.service import wait_for
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_as_sent import OUTSIDE, arrives, dialogue, from_, inbound, submitting

HOST = b"mail.postroom.test"
# Spellings of authentication results that claim to be from this host.
CLAIMED = [
    b"%s; spf=pass",
    b"%s;",
    b"%s",
    b"%s.; spf=pass",
    b"%s..; spf=pass",
    b'"%s"; spf=pass',
    b'"%s."; spf=pass',
    b'"mail\\.postroom\\.test"; spf=pass',
    b'"mail.postroom".test; spf=pass',
    b"(a comment) %s; spf=pass",
    b"(a (nested \\) one)) %s; spf=pass",
    b"%s (a comment) 1 (another); spf=pass",
    b"%s 1; none",
    b"\r\n %s; spf=pass",
    b"\r\n\t(a\r\n comment)\r\n %s\r\n ; spf=pass",
    b"(other.example;) %s; spf=pass",
    b"other.example (;) %s; spf=pass",
    b"other.example\r%s; spf=pass",
    b"ams.node.internal; spf=pass",
    b"mail.postroom.tes\xe2\x80\x8bt; spf=pass",
    b"=?utf-8?q?mail=2Epostroom=2Etest?=; spf=pass",
    b"spf=pass smtp.mailfrom=%s",
    b"; spf=pass",
    b"",
]
OTHERS = [
    b"other.example; spf=pass smtp.mailfrom=x@%s",
    b"mx.%s.example; dkim=pass",
    b"%s.example; dkim=pass",
    b"not-%s; dkim=pass",
    b"x.%s; dkim=pass",
    b'"other.example" 1; none',
    b"(a comment) other.example (%s) 1;\r\n dkim=pass (b) header.d=%s;\r\n spf=none",
    b"other.example.; none",
]


@pytest.fixture
def box(platform: Platform) -> Mailbox:
    return platform.create("alice")


def results(raw: bytes) -> list[bytes]:
    return [
        value.encode("utf-8", "surrogateescape")
        for name, value in BytesHeaderParser().parsebytes(raw).raw_items()
        if name.strip().lower() == "authentication-results"
    ]


@pytest.mark.parametrize("door", ["port 25", "submission"])
def test_results_that_claim_to_be_ours_are_removed(box: Mailbox, door: str) -> None:
    """They are removed, however they are written (RFC 8601, 5). A reader that treats a lone CR as
    the end of a line sees none either."""
    fields = [b"Authentication-Results: " + claim.replace(b"%s", HOST) for claim in CLAIMED]
    fields += [name + b" %s; spf=pass" % HOST for name in (b"authentication-results:", b"AUTHENTICATION-RESULTS \t:")]
    fields += [
        b"X-Other: a\rAuthentication-Results: " + HOST + b"; spf=pass",
        b"Authentication-Results: " + HOST.upper(),
    ]
    kept = [b"Authentication-Results: " + other.replace(b"%s", HOST) for other in OTHERS]
    sender, client = (OUTSIDE, inbound(box)) if door == "port 25" else (box.address, submitting(box))
    raw = from_(box) + b"\r\n".join([*fields, *kept]) + b"\r\n\r\nbody"
    found = arrives(box, sender.encode(), raw, client)
    assert found.lower().count(b"\nauthentication-results") == len(kept)
    assert [re.sub(rb"\s+", b" ", value.strip()) for value in results(found)] == [
        re.sub(rb"\s+", b" ", field.partition(b": ")[2]) for field in kept
    ]


@pytest.mark.parametrize(
    "field",
    [
        b"X: " + b"\r" * 55_000 + b"y\n \rAuthentication-Results: x",
        b"Authentication-Results: " + b"1" * 55_000,
        b"Authentication-Results: " + b"a." * 27_000,
        b"Authentication-Results: x (" + b"(a)" * 18_000,
        b"Authentication-Results: x " + b"(a)" * 18_000 + b"(" * 5_000,
    ],
)
def test_no_field_is_tried_from_every_octet(box: Mailbox, field: bytes) -> None:
    """PCRE gives up on an expression that backtracks too often, and Postfix then treats the field
    as one that does not match."""
    folder = box.platform.service.data / "postfix"
    for name in ("headers_in", "headers_own"):
        command: list[str | Path] = ["postmap", "-c", folder, "-h", "-q", "-", f"pcre:{folder}/{name}.pcre"]
        done = subprocess.run(command, input=field + b"\n\n", capture_output=True, check=True)
        assert done.stderr == b""
        assert done.stdout.rstrip().endswith(b"IGNORE") or name == "headers_own"


@pytest.mark.parametrize(
    "start",
    [
        b" Authentication-Results: %s; spf=pass\r\n",
        b"no header\r\nAuthentication-Results: %s; spf=pass\r\n",
        b"Authentication-Results\r: %s; spf=pass\r\n",
        b"Authentication\r\n -Results: %s; spf=pass\r\n",
        b"From someone Sat Nov 28\r\nAuthentication-Results: %s; spf=pass\r\n",
        b"\rAuthentication-Results: %s; spf=pass\r\n",
    ],
)
def test_a_result_beside_the_headers_is_no_header(box: Mailbox, start: bytes) -> None:
    """Text that is no header for Postfix is no header for a reader of the mailbox either."""
    raw = start.replace(b"%s", HOST) + b"X: y\r\n\r\nbody"
    code, _ = dialogue(inbound(box), OUTSIDE.encode(), box.address.encode(), raw)
    assert code == 250
    with box.login() as imap:
        wait_for("the message", lambda: imap.select("INBOX")[1] == [b"1"])
        found = b"".join(imap.fetch("1", "(BODY.PEEK[])")[1][0])  # type: ignore[arg-type]
        said = b"".join(imap.fetch("1", "(BODY.PEEK[HEADER.FIELDS (Authentication-Results)])")[1][0])  # type: ignore[arg-type]
    assert b"X: y" in found
    assert b"spf=pass" not in said
    assert results(found.partition(b"\r\n")[2]) == []
