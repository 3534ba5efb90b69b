"""The canonical spelling of an address: what is accepted, what is refused, and that no address has
two spellings."""

import string

import idna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from postroom.address import (
    RESERVED,
    Address,
    BadAddress,
    parse_domain,
    parse_host,
    parse_local_part,
    refused_domain,
)

LABEL = "a" * 63


def test_it_works():
    address = Address.parse("Billing@Bücher.example")
    assert address == Address("billing", "xn--bcher-kva.example")
    assert str(address) == "billing@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("billing", "billing"),
        ("BilLing", "billing"),
        ("a", "a"),
        ("7", "7"),
        ("john.doe", "john.doe"),
        ("john_doe-2", "john_doe-2"),
        ("a_", "a_"),
        ("a-", "a-"),
        ("a._-b", "a._-b"),
        ("a" * 64, "a" * 64),
    ],
)
def test_local_parts(text, canonical):
    assert parse_local_part(text) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" billing", "spaces"),
        ("billing ", "spaces"),
        ("\tbilling", "spaces"),
        ("billing\u00a0", "spaces"),
        ("bil ling", "only a-z"),
        ("a+tag", r"'\+'"),
        (".a", "must begin with"),
        ("_a", "must begin with"),
        ("-a", "must begin with"),
        ("a.", "end in a dot"),
        ("a..b", "two dots"),
        ("a" * 65, "at most 64"),
        ("a@b", "only a-z"),
        ('"a b"', "must begin with"),
        ("a\0b", "only a-z"),
        ("a\nb", "only a-z"),
        ("b\u00fccher", "only a-z"),
        ("\u212aelvin", "must begin with"),  # KELVIN SIGN: lower() turns it into an ASCII k
        ("a\u0130", "only a-z"),
        ("\u0661", "must begin with"),  # a digit outside of ASCII
        ("a%b", "only a-z"),
        ("a/b", "only a-z"),
        ("a'b", "only a-z"),
        ("a$b", "only a-z"),
    ],
)
def test_refused_local_parts(text, reason):
    with pytest.raises(BadAddress, match=reason) as refused:
        parse_local_part(text)
    assert refused.value.code == "invalid_local_part"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("customer.com", "customer.com"),
        ("Customer.COM", "customer.com"),
        ("mail.customer.co.uk", "mail.customer.co.uk"),
        ("demo.test", "demo.test"),
        ("a.example", "a.example"),
        ("3com.com", "3com.com"),
        ("1.2.3.com", "1.2.3.com"),
        ("a-b.example", "a-b.example"),
        ("a-b--c.example", "a-b--c.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("Bu\u0308cher.example", "xn--bcher-kva.example"),  # u and a combining diaeresis
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.EXAMPLE", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),  # IDNA 2003 mapped this to strasse
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｃｕｓｔｏｍｅｒ．ｃｏｍ", "customer.com"),
        ("xn--n3h.example", "xn--n3h.example"),  # a snowman
        ("xn--i-7iq.ws", "xn--i-7iq.ws"),
        ("XN--I-7IQ.WS", "xn--i-7iq.ws"),
        ("xn--i-7iq。ws", "xn--i-7iq.ws"),
        ("xn--i-7iq\ufe0f.ws", "xn--i-7iq.ws"),  # UTS 46 removes the variation selector
        ("Bücher.xn--i-7iq.ws", "xn--bcher-kva.xn--i-7iq.ws"),
        (f"{LABEL}.example", f"{LABEL}.example"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 53}.example", f"{LABEL}.{LABEL}.{LABEL}.{'a' * 53}.example"),
    ],
)
def test_domains(text, canonical):
    assert parse_domain(text) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 to 253"),
        ("localhost", "two labels"),
        ("com", "two labels"),
        ("co.uk", "public suffix"),
        ("CO.UK", "public suffix"),
        ("github.io", "public suffix"),
        ("anything.ck", "public suffix"),  # the public suffix list has *.ck
        ("公司.cn", "public suffix"),
        ("xn--55qx5d.cn", "public suffix"),
        ("customer.com.", "end in a dot"),
        ("customer.com。", "end in a dot"),
        (".customer.com", "not a domain name"),
        ("customer..com", "not a domain name"),
        (".", "end in a dot"),
        ("-a.example", "not a domain name"),
        ("a-.example", "not a domain name"),
        ("a_b.example", "not a domain name"),
        ("a b.example", "not a domain name"),
        (" a.example", "not a domain name"),
        ("a.example ", "not a domain name"),
        ("a/b.example", "not a domain name"),
        ("a'b.example", "not a domain name"),
        ("a%b.example", "not a domain name"),
        ("*.example", "not a domain name"),
        ("a@b.example", "not a domain name"),
        ("ab--cd.example", "not a domain name"),
        ("a.a---b.example", "not a domain name"),
        ("a\0b.example", "control characters"),
        ("a.example\n", "control characters"),
        ("a\x85.example", "control characters"),
        ("☃.example", "not a domain name"),
        ("i❤.ws", "not a domain name"),
        # A heart and a variation selector, which UTS 46 removes.
        ("xn--qei9934e.ws", "not a domain name"),
        ("xn--1ug96u.ws", "not a domain name"),  # a snowman and a joiner that joins nothing
        ("xn--ab-c6t.ws", "not a domain name"),  # U+2044 looks like a slash and is no emoji
        ("xn--a-wbb.ws", "not a domain name"),  # begins with a combining mark
        ("xn--x-rda.ws", "not a domain name"),  # U+00BD: UTS 46 maps it to three characters
        # Left-to-right and right-to-left letters in one label.
        ("xn--4db995n.ws", "not a domain name"),
        ("xn---n3h-.example", "not a domain name"),
        ("xn--a.example", "not a domain name"),
        ("xn--.example", "not a domain name"),
        ("xn---bbk.example", "not a domain name"),  # a second spelling of xn--bbk
        ("a.example.\u00ad", "not a domain name"),  # a soft hyphen, which the mapping removes
        ("xn--abc-.example", "not a domain name"),  # punycode of plain ASCII
        ("xn--zzzzzz999999.example", "not a domain name"),
        ("xn--strasse-.example", "not a domain name"),
        ("\u200d.example", "not a domain name"),
        ("a\u2024b.example\u2488", "not a domain name|ends in letters"),
        ("127.0.0.1", "IP address"),
        ("127.1", "IP address"),
        ("0x7f.0x1", "IP address"),
        ("１２７.０.０.１", "IP address"),
        ("::1", "IP address"),
        ("2001:db8::1", "IP address"),
        ("[127.0.0.1]", "IP address"),
        ("[IPv6:::1]", "IP address"),
        ("customer.com:25", "IP address"),
        (f"{LABEL}a.example", "not a domain name"),
        (f"{LABEL}.{LABEL}.{LABEL}.{'a' * 54}.example", "1 to 253"),
        ("ü." * 40 + "example", "not a domain name"),  # too long in its xn-- form
        ("a" * 100_000, "1 to 253"),
        ("ü" * 100_000, "1 to 253"),
    ],
)
def test_refused_domains(text, reason):
    with pytest.raises(BadAddress, match=reason) as refused:
        parse_domain(text)
    assert refused.value.code == "invalid_domain"


def test_a_host_may_be_a_public_suffix():
    assert parse_host("GitHub.io") == "github.io"
    with pytest.raises(BadAddress):
        parse_host("localhost")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("billing", "invalid_address"),
        ("", "invalid_address"),
        ("@customer.com", "invalid_local_part"),
        ("billing@", "invalid_domain"),
        ("a@b@customer.com", "invalid_local_part"),
        ("billing@customer.com.", "invalid_domain"),
        (f"{'a' * 64}@{LABEL}.{LABEL}.{'a' * 54}.example", "invalid_address"),
    ],
)
def test_refused_addresses(text, code):
    with pytest.raises(BadAddress) as refused:
        Address.parse(text)
    assert refused.value.code == code


def test_the_longest_address():
    text = f"{'a' * 64}@{LABEL}.{LABEL}.{'a' * 53}.example"
    assert len(text) == 254
    assert str(Address.parse(text)) == text
    with pytest.raises(BadAddress, match="254"):
        Address("a" * 64, f"{LABEL}.{LABEL}.{'a' * 54}.example")


@pytest.mark.parametrize("parse", [parse_local_part, parse_domain, Address.parse])
@given(text=st.text(min_size=4))
def test_a_refusal_never_repeats_the_value(parse, text):
    marked = f"Zqx{text}+xqZ"
    with pytest.raises(BadAddress) as refused:
        parse(marked)
    assert "zqx" not in refused.value.message.lower()
    assert refused.value.message.endswith(".")


def test_role_addresses():
    certificates = {"admin", "administrator", "webmaster", "hostmaster", "postmaster"}  # CA/B BR 3.2.2.4.4
    assert certificates | {"root", "ssladmin", "abuse", "mailer-daemon", "security", "noc"} <= RESERVED
    assert not RESERVED & {"support", "billing", "info", "sales", "marketing"}
    assert all(parse_local_part(name) == name for name in RESERVED)


@pytest.mark.parametrize(
    ("domain", "refused"),
    [
        ("acct.internal", True),
        ("a.b.internal", True),
        ("printer.local", True),
        ("a.localhost", True),
        ("localhost", True),
        ("mail.postroom.test", True),
        ("postroom.test", False),
        ("a.mail.postroom.test", False),
        ("internal.example", False),
        ("notinternal.example", False),
        ("customer.com", False),
    ],
)
def test_domains_that_nobody_can_claim(domain, refused):
    assert refused_domain(domain, "Mail.Postroom.test") is refused


LOCAL = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=70)
DOMAIN = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20), min_size=1, max_size=4).map(".".join)
LETTERS = st.text("abcdefghijklmnopqrstuvwxyzäöüßéèñçøåžšł", min_size=1, max_size=20)


@given(LOCAL | st.text(max_size=70))
def test_a_local_part_has_one_spelling(text):
    try:
        canonical = parse_local_part(text)
    except BadAddress:
        assume(False)
    assert canonical == canonical.lower() == parse_local_part(canonical) == parse_local_part(text.upper())
    assert set(canonical) <= set(string.ascii_lowercase + string.digits + "._-")


@given(DOMAIN | LETTERS.map(lambda label: f"{label}.example"))
def test_a_domain_has_one_spelling(text):
    try:
        canonical = parse_domain(text)
    except BadAddress:
        assume(False)
    assert parse_domain(canonical) == canonical
    assert parse_domain(idna.decode(canonical)) == canonical
    assert parse_domain(canonical.upper()) == canonical
    assert set(canonical) <= set(string.ascii_lowercase + string.digits + ".-")
    assert len(canonical) <= 253


@given(st.text())
def test_parsing_anything_refuses_or_answers(text):
    for parse in (parse_local_part, parse_domain, Address.parse):
        try:
            parse(text)
        except BadAddress:
            continue


EMOJI = st.characters(min_codepoint=0x2190, max_codepoint=0x1FAFF, categories=["So"])


@given(st.text(EMOJI | st.sampled_from("abc019-äßж"), min_size=1, max_size=12))
def test_an_emoji_name_has_one_spelling(text):
    """Only labels that UTS 46 leaves unchanged are accepted. Their A-label may be in any case;
    other spellings are refused."""
    label = "xn--" + text.encode("punycode").decode()
    assume(not text.isascii())
    try:
        canonical = parse_domain(f"{label}.example")
    except BadAddress:
        return
    assert canonical == f"{label}.example" == parse_domain(canonical.upper()) == parse_domain(canonical)
    assert idna.uts46_remap(text) == text
    assert text.encode("punycode").decode("punycode") == text


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20))
def test_an_accepted_a_label_is_the_one_of_its_text(tail):
    try:
        canonical = parse_domain(f"xn--{tail}.example")
    except BadAddress:
        return
    assert canonical == f"xn--{tail}.example"
    text = tail.encode().decode("punycode")
    assert text.encode("punycode").decode() == tail
    assert idna.uts46_remap(text) == text
