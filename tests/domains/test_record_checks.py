"""The check of each wanted record with a real DNS server: for a zone, the expected status and
fix."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from postroom.domains import dns_records, verification
from postroom.domains.dns_records import DkimRecord, Record
from postroom.domains.record_checks import LONGEST_FOUND, RecordCheck
from postroom.domains.resolver import Resolver
from postroom.domains.spf_check import check_host
from postroom.domains.verification import look
from postroom.mail_host import MailHost
from tests.harness.dns_server import DnsServer

HOST = MailHost("mx.host.example", 587, 465, 993)
KEY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" + "b" * 340 + "IDAQAB"
DKIM = f"v=DKIM1; k=rsa; p={KEY}"
TOKEN = "0123456789abcdef0123456789abcdef"
D = "shop.example"
WANTED = {record.purpose: record for record in dns_records.wanted(TOKEN, [DkimRecord("s1", DKIM, True)], HOST)}

Zone = dict[tuple[str, str], list[Any]]


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer.start() as new:
        yield new


def find(server: DnsServer, record: Record, zone: Zone, seconds: float = 5.0) -> RecordCheck:
    for (name, kind), values in zone.items():
        server.publish(name, kind, *values)
    (check,) = asyncio.run(look(Resolver(server.address, seconds), [record], D, HOST))
    return check


def txt(name: str, *values: str) -> Zone:
    return {(name, "TXT"): list(values)}


def test_it_works(server: DnsServer) -> None:
    """Records as wanted are ok; without any record, all are missing."""
    wanted = list(WANTED.values())
    assert {find(server, record, {}).status for record in wanted} == {"missing"}
    shown = [
        {"record_type": r.record_type, "host": r.host, "expected_value": r.expected_value}
        | ({} if r.priority is None else {"priority": r.priority})
        for r in wanted
    ]
    server.publish_all(D, shown)
    checks = asyncio.run(look(Resolver(server.address), wanted, D, HOST))
    assert {(check.status, check.fix) for check in checks} == {("ok", None)}
    assert all(check.found for check in checks)


NAME, KEYNAME = f"_postroom-challenge.{D}", f"s1._domainkey.{D}"
A = ("mx.host.example", "A")
AAAA = ("mx.host.example", "AAAA")
OURS: Zone = {A: ["192.0.2.9"]}
OURS_TWICE: Zone = OURS | {AAAA: ["2001:db8::9"]}
REPLACED = "replace it with v=spf1 a:mx.host.example -all"
CASES: list[tuple[dns_records.Purpose, Zone, str, str | None]] = [
    ("ownership", txt(NAME, TOKEN), "ok", None),
    ("ownership", txt(NAME, "of another claim", TOKEN), "ok", None),
    ("ownership", txt(NAME, "of another claim"), "differs", TOKEN),
    ("ownership", txt(NAME, TOKEN.upper()), "differs", TOKEN),
    ("ownership", txt(NAME, f'"{TOKEN}"'), "differs", "quotation marks"),
    ("ownership", txt(NAME, f" {TOKEN}"), "differs", "spaces"),
    ("ownership", txt(f"{NAME}.{D}", TOKEN), "missing", "domain name twice: enter _postroom-challenge as"),
    ("ownership", txt(D, TOKEN), "missing", "at shop.example itself"),
    ("ownership", txt(D, "other"), "missing", f"no such record at {NAME}"),
    ("ownership", {(NAME, "CNAME"): ["elsewhere.example."]}, "differs", "CNAME is in the way"),
    ("ownership", {(NAME, "CNAME"): ["c.example."], ("c.example", "TXT"): [TOKEN]}, "ok", None),
    ("mx", {(D, "MX"): ["50 MX.Host.Example."]}, "ok", None),
    ("mx", {(D, "MX"): ["10 mx.host.example.", "20 backup.example."]}, "ok", None),
    ("mx", {(D, "MX"): ["10 mx.host.example.", "10 other.example."]}, "differs", "the lowest number"),
    ("mx", {(D, "MX"): ["10 mx.host.example.", "5 other.example."]}, "differs", "the lowest number"),
    ("mx", {(D, "MX"): ["10 other.example."]}, "differs", "leads to mx.host.example"),
    ("mx", {(D, "MX"): ["0 ."]}, "differs", "leads to mx.host.example"),
    ("mx", {(D, "MX"): [f"10 mx.host.example.{D}."]}, "differs", "mx.host.example. with a dot at its end"),
    ("mx", {(f"{D}.{D}", "MX"): ["10 mx.host.example."]}, "missing", "domain name twice: enter @ as"),
    ("mx", {(D, "CNAME"): ["web.example."]}, "differs", "CNAME is in the way"),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "A"): ["192.0.2.9"]} | OURS, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "AAAA"): ["2001:db8::9"]} | OURS_TWICE, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "CNAME"): ["mx.host.example."]} | OURS, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "CNAME"): ["mx.host.example."]}, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}.", "10 mx.host.example."], (f"mail.{D}", "A"): ["192.0.2.9"]} | OURS, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}.", "20 gone.example."], (f"mail.{D}", "A"): ["192.0.2.9"]} | OURS, "ok", None),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "A"): ["192.0.2.9", "192.0.2.8"]} | OURS, "differs", "another"),
    ("mx", {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "A"): ["192.0.2.8"]} | OURS, "differs", "another host"),
    ("mx", {(D, "MX"): [f"10 mail.{D}."]} | OURS, "differs", "another host"),
    ("mx", {(D, "MX"): [f"10 mail.{D}."]}, "differs", "another host"),
    ("mx", {(D, "MX"): [f"5 mail.{D}.", "10 mx.host.example."]} | OURS, "differs", "the lowest number"),
    ("mx", {(D, "MX"): ["10 mx.host.example.", "20 ."]} | OURS, "differs", "leads to a dot"),
    ("spf", txt(D, "v=spf1 a:mx.host.example -all"), "ok", None),
    ("spf", txt(D, "other", "v=spf1 include:x.example a:MX.host.example -all") | txt("x.example", "v=spf1 -all"),
     "ok", None),
    ("spf", txt(D, "V=SPF1 +A:mx.host.example/32 -ALL"), "ok", None),
    ("spf", txt(D, "v=spf1 mx ~all") | {(D, "MX"): ["10 mx.host.example."]}, "ok", None),
    ("spf", txt(D, "v=spf1 mx:o.example ~all") | {("o.example", "MX"): ["10 mx.host.example."]}, "ok", None),
    ("spf", txt(D, "v=spf1 mx ~all") | {(D, "MX"): ["10 other.example."]}, "differs", "a:mx.host.example mx ~all"),
    ("spf", txt(D, "v=spf1 ip4:192.0.2.0/24 -all") | {A: ["192.0.2.9"]}, "ok", None),
    ("spf", txt(D, "v=spf1 ip6:2001:db8::/32 -all") | {AAAA: ["2001:db8::1"]}, "ok", None),
    ("spf", txt(D, "v=spf1 ip4:198.51.100.0/24 -all") | {A: ["192.0.2.9"]}, "differs", "ip4:198.51.100.0/24 -all"),
    ("spf", txt(D, "v=spf1 a -all") | {A: ["192.0.2.9"], (D, "A"): ["192.0.2.9"]}, "ok", None),
    ("spf", txt(D, "v=spf1 ip4:nonsense -all"), "differs", "is no IPv4 address"),
    ("spf", txt(D, "v=spf1 include:p.example -all") | txt("p.example", "v=spf1 a:mx.host.example ~all"), "ok", None),
    ("spf", txt(D, "v=spf1 redirect=p.example") | txt("p.example", "v=spf1 a:mx.host.example ~all"), "ok", None),
    ("spf", txt(D, "v=spf1 redirect=p.example") | txt("p.example", "v=spf1 -all"), "differs",
     "v=spf1 a:mx.host.example redirect=p.example"),
    ("spf", txt(D, "v=spf1 include:p.example a:mx.host.example -all"), "differs", "leads to p.example"),
    ("spf", txt(D, f"v=spf1 include:{D} -all"), "differs", "more than 10 look-ups"),
    ("spf", txt(D, "v=spf1 -all a:mx.host.example"), "differs", "a:mx.host.example -all"),
    ("spf", txt(D, "v=spf1 -a:mx.host.example ~all"), "differs", "does not let mx.host.example send"),
    ("spf", txt(D, "v=spf1 +all"), "differs", "v=spf1 a:mx.host.example ~all"),
    ("spf", txt(D, "v=spf1"), "differs", "v=spf1 a:mx.host.example ~all"),
    ("spf", txt(D, "v=spf1 a:mx.host.example spam -all"), "differs", "does not know: spam"),
    ("spf", txt(D, "v=spf1 spam a:mx.host.example -all"), "differs", "does not know: spam"),
    ("spf", txt(D, "v=spf1 exists:%{i}.x.example include:bad..name a:mx.host.example -all"), "differs",
     "include: leads to bad..name"),
    ("spf", txt(D, "v=spf1 include:p.example -all", "v=spf1 mx ~all"), "differs",
     "one SPF record: replace all of them with v=spf1 a:mx.host.example include:p.example mx -all"),
    ("spf", txt(D, '"v=spf1 a:mx.host.example ~all"'), "differs", "quotation marks"),
    ("spf", txt(D, "v=spf10 a:mx.host.example"), "missing", "no such record"),
    ("spf", txt(D, "v=spf1 a/24 -all") | OURS | {(D, "A"): ["192.0.2.200"]}, "ok", None),
    ("spf", txt(D, "v=spf1 a/25 -all") | OURS | {(D, "A"): ["192.0.2.200"]}, "differs", "a/25 -all"),
    ("spf", txt(D, "v=spf1 mx/24 -all") | OURS | {(D, "MX"): ["10 m.example."], ("m.example", "A"): ["192.0.2.200"]},
     "ok", None),
    ("spf", txt(D, f"v=spf1 a:web.{D}/24 -all") | OURS | {(f"web.{D}", "A"): ["192.0.2.200"]}, "ok", None),
    ("spf", txt(D, "v=spf1 mx -all") | OURS | {(D, "MX"): [f"10 mail.{D}."], (f"mail.{D}", "A"): ["192.0.2.9"]},
     "ok", None),
    ("spf", txt(D, "v=spf1 mx -all") | OURS | {(D, "MX"): ["0 ."]}, "differs", "mx -all"),
    ("spf", txt(D, f"v=spf1 a:mail.{D} -all") | {(f"mail.{D}", "CNAME"): ["mx.host.example."]}, "ok", None),
    ("spf", txt(D, "v=spf1 a//64 -all") | {AAAA: ["2001:db8::9"], (D, "AAAA"): ["2001:db8::1"]}, "ok", None),
    ("spf", txt(D, "v=spf1 exists:%{ir}.%{v}.x.%{d} -all") | OURS | {(f"9.2.0.192.in-addr.x.{D}", "A"): ["127.0.0.2"]},
     "ok", None),
    ("spf", txt(D, "v=spf1 ptr:host.example -all") | OURS | {("9.2.0.192.in-addr.arpa", "PTR"): ["mx.host.example."]},
     "ok", None),
    ("spf", txt(D, "v=spf1 a:mx.host.example ~all "), "ok", None),
    ("spf", txt(D, "v=spf1   A:MX.host.example.   ~ALL"), "ok", None),
    ("spf", txt(D, "v=spf1 MX ?all exp=why.example") | {(D, "MX"): ["10 mx.host.example."]}, "ok", None),
    ("spf", txt(D, "v=spf1 ip4:192.0.2.9 -all") | OURS_TWICE, "differs",
     "does not let mx.host.example send from 2001:db8::9: replace it with v=spf1 a:mx.host.example ip4:192.0.2.9 -all"),
    ("spf", txt(D, "v=spf1 ip4:192.0.2.9 ip6:2001:db8::/64 -all") | OURS_TWICE, "ok", None),
    ("spf", txt(D, "v=spf1 +all a:mx.host.example"), "differs", "every host of the Internet"),
    *(
        ("spf", OURS_TWICE | txt(D, f"v=spf1 {wide} -all"), "differs", f"Internet send: {REPLACED}")
        for wide in (
            "ip4:0.0.0.0/0 ip6:::/0",
            "ip4:192.0.2.9/0 ip6:2001:db8::9/0",
            "ip4:0.0.0.0/1 ip4:128.0.0.0/1 ip6:::/1 ip6:8000::/1",
            "ip4:192.0.0.0/7 ip6:2000::/15",
            "a:mx.host.example/0 ip6:::/0",
            "a:mx.host.example//0",
        )
    ),
    ("spf", OURS | txt(D, "v=spf1 ip4:192.0.0.0/8 -all"), "ok", None),
    ("spf", txt(D, "v=spf1 include:p.example -all") | txt("p.example", "v=spf1 +all"), "differs", "every host"),
    ("spf", txt(D, "v=spf1 include:p.example a:mx.host.example -all") | txt("p.example", "v=spf1 +all"), "ok", None),
    ("spf", txt(D, "v=spf1 a:mx.host.example include: spf.x ~all"), "differs", "a value must follow `include:`"),
    ("spf", txt(D, "v=spf1 a:mx.host.example ip4:192.0.2.300 -all"), "differs", "is no IPv4 address"),
    ("spf", txt(D, "v=spf1 a:mx.host.example ip4:192.0.2.0/33 -all"), "differs", "is 0 to 32, not `33`"),
    ("spf", txt(D, "v=spf1 a:mx.host.example/33 -all"), "differs", "number from 0 to 32"),
    ("spf", txt(D, "v=spf1 a:mx.host.example ipv4:192.0.2.1 -all"), "differs", "write `ip4:`"),
    ("spf", txt(D, "v=spf1 a:mx.host.example -all;"), "differs", "a space ends a term"),
    ("spf", txt(D, "v=spf1 a:mx.host.example –all"), "differs", "a dash where a hyphen"),
    ("spf", txt(D, "v=spf1 a:mx.host.example redirect=p.example redirect=q.example"), "differs",
     "redirect= more than once"),
    ("spf", txt(D, "v=spf1 a:mx.host.example\xa0-all"), "differs", "U+00A0"),
    ("spf", txt(D, "v=spf1 a:mx.host.example %{d} -all"), "differs", "cannot read"),
    ("spf", txt(D, "v=spf1 a:gone.example mx:gone.example exists:gone.example a:mx.host.example -all"), "differs",
     "out `a:gone.example`, `mx:gone.example`, `exists:gone.example`. Replace it with v=spf1 a:mx.host.example -all"),
    ("spf", txt(D, "v=spf1 a:gone.example mx:gone.example a:mx.host.example -all"), "ok", None),
    ("spf", txt(D, "v=spf1 include:p.example mx -all") | txt("p.example", "v=spf1 mx;"), "differs",
     "leaves out `include:p.example`. Replace it with v=spf1 a:mx.host.example mx -all"),
    ("spf", txt(D, "v=spf1 include:p.example -all") | txt("p.example", f"v=spf1 redirect={D}"), "differs",
     "leaves out `include:p.example`. Replace it with v=spf1 a:mx.host.example -all"),
    ("spf", txt(D, "v=spf1 include:p.example -all") | txt("p.example", "v=spf1 a -all", "v=spf1 mx -all"), "differs",
     "At p.example, to which the record leads: There are 2 SPF records"),
    ("spf", txt(D, "v=spf1 " + "a:x.example " * 10 + "-all") | OURS | {("x.example", "A"): ["192.0.2.1"]}, "differs",
     "replace it with v=spf1 ip4:192.0.2.9 a:x.example -all"),
    ("spf", txt(D, "v=spf1 " + "a:x.example " * 11 + "-all") | OURS | {("x.example", "A"): ["192.0.2.1"]}, "differs",
     "more than 10 look-ups"),
    ("spf", {(D, "TXT"): [("v=spf1 a:mx.ho", "st.example -all")]}, "ok", None),
    ("spf", {(D, "TXT"): [("v=spf1 a:mx.host.example", "-all")]}, "differs", "a:mx.host.example-all"),
    ("spf", {(D, "TXT"): [("v=spf1", "a:mx.host.example -all")]}, "differs", "no space follows its version"),
    ("spf", {(D, "TXT"): [(b"v=spf1 a:mx.host.example \xe9 -all",)]}, "differs", "U+FFFD"),
    ("spf", txt(D, "v=spf1 a:mx.host.example -all", '"v=spf1 mx -all"'), "ok", None),
    ("spf", txt(D, " v=spf1 a:mx.host.example -all"), "differs", "spaces around"),
    ("spf", txt(D, "v=spf1, a:mx.host.example mx -all"), "differs", "Replace it with v=spf1 a:mx.host.example mx -all"),
    ("spf", {(D, "CNAME"): ["c.example."], ("c.example", "TXT"): ["v=spf1 a:mx.host.example -all"]}, "ok", None),
    ("spf", txt(f"{D}.{D}", "v=spf1 a:mx.host.example ~all"), "missing", "domain name twice"),
    ("dkim", txt(KEYNAME, DKIM), "ok", None),
    ("dkim", txt(KEYNAME, f"v=DKIM1 ;p={KEY[:99]} {KEY[99:]};k=rsa ; t=s; n=x; h=sha256;"), "ok", None),
    ("dkim", txt(KEYNAME, f"p={KEY[:99]} {KEY[99:]};k=rsa ; v=DKIM1; t=s"), "differs", "begin with v=DKIM1"),
    ("dkim", txt(KEYNAME, DKIM.replace(";", "\\;")), "differs", "backslashes"),
    ("dkim", txt(KEYNAME, f'"{DKIM[:250]}" "{DKIM[250:]}"'), "differs", "quotation marks"),
    ("dkim", txt(KEYNAME, DKIM[:255]), "differs", "cut off after 255 characters"),
    ("dkim", txt(KEYNAME, "v=DKIM1; k=rsa; p="), "differs", "revokes the key"),
    ("dkim", txt(KEYNAME, "v=DKIM1; k=rsa; p=AAAA"), "differs", "Another key"),
    ("dkim", txt(KEYNAME, "hello"), "differs", "Replace it with the expected value"),
    ("dkim", txt(KEYNAME, DKIM.replace("rsa", "ed25519")), "differs", "tags beside it"),
    ("dkim", txt(KEYNAME, f"{DKIM}; h=sha1"), "differs", "tags beside it"),
    ("dkim", txt(KEYNAME, DKIM, "v=DKIM1; p=AAAA"), "differs", "There are 2 such records"),
    ("dkim", txt(f"{KEYNAME}.{D}", DKIM), "missing", "domain name twice: enter s1._domainkey"),
    ("dkim", txt(D, DKIM), "missing", "enter s1._domainkey as its host"),
    ("dkim", {(KEYNAME, "CNAME"): ["keys.example."], ("keys.example", "TXT"): [DKIM]}, "ok", None),
    ("dmarc", txt(f"_dmarc.{D}", "v=DMARC1; p=reject; rua=mailto:a@x.example"), "ok", None),
    ("dmarc", txt(f"_dmarc.{D}", "v=DMARC1; sp=none; p=quarantine"), "ok", None),
    ("dmarc", txt(f"_dmarc.{D}", "v=DMARC1; p=maybe"), "differs", "Replace it"),
    ("dmarc", txt(f"_dmarc.{D}", "v=DMARC1; p=none", "v=DMARC1; p=reject"), "differs", "There are 2"),
    ("dmarc", txt(f"_dmarc.{D}", "hello"), "missing", "no such record"),
    ("dmarc", txt(f"_dmarc.{D}", "v = DMARC1 ; p = Reject ;"), "ok", None),
    ("dmarc", txt(f"_dmarc.{D}", "v=dmarc1; p=none"), "differs", "v=DMARC1 in capitals"),
    ("dmarc", txt(f"_dmarc.{D}", "p=none; v=DMARC1"), "differs", "must begin with v=DMARC1"),
    ("dmarc", txt(f"_dmarc.{D}", "v=DMARC1; p=reject", "v=dmarc1; p=none"), "ok", None),
    ("dmarc", txt(f"_dmarc.{D}", " v=DMARC1; p=none"), "differs", "spaces around"),
    ("tls_rpt", txt(f"_smtp._tls.{D}", "v=TLSRPTv1;rua=https://r.example/x"), "ok", None),
    ("tls_rpt", txt(f"_smtp._tls.{D}", "v=TLSRPTv1"), "differs", "Replace it"),
    ("mta_sts", txt(f"_mta-sts.{D}", "v=STSv1; id=20260101T000000;"), "ok", None),
    ("mta_sts", txt(f"_mta-sts.{D}", "v=STSv1; id=has-hyphen"), "differs", "Replace it"),
    ("mta_sts", txt(f"_mta-sts.{D}", "v=STSv1; id=20260101T000000; ext=1;"), "ok", None),
    ("mta_sts", txt(f"_mta-sts.{D}", "v=stsv1; id=1"), "differs", "must begin with v=STSv1;"),
    ("mta_sts_host", {(f"mta-sts.{D}", "A"): ["192.0.2.9"]} | OURS, "ok", None),
    ("mta_sts_host", {(f"mta-sts.{D}", "A"): ["192.0.2.8"]} | OURS, "missing", "no such record"),
    ("mta_sts_host", {(f"mta-sts.{D}", "CNAME"): [f"m.{D}."], (f"m.{D}", "CNAME"): ["mx.host.example."]}, "ok", None),
    ("mta_sts_host", {(f"mta-sts.{D}", "CNAME"): ["MX.host.example."]}, "ok", None),
    ("mta_sts_host", {(f"mta-sts.{D}", "CNAME"): ["x.example."]}, "differs", "leads elsewhere"),
    ("mta_sts_host", {(f"mta-sts.{D}", "CNAME"): [f"mx.host.example.{D}."]}, "differs", "with a dot at its end"),
    ("mta_sts_host", {(f"mta-sts.{D}.{D}", "CNAME"): ["mx.host.example."]}, "missing", "domain name twice"),
    ("submission", {(f"_submission._tcp.{D}", "SRV"): ["10 5 587 mx.host.example."]}, "ok", None),
    ("submission", {(f"_submission._tcp.{D}", "SRV"): ["0 1 25 mx.host.example."]}, "differs", "1 587 mx.host.example"),
    ("imaps", {(f"_imaps._tcp.{D}", "SRV"): ["0 1 993 x.example."]}, "differs", "leads elsewhere"),
    ("imaps", {(f"_imaps._tcp.{D}", "SRV"): ["5 1 993 mx.host.example.", "0 1 993 x.example."]}, "differs",
     "elsewhere"),
    ("imaps", {(f"_imaps._tcp.{D}", "SRV"): ["5 1 993 MX.host.example.", "9 1 993 x.example."]}, "ok", None),
]  # fmt: skip


@pytest.mark.parametrize(("purpose", "zone", "status", "fix"), CASES, ids=str)
def test_a_zone(server: DnsServer, purpose: dns_records.Purpose, zone: Zone, status: str, fix: str | None) -> None:
    check = find(server, WANTED[purpose], zone)
    assert check.status == status, check
    if fix is None:
        assert check.fix is None
    else:
        assert check.fix
        assert fix in check.fix
        assert (check.found == ()) == (status == "missing")


PROPOSED = [zone for purpose, zone, status, _ in CASES if purpose == "spf" and status == "differs"]


@pytest.mark.parametrize("zone", PROPOSED, ids=str)
def test_a_proposed_record_is_ok(server: DnsServer, zone: Zone) -> None:
    """For each SPF record of the table that differs, the proposed record is ok and passes for each
    of our addresses."""
    fix = find(server, WANTED["spf"], zone).fix or ""
    proposed = f"v=spf1 {fix.rpartition('v=spf1 ')[2]}" if "v=spf1 " in fix else ""
    if not proposed:
        assert "enter it without them" in fix
        return
    check = find(server, WANTED["spf"], txt(D, proposed))
    assert (check.status, check.found) == ("ok", (proposed,))
    for address in zone.get(A, []) + zone.get(AAAA, []):
        assert asyncio.run(check_host(Resolver(server.address), address, D, f"me@{D}")) == "pass"


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_an_error_is_unanswered(server: DnsServer, code: str) -> None:
    server.rcodes[D] = code
    check = find(server, WANTED["mx"], {})
    assert (check.status, check.found) == ("unanswered", ())
    assert "its servers failed" in (check.fix or "")


def test_silence_is_unanswered(server: DnsServer) -> None:
    """Only the name that got no answer is unanswered; the others keep their result."""
    server.silent.add(D)
    server.publish(NAME, "TXT", TOKEN)
    wanted = [WANTED["mx"], WANTED["ownership"]]
    found = asyncio.run(look(Resolver(server.address, 2.0), wanted, D, HOST))
    assert [check.status for check in found] == ["unanswered", "ok"]
    assert "timed out" in (found[0].fix or "")


def test_silence_about_a_hint_is_nothing(server: DnsServer) -> None:
    server.silent.add(f"{D}.{D}")
    assert find(server, WANTED["mx"], {}, 1.5).status == "missing"


def test_silence_in_the_middle_of_a_record(server: DnsServer) -> None:
    """If an include gets no answer, nobody knows whether the SPF record lets us send."""
    server.silent.add("p.example")
    zone = txt(D, "v=spf1 include:p.example -all")
    assert find(server, WANTED["spf"], zone, 0.3).status == "unanswered"


def test_aliases_in_a_circle(server: DnsServer) -> None:
    zone: Zone = {(NAME, "CNAME"): ["b.example."], ("b.example", "CNAME"): [f"{NAME}."]}
    check = find(server, WANTED["ownership"], zone)
    assert check.status == "unanswered"
    assert "circle" in (check.fix or "")


def test_a_long_chain_of_aliases(server: DnsServer) -> None:
    zone: Zone = {(f"{n}.example", "CNAME"): [f"{n + 1}.example."] for n in range(1, 40)}
    zone |= {(NAME, "CNAME"): ["1.example."], ("40.example", "TXT"): [TOKEN]}
    assert find(server, WANTED["ownership"], zone).status == "unanswered"


def test_a_huge_answer_comes_by_tcp_and_is_shown_in_part(server: DnsServer) -> None:
    zone = txt(NAME, TOKEN, *(f"{n}" + "x" * 1100 for n in range(12)))
    check = find(server, WANTED["ownership"], zone)
    assert check.status == "ok"
    assert (NAME, "TXT", "tcp") in server.asked
    assert len(check.found) <= 10
    assert max(map(len, check.found)) == LONGEST_FOUND + 1


def test_the_number_of_questions_is_bounded(server: DnsServer) -> None:
    """A tree of includes that never ends."""
    zone: Zone = {}
    for n in range(60):
        zone |= txt(f"p{n}.example", f"v=spf1 ?include:p{n + 1}.example ?include:p{n + 2}.example -all")
    zone |= txt(D, "v=spf1 include:p0.example -all")
    assert find(server, WANTED["spf"], zone).status == "differs"
    assert len(server.asked) < 40


def test_a_check_with_too_many_questions_is_unanswered(server: DnsServer) -> None:
    """Each of our addresses stays within the bounds of RFC 7208, but both together exceed our own
    bound."""
    terms = " ".join(f"mx:m{n}.example" for n in range(10))
    zone = OURS_TWICE | txt(D, f"v=spf1 {terms} ip4:192.0.2.9 -all")
    for n in range(10):
        zone[f"m{n}.example", "MX"] = [f"{k} m{n}-{k}.example." for k in range(10)]
        for k in range(10):
            zone |= {(f"m{n}-{k}.example", "A"): ["192.0.2.1"], (f"m{n}-{k}.example", "AAAA"): ["2001:db8::1"]}
    check = find(server, WANTED["spf"], zone)
    assert check.status == "unanswered"
    assert "not asked in time" in (check.fix or "")
    assert len(server.asked) <= verification.QUESTIONS


def test_a_long_proposal_is_not_cut_off(server: DnsServer) -> None:
    terms = " ".join(f"ip4:198.51.100.{n}" for n in range(200))
    check = find(server, WANTED["spf"], txt(D, f"v=spf1 {terms} –all"))
    assert (check.fix or "").endswith(f"Replace it with v=spf1 a:mx.host.example {terms} -all")


def test_foreign_text_is_cleaned(server: DnsServer) -> None:
    check = find(server, WANTED["ownership"], txt(NAME, "a\x00b\x1b[31m\r\nc"))
    assert check.found == ("a\ufffdb\ufffd[31m\ufffd\ufffdc",)
