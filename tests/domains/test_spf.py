"""SPF records: the grammar as a table of terms, and, as a property, what a proposal keeps of a
faulty record."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.domains import spf, spf_proposal
from postroom.domains.dns_lookups import Lookups
from postroom.domains.resolver import Found
from postroom.domains.spf import Mechanism
from postroom.domains.spf_check import Check
from postroom.domains.spf_faults import Broken

HOST = "mx.host.example"
ADDRESS = "192.0.2.9"

VALID_TERMS = """
all -all ~ALL ?all +all a A mx MX -mx a/24 a/0 a//64 a/24//64 mx/24 mx/24//0 a:x.example A:X.example. a:x.example/24
a:x.example//128 mx:x.example/32//64 ptr ptr:x.example include:x.example include:_spf.x.example exists:%{i}.x.example
exists:%{ir}.%{v}._spf.%{d2} include:%{d} a:%{D} exists:%{l1r-}.x.example a:a.b-c a:b.c1 a:foo:80.example exists:%%
a:foo/bar.example ip4:192.0.2.0 ip4:192.0.2.1/24 ip4:0.0.0.0/0 ip6:2001:db8::/32 ip6::: ip6:::1/128 ip6:::ffff:192.0.2.1
redirect=x.example REDIRECT=%{d}.x.example exp=x.example foo=bar foo= ra=a%%20b v=spf1 a=b ip4=192.0.2.1 x.y-z_1=%{s}
"""
INVALID_TERMS = """
include: include a: a/ a/33 a/024 a//129 a/24/64 a/x a:/24 a:localhost a:192.0.2.1 a:x.1 a:x.a- a:x.. mx: mx/33 ptr/24
ptr: exists exists: all:x all/8 -all; -all, all. –all −all ip4 ip4: ip4/24 ip4:192.0.2 ip4:192.0.2.300 ip4:192.0.2.1.
ip4:192.0.2.1/33 ip4:192.0.2.1/024 ip4:192.0.2.1/ ip4:192.0.2.1:25 ip4:192.0.2.01 ip4:192.0.2.1/255.255.255.0
ip4:2001:db8::1 ip4:x.example ip6:192.0.2.1 ip6:2001:db8::1/129 ip6:2001:db8::1/064 ip6:1::2::3 ip6:fe80::1%eth0
ipv4:192.0.2.1 ipv6:2001:db8::1 ip:192.0.2.1 spam x.example 192.0.2.1 include:x.example/24 include:x.example,
a:%{x}.example a:%{d a:%{d0} a:%d.example a:%{i2.}x "a" a" ++all !all - redirect= redirect=localhost exp= foo=a%20b
+redirect=x.example -foo=bar foo=%{z} =bar 1foo=bar a:x.exampleａ ip4:１９２.0.2.1 include:x.example/24//64
"""
# Without regard to case, U+212A compares equal to k, and U+017F to s.
INVISIBLE = [
    "all\t",
    "all\r",
    "all\n",
    "a\tmx",
    "a\x00",
    "a\xa0mx",
    "a:x.example\u200b",
    "\ufffd",
    "a:x.\u212a",
    "a:x.\u017f",
]
VALID = VALID_TERMS.split()
INVALID = [*INVALID_TERMS.split(), *INVISIBLE]


@pytest.mark.parametrize("term", VALID)
def test_a_valid_term(term: str) -> None:
    """The term is also valid next to another term, in any case and with any number of spaces."""
    spf.parse_term(term)
    assert spf.parse(f"v=spf1  {term}   -a ") == spf.parse(f"V=SPF1 {term} -a")


@pytest.mark.parametrize("term", INVALID)
def test_an_invalid_term(term: str) -> None:
    """One invalid term makes the whole record invalid, even after a term that decides. The error
    names the fault."""
    for record in (f"v=spf1 {term} -all", f"v=spf1 -all {term}"):
        with pytest.raises(Broken, match="The record has") as raised:
            spf.parse(record)
        assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["redirect", "exp"])
def test_once_only(name: str) -> None:
    with pytest.raises(Broken, match=f"{name}= more than once"):
        spf.parse(f"v=spf1 {name}=x.example {name.upper()}=y.example")


def test_what_is_too_long() -> None:
    with pytest.raises(Broken, match="8192 characters"):
        spf.parse("v=spf1" + " a" * spf.MOST_CHARACTERS)


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("v=spf1", True),
        ("V=sPf1 ", True),
        ("v=spf1 all", True),
        ("v=spf1\tall", False),
        ("v=spf1\n", False),
        ("v=spf10", False),
        (" v=spf1", False),
        ("v=spf1,all", False),
        ("v=spf1a:x.example", False),
        ("v = spf1", False),
        ("v=ſpf1 all", False),
        ("", False),
    ],
)
def test_which_values_are_records(value: str, is_one: bool) -> None:
    assert spf.is_record(value) == is_one


# Separators that people write between terms.
SEPARATOR = st.sampled_from([" ", " ", " ", "  ", ", ", ";", "\t", "\n", "\xa0"])
NAMES = st.sampled_from(["x.example", "y.example", HOST, "MX.host.example", "%{d}", "%{i}.x.example", "localhost", ""])
BUILT = st.builds(
    lambda sign, name, mark, value, end: f"{sign}{name}{mark}{value}{end}",
    st.sampled_from(["", "", "+", "-", "~", "?", "–"]),
    st.sampled_from(["a", "mx", "include", "exists", "ptr", "redirect", "exp", "all", "A", "ip4", "ipv4", "foo"]),
    st.sampled_from(["", ":", ":", ": ", "="]),
    NAMES | st.sampled_from(["192.0.2.1", "192.0.2.300", "2001:db8::1"]),
    st.sampled_from(["", "", "/24", "/33", "//64", ";", ","]),
)
TERM = st.sampled_from(VALID) | st.sampled_from(INVALID) | BUILT | st.text(max_size=8)
RECORD = st.lists(st.tuples(SEPARATOR, TERM), max_size=8).map(lambda parts: "v=spf1" + "".join(a + b for a, b in parts))


def evaluated(record: str) -> tuple[str, int]:
    """The result for our address if a domain has this record and the DNS has nothing else but our
    host."""
    lookups = Lookups()
    lookups.add(("shop.example", "TXT"), Found((record,)))
    lookups.add((HOST, "A"), Found((ADDRESS,)))
    check = Check(lookups, ip_address(ADDRESS), "postmaster@shop.example")
    return check.result("shop.example"), check.lookups


def lets_everybody_send(meaning: Mechanism) -> bool:
    length4 = meaning.length4 if meaning.network is None else meaning.network.prefixlen
    length6 = meaning.length6 if meaning.network is None else 128
    if meaning.network is not None and meaning.network.version == 6:
        length4, length6 = 32, meaning.network.prefixlen
    return meaning.qualifier == "+" and (length4 < 8 or length6 < 16)


@settings(max_examples=500)
@given(st.lists(RECORD, min_size=1, max_size=3))
def test_a_proposal(records: list[str]) -> None:
    """Any proposal is a valid record, its first term lets our address send, and it keeps every
    readable mechanism of the found records unless the mechanism lets everybody send. It adds
    nothing else."""
    proposal = spf_proposal.with_host(records, HOST)
    terms = spf.terms_of(proposal.text)
    parsed = spf.parse(proposal.text)
    assert evaluated(proposal.text) == ("pass", 1)
    assert [mechanism.name for mechanism in parsed.mechanisms].count("all") <= 1
    assert parsed.redirect is None or "all" not in [mechanism.name for mechanism in parsed.mechanisms]
    there = {term.lower() for term in terms}
    for word in (word for record in records for word in record.split()[1:]):
        try:
            meaning = spf.parse_term(word)
        except Broken:
            assert word not in terms
            continue
        if isinstance(meaning, Mechanism) and meaning.name != "all" and f":{HOST}" not in word.lower():
            assert (word.lower() in there) != lets_everybody_send(meaning)


def test_a_proposal_writes_what_was_meant() -> None:
    for found, expected in [
        ("include: spf.x.example ~all", "include:spf.x.example ~all"),
        ("include: mx ~all", "mx ~all"),
        ("ip4: 192.0.2.1 ip6: 2001:db8::1 -all", "ip4:192.0.2.1 ip6:2001:db8::1 -all"),
        ("ipv4:192.0.2.1 -IPV6:2001:db8::1", "ip4:192.0.2.1 -ip6:2001:db8::1 ~all"),
        ("mx, a:x.example; –all", "mx a:x.example -all"),
        ("mx;a:x.example;−all;", "mx a:x.example -all"),
        ("“mx” '-all'", "mx -all"),
        ("redirect=x.example redirect=y.example", "include:x.example include:y.example ~all"),
        ("redirect=x.example", "redirect=x.example"),
        ("redirect=x.example -all", "-all"),
        ("exp=x.example exp=y.example -all", "-all exp=x.example"),
        ("-all +all mx ?all", "mx -all"),
        (f"-a:{HOST} a:{HOST} mx", "mx ~all"),
        (f"a:{HOST}/24 -all", f"a:{HOST}/24 -all"),
        ("ip4=192.0.2.1 ra=abuse v=spf1 mx", "ra=abuse mx ~all"),
    ]:
        assert spf_proposal.with_host([f"v=spf1 {found}"], HOST).text == f"v=spf1 a:{HOST} {expected}", found


def test_what_a_proposal_leaves_out() -> None:
    found = "v=spf1 ip4:192.0.2.300 mx/33 include:gone.example mx -all"
    proposal = spf_proposal.with_host([found], HOST, {"include:gone.example"})
    assert proposal.text == f"v=spf1 a:{HOST} mx -all"
    assert proposal.left_out == ("ip4:192.0.2.300", "mx/33", "include:gone.example")


def test_two_records_in_one() -> None:
    """Each redirect becomes an include, because a record has at most one redirect, and none with
    `all`."""
    records = ["v=spf1 mx redirect=x.example", "v=spf1 MX redirect=y.example", "v=spf1 -all"]
    expected = f"v=spf1 a:{HOST} mx include:x.example include:y.example -all"
    assert spf_proposal.with_host(records, HOST).text == expected


def test_a_proposal_is_never_too_long() -> None:
    found = "v=spf1 " + " ".join(f"ip4:192.0.{n // 256}.{n % 256}" for n in range(500))
    assert len(found) < spf.MOST_CHARACTERS
    assert spf_proposal.with_host([found], HOST).text.startswith(f"v=spf1 a:{HOST} ip4:192.0.0.0 ")
    longer = [found, found.replace("192.0", "198.51")]
    assert spf_proposal.with_host(longer, HOST).text == f"v=spf1 a:{HOST} ~all"
    almost = "v=spf1 " + "b" * (spf.MOST_CHARACTERS - 20) + "=c mx"
    assert len(almost) <= spf.MOST_CHARACTERS
    assert spf_proposal.with_host([almost], HOST).text == f"v=spf1 a:{HOST} ~all"
