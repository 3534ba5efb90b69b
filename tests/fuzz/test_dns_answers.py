"""Arbitrary DNS answers in a check of a domain: each check ends after bounded work, with a status
and a text.

An SPF record is ok only if the second implementation of SPF (second_spf.py) lets this host send.
"""

import asyncio
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
from tests.fuzz.second_spf import RECORD, Lookups, passes

HOST = MailHost("mx.host.example")
D = "shop.example"
KEY = "v=DKIM1; k=rsa; p=" + "QUFB" * 100
WANTED = dns_records.wanted("t0k3n", [DkimRecord("s1", KEY, True)], HOST)
SPF = next(number for number, record in enumerate(WANTED) if record.purpose == "spf")
PUBLISHED = {D if record.host == "@" else f"{record.host}.{D}" for record in WANTED}


class Zone(Resolver):
    """Answers from a dictionary. For the value None it does not answer. Other names are not in the
    DNS."""

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
# The same values under each name of a domain's records, and other values for this host.
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
    """An SPF record is ok only if it lets this host send. A proposed record is ok."""
    lookups[D, "TXT"] = Found(tuple(texts))
    check = checked(lookups)[SPF]
    if check.status == "ok":
        assert passes(lookups, HOST.name, D)
    if check.fix and "v=spf1 " in check.fix and check.status == "differs":
        proposed = "v=spf1 " + check.fix.rpartition("v=spf1 ")[2]
        lookups[D, "TXT"] = Found((proposed,))
        again = checked(lookups)[SPF]
        assert again.status == "ok" or "unanswered" in again.status
        assert RECORD.fullmatch(proposed)
        assert again.status != "ok" or passes(lookups, HOST.name, D)


# Answers as bytes.
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
Row = tuple[bytes, int, bytes, int]  # owner, type, data, error in the length of the data


def of_kind(kind: str) -> st.SearchStrategy[tuple[str, list[Row]]]:
    good = st.tuples(st.just(OWNER), st.just(TYPES[kind]), RDATA[kind], st.just(0))
    any_type = st.sampled_from(sorted(TYPES.values()))
    bad = st.tuples(NAME, any_type, st.binary(max_size=30) | RDATA[kind], st.sampled_from([0, 0, -1, 1]))
    rows = st.lists(good, max_size=4) | st.lists(good | bad, max_size=4)
    return st.tuples(st.just(kind), rows)


ROWS = st.sampled_from(sorted(TYPES)).flatmap(of_kind)
FLAGS = st.sampled_from([b"\x81\x80"] * 6 + [b"\x81\x83", b"\x81\x82", b"\x01\x80", b"\x83\x80"])


class Answering:
    """A UDP server that answers each question with the given flags and rows after the question, or
    with raw bytes.

    A SERVFAIL follows, so that a resolver that drops the first answer does not wait until its
    timeout.
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
    """Returns the resolver's reading of the server's bytes; None if it reports no answer."""
    try:
        return asyncio.run(Resolver(server.address, 0.5).find(D, kind))
    except Unanswered:
        return None


@given(ROWS, FLAGS)
def test_any_rows(server: Answering, rows: tuple[str, list[Row]], flags: bytes) -> None:
    """Rows of any type with any data, checked under each name."""
    kind, server.rows = rows
    server.raw, server.flags = None, flags
    found = asked(server, kind)
    checked({(name, kind): found for name in [*PUBLISHED, HOST.name]})


@given(st.binary(max_size=80))
def test_any_packet(server: Answering, raw: bytes) -> None:
    server.raw = raw
    asked(server, "TXT")
