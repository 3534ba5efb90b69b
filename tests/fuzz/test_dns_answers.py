"""What the DNS may answer in a check of a domain: each check ends in bounded work, with a status
and a text.

An SPF record is ok only if a second reading of RFC 7208 lets our host send. The second reading
is the ABNF of section 12 as one pattern, and an evaluation without macros; it shares no code
with `postroom.domains.spf`.
"""

import asyncio
import ipaddress
import re
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.domains import dns_records, record_checks, verification
from postroom.domains.dns_records import DkimRecord
from postroom.domains.record_checks import RecordCheck
from postroom.domains.resolver import Found, Resolver, Unanswered
from postroom.mail_host import MailHost

HOST = MailHost("mx.host.example")
D = "shop.example"
KEY = "v=DKIM1; k=rsa; p=" + "QUFB" * 100
WANTED = dns_records.wanted("t0k3n", [DkimRecord("s1", KEY, True)], HOST)
SPF = next(number for number, record in enumerate(WANTED) if record.purpose == "spf")
PUBLISHED = {D if record.host == "@" else f"{record.host}.{D}" for record in WANTED}

Question = tuple[str, str]
Lookups = dict[Question, Found | None]


class Zone(Resolver):
    """Answers from a dict; None there is no answer. What is not in it is not in the DNS."""

    def __init__(self, lookups: Lookups) -> None:
        super().__init__("127.0.0.1:53")
        self._answers = lookups
        self.asked = 0

    async def find(self, name: str, record_type: str) -> Found:
        self.asked += 1
        found = self._answers.get((name, record_type), Found())
        if found is None:
            raise Unanswered("it timed out")
        return found


def checked(lookups: Lookups) -> list[RecordCheck]:
    zone = Zone(lookups)
    found = asyncio.run(verification.look(zone, WANTED, D, HOST))
    assert zone.asked <= verification.QUESTIONS
    for check in found:
        assert (check.fix is None) == (check.status == "ok")
        assert check.fix is None or 0 < len(check.fix) <= record_checks.LONGEST_FIX + 1
        assert check.fix is None or check.fix.isprintable()
        assert len(check.found) <= record_checks.MOST_FOUND
        assert all(len(value) <= record_checks.LONGEST_FOUND + 1 and value.isprintable() for value in check.found)
        assert bool(check.found) == (check.status in ("ok", "differs")) or check.status == "ok"
    return found


# The second reading.
QNUM = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])"
MACRO = r"%(?:\{[slodiphv]0*(?:[1-9][0-9]*)?r?[-.+,/_=]*\}|[%_-])"
TEXT = rf"(?:[!-$&-~]|{MACRO})*"
TOP = r"\.(?:[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9])\.?"
DOMAIN = rf"{TEXT}(?:{TOP}|{MACRO})"
C4, C6 = r"/(?:0|[12]?[0-9]|3[0-2])", r"/(?:0|[1-9][0-9]?|1[01][0-9]|12[0-8])"
IP6 = r"[0-9a-f:.]+"
MECHANISM = (
    rf"[-+?~]?(?:all|include:{DOMAIN}|(?:a|mx)(?::{DOMAIN})?(?:{C4})?(?:/{C6})?|ptr(?::{DOMAIN})?"
    rf"|ip4:{QNUM}(?:\.{QNUM}){{3}}(?:{C4})?|ip6:{IP6}(?:{C6})?|exists:{DOMAIN})"
)
MODIFIER = rf"redirect={DOMAIN}|exp={DOMAIN}|(?!redirect=|exp=)[a-z][a-z0-9_.-]*={TEXT}"
RECORD = re.compile(rf"v=spf1(?: +(?:{MECHANISM}|{MODIFIER}))* *", re.ASCII | re.IGNORECASE)


class Permanent(Exception):
    """permerror or temperror."""


class Unread(Exception):
    """A macro, which the second reading does not expand."""


class Reading:
    def __init__(self, lookups: Lookups, client: str) -> None:
        self.lookups = lookups
        self.client = ipaddress.ip_address(client)
        self.terms = 0
        self.void = 0

    def found(self, name: str, kind: str) -> tuple[str, ...]:
        name = name.lower().removesuffix(".")
        if not all(0 < len(label) < 64 for label in name.split(".")):
            raise Unread
        answer = self.lookups.get((name, kind), Found())
        if answer is None:
            raise Permanent("no answer")
        return answer.values

    def check(self, domain: str) -> str | None:
        values = [value for value in self.found(domain, "TXT") if re.match(r"(?i:v=spf1)( |\Z)", value, re.ASCII)]
        if len(values) > 1:
            raise Permanent("several")
        if not values:
            return None
        words = [word for word in values[0].split(" ")[1:] if word]
        if not RECORD.fullmatch(values[0]) or any(self.is_bad_ip6(word) for word in words):
            raise Permanent("syntax")
        redirects = [word for word in words if word.lower().startswith("redirect=")]
        if len(redirects) > 1 or sum(word.lower().startswith("exp=") for word in words) > 1:
            raise Permanent("twice")
        for word in words:
            if re.match(r"[A-Za-z][\w.-]*=", word, re.ASCII):
                continue
            if self.matches(word.lower().lstrip("+-?~"), domain):
                return word[0] if word[0] in "-?~" else "+"
        if not redirects:
            return "?"
        self.count()
        result = self.check(self.name(redirects[0].partition("=")[2]))
        if result is None:
            raise Permanent("no record there")
        return result

    def is_bad_ip6(self, word: str) -> bool:
        if not re.match(r"[-+?~]?ip6:", word, re.IGNORECASE):
            return False
        try:
            ipaddress.IPv6Network(re.split("ip6:", word, flags=re.IGNORECASE)[1], strict=False)
        except ValueError:
            return True
        return False

    def matches(self, word: str, domain: str) -> bool:
        if word == "all":
            return True
        if word[:4] in ("ip4:", "ip6:"):
            return self.client in ipaddress.ip_network(word[4:], strict=False)
        self.count()
        self.is_void = False
        kind = re.split("[:/]", word)[0]
        if kind == "include":
            result = self.check(self.name(word.partition(":")[2]))
            if result is None:
                raise Permanent("no record there")
            return result == "+"
        if kind == "ptr":
            raise Unread
        rest, length4, length6 = re.fullmatch(r"(.*?)(?:/([0-9]+))?(?://([0-9]+))?", word[len(kind) :]).groups()  # type: ignore[union-attr]
        name = self.name(rest[1:]) if rest else domain
        if kind == "exists":
            return bool(self.counted(name, "A"))
        length = int((length4 or 32) if self.client.version == 4 else (length6 or 128))
        if kind == "a":
            return self.has_client(name, length)
        exchanges = [value.split() for value in self.counted(name, "MX")]
        if len(exchanges) > 10:
            raise Permanent("many")
        exchanges.sort(key=lambda pair: int(pair[0]))
        return any(self.has_client(target, length) for _, target in exchanges if target != ".")

    def has_client(self, name: str, length: int) -> bool:
        addresses = self.counted(name, "A" if self.client.version == 4 else "AAAA")
        return any(self.client in ipaddress.ip_network(f"{each}/{length}", strict=False) for each in addresses)

    def counted(self, name: str, kind: str) -> tuple[str, ...]:
        values = self.found(name, kind)
        if not values and not self.is_void:
            self.is_void = True
            self.void += 1
            if self.void > 2:
                raise Permanent("void")
        return values

    def count(self) -> None:
        self.terms += 1
        if self.terms > 10:
            raise Permanent("terms")

    def name(self, text: str) -> str:
        if "%" in text:
            raise Unread
        return text


def passes(lookups: Lookups) -> bool:
    """Whether the second reading says pass for each of our addresses, or cannot say."""
    found = [lookups.get((HOST.name, kind), Found()) for kind in ("A", "AAAA")]
    addresses = [address for each in found if each for address in each.values]
    if not addresses:  # our host is in no DNS: it may be named, as if it had an address
        lookups = lookups | {(HOST.name, "A"): Found(("192.0.0.8",))}
    try:
        return all(Reading(lookups, address).check(D) == "+" for address in addresses or ["192.0.0.8"])
    except Unread:
        return True
    except Permanent:
        return False


# Zones.
NAMES = st.sampled_from(
    [HOST.name, "MX.Host.example.", D, "a.example", "b.example", "c.example", "gone.example", "a..b", "x"]
)
VALUES = st.one_of(
    NAMES, st.sampled_from(["%{d}", "%{i}.x.example", "%{", "192.0.2.0", "192.0.2.300", "2001:db8::", "1:2"])
)
KINDS = "a A mx MX include exists ptr redirect exp all ALL ip4 ip6 ipv4 foo".split(" ")  # noqa: SIM905
TERMS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "", "", "-", "~", "?", "+", "–"]),
        st.sampled_from(KINDS),
        st.sampled_from([":", ":", ":", "", "=", ": "]),
        VALUES | st.just(""),
        st.sampled_from(["", "", "", "/24", "/0", "//64", "/24//0", "/33", ";"]),
    ),
)
GOOD = st.sampled_from(
    f"a:{HOST.name},mx,a/24,MX:c.example/8,ip4:192.0.2.0/24,ip6:2001:db8::/32,include:a.example,include:b.example,"
    "redirect=c.example,-all,~all,?all,+all,-mx,exists:a.example,exp=a.example".split(",")
)
RECORDS = st.builds(
    lambda version, terms, end: version + "".join(f" {term}" for term in terms) + end,
    st.sampled_from(["v=spf1"] * 8 + ["V=SPF1", " v=spf1", '"v=spf1', "v=spf1,"]),
    st.lists(GOOD | GOOD | GOOD | TERMS, max_size=5),
    st.sampled_from(["", "", "", " ", '"', "\t"]),
)
OTHERS = st.sampled_from(["t0k3n", KEY, "v=DMARC1; p=none", "v=TLSRPTv1; rua=mailto:a@b.example", "v=STSv1; id=1"])
MANGLED = st.builds(lambda text, at, odd: text[:at] + odd + text[at:], OTHERS, st.integers(0, 30), st.text(max_size=3))
BYTES = st.binary(max_size=60).map(lambda data: data.decode("utf-8", "replace"))
TEXTS = st.one_of(RECORDS, RECORDS, OTHERS, MANGLED, BYTES)
ADDRESSES = st.lists(st.sampled_from(["192.0.2.9", "192.0.2.8", "198.51.100.1"]), max_size=2)
ADDRESSES_6 = st.lists(st.sampled_from(["2001:db8::9", "2001:db8:1::1"]), max_size=1)
TARGETS = st.sampled_from([f"{HOST.name}.", "a.example.", "b.example.", "."])
EXCHANGES = st.lists(st.builds("{} {}".format, st.integers(0, 3), TARGETS), max_size=12)
PORTS = st.sampled_from([993, 587, 0])
SERVICES = st.lists(st.builds("{} 1 {} mx.host.example.".format, st.integers(0, 3), PORTS), max_size=2)
ALIASES = st.sampled_from([None, None, None, None, HOST.name, "a.example"])


BY_KIND = {
    "TXT": st.lists(TEXTS, max_size=3),
    "A": ADDRESSES,
    "AAAA": ADDRESSES_6,
    "MX": EXCHANGES,
    "CNAME": st.lists(st.sampled_from(["mx.host.example.", "a.example."]), max_size=1),
    "SRV": SERVICES,
}


def answer(kind: str) -> st.SearchStrategy[Found | None]:
    found = st.builds(lambda texts, alias: Found(tuple(texts), alias), BY_KIND[kind], ALIASES)
    return st.integers(0, 15).flatmap(lambda number: found if number else st.none())


def of_name(name: str) -> st.SearchStrategy[Lookups]:
    return st.fixed_dictionaries({}, optional={(name, kind): answer(kind) for kind in ("TXT", "A", "AAAA", "MX")})


SPF_ZONES = st.tuples(*map(of_name, [D, HOST.name, "a.example", "b.example", "c.example"])).map(
    lambda parts: {question: found for part in parts for question, found in part.items()}
)
# The same values under each name of a domain's records, and others for our host.
PUBLIC_ZONES = st.builds(
    lambda found, host: {(name, kind): each for name in PUBLISHED for kind, each in found.items()} | host,
    st.fixed_dictionaries({kind: answer(kind) for kind in BY_KIND}),
    of_name(HOST.name),
)


@given(PUBLIC_ZONES)
def test_any_zone(lookups: Lookups) -> None:
    assert len(checked(lookups)) == len(WANTED)


@given(SPF_ZONES, st.lists(RECORDS, min_size=1, max_size=2))
def test_spf(lookups: Lookups, texts: list[str]) -> None:
    """An SPF record is ok only if it lets us send; what is proposed in place of another is ok."""
    lookups[D, "TXT"] = Found(tuple(texts))
    check = checked(lookups)[SPF]
    if check.status == "ok":
        assert passes(lookups)
    if check.fix and "v=spf1 " in check.fix and check.status == "differs":
        proposed = "v=spf1 " + check.fix.rpartition("v=spf1 ")[2]
        lookups[D, "TXT"] = Found((proposed,))
        again = checked(lookups)[SPF]
        assert again.status == "ok" or "unanswered" in again.status
        assert RECORD.fullmatch(proposed)
        assert again.status != "ok" or passes(lookups)


# Bytes.
TYPES = {"TXT": 16, "MX": 15, "A": 1, "AAAA": 28, "CNAME": 5, "SRV": 33}
NAME = st.sampled_from(
    [b"\x02mx\x04host\x07example\x00", b"\x00", b"\xc0\x0c", b"\x03a.b\x01\\\x02\x00 \x00", b"\x05short", b"\xc0\xff"]
)
STRINGS = st.lists(st.binary(max_size=30).map(lambda data: bytes([len(data)]) + data), min_size=1, max_size=4)
NUMBERS = st.tuples(*[st.integers(0, 65535)] * 3)
RDATA = {
    "TXT": STRINGS.map(b"".join),
    "MX": st.builds(lambda numbers, name: struct.pack("!H", numbers[0]) + name, NUMBERS, NAME),
    "A": st.binary(min_size=4, max_size=4),
    "AAAA": st.binary(min_size=16, max_size=16),
    "CNAME": NAME,
    "SRV": st.builds(lambda numbers, name: struct.pack("!HHH", *numbers) + name, NUMBERS, NAME),
}
OWNER = b"\xc0\x0c"  # the name in the question
Row = tuple[bytes, int, bytes, int]  # owner, type, data, and by how much the length of the data is wrong


def of_kind(kind: str) -> st.SearchStrategy[tuple[str, list[Row]]]:
    good = st.tuples(st.just(OWNER), st.just(TYPES[kind]), RDATA[kind], st.just(0))
    any_type = st.sampled_from(sorted(TYPES.values()))
    bad = st.tuples(NAME, any_type, st.binary(max_size=30) | RDATA[kind], st.sampled_from([0, 0, -1, 1]))
    rows = st.lists(good, max_size=4) | st.lists(good | bad, max_size=4)
    return st.tuples(st.just(kind), rows)


ROWS = st.sampled_from(sorted(TYPES)).flatmap(of_kind)
FLAGS = st.sampled_from([b"\x81\x80"] * 6 + [b"\x81\x83", b"\x81\x82", b"\x01\x80", b"\x83\x80"])


class Answering:
    """A UDP server that answers each question with the given flags and rows behind the question, or
    with raw bytes.

    A SERVFAIL follows, so that a resolver which drops the first answer does not wait for its
    time to be over.
    """

    def __init__(self) -> None:
        self.flags = b"\x81\x80"
        self.rows: list[Row] = []
        self.raw: bytes | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            asked, client = self.socket.recvfrom(2048)
            if not asked:
                return
            end = asked.index(b"\0", 12) + 5
            self.socket.sendto(self.answer(asked, end), client)
            failure = asked[:2] + b"\x81\x82" + struct.pack("!HHHH", 1, 0, 0, 0) + asked[12:end]
            self.socket.sendto(failure, client)

    def answer(self, asked: bytes, end: int) -> bytes:
        if self.raw is not None:
            return asked[:2] + self.raw
        rows = b"".join(
            name + struct.pack("!HHIH", kind, 1, 60, max(len(data) + off, 0)) + data
            for name, kind, data, off in self.rows
        )
        return asked[:2] + self.flags + struct.pack("!HHHH", 1, len(self.rows), 0, 0) + asked[12:end] + rows


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    answering = Answering()
    thread = threading.Thread(target=answering.serve, daemon=True)
    thread.start()
    yield answering
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"", answering.socket.getsockname())
    thread.join()
    answering.socket.close()


def asked(server: Answering, kind: str) -> Found | None:
    """What the resolver makes of the server's bytes; None where it says that there is no answer."""
    try:
        return asyncio.run(Resolver(server.address, 0.5).find(D, kind))
    except Unanswered:
        return None


@given(ROWS, FLAGS)
def test_any_rows(server: Answering, rows: tuple[str, list[Row]], flags: bytes) -> None:
    """Rows of any type with any data, and what a check makes of them under each name."""
    kind, server.rows = rows
    server.raw, server.flags = None, flags
    found = asked(server, kind)
    checked({(name, kind): found for name in [*PUBLISHED, HOST.name]})


@given(st.binary(max_size=80))
def test_any_packet(server: Answering, raw: bytes) -> None:
    server.raw = raw
    asked(server, "TXT")
