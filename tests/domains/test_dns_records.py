"""The wanted records, as text for a zone file."""

import dns.rdatatype
import dns.zone

from postroom.domains.dns_records import DkimRecord, Record, policy_id, wanted, zone
from postroom.mail_host import MailHost

HOST = MailHost("mx.example.net", 587, 465, 993)
KEY = DkimRecord("pr1", "v=DKIM1; k=rsa; p=" + "A" * 392, True)


def records() -> list[Record]:
    return wanted("t0k3n", [KEY], HOST)


def parsed() -> dict[tuple[str, str], list[str]]:
    """The zone file as dnspython reads it, by name and type."""
    head = "@ 3600 IN SOA ns. hostmaster. 1 1 1 1 1\n@ 3600 IN NS ns.\n"
    made = dns.zone.from_text(head + zone("customer.com", records()), origin="customer.com.", relativize=True)
    found: dict[tuple[str, str], list[str]] = {}
    for name, _, data in made.iterate_rdatas():
        strings = getattr(data, "strings", None)
        text = b"".join(strings).decode() if strings else data.to_text()
        found.setdefault((str(name), dns.rdatatype.to_text(data.rdtype)), []).append(text)
    return found


def test_it_works() -> None:
    found = parsed()
    assert found["@", "MX"] == ["10 mx.example.net."]
    assert found["@", "TXT"] == ["v=spf1 a:mx.example.net ~all"]
    assert found["_postroom-challenge", "TXT"] == ["t0k3n"]
    assert found["pr1._domainkey", "TXT"] == [KEY.value]
    assert found["_dmarc", "TXT"] == ["v=DMARC1; p=none"]
    assert found["_smtp._tls", "TXT"] == ["v=TLSRPTv1; rua=mailto:postmaster@mx.example.net"]
    assert found["_mta-sts", "TXT"] == [f"v=STSv1; id={policy_id(HOST)}"]
    assert found["mta-sts", "CNAME"] == ["mx.example.net."]
    assert found["_submission._tcp", "SRV"] == ["0 1 587 mx.example.net."]
    assert found["_submissions._tcp", "SRV"] == ["0 1 465 mx.example.net."]
    assert found["_imaps._tcp", "SRV"] == ["0 1 993 mx.example.net."]
    assert found["_pop3s._tcp", "SRV"] == ["10 1 995 mx.example.net."]
    assert found["_sieve._tcp", "SRV"] == ["0 1 4190 mx.example.net."]
    assert found["autoconfig", "CNAME"] == ["mx.example.net."]
    assert found["_autodiscover._tcp", "SRV"] == ["0 1 443 mx.example.net."]
    assert len(found) == len(records()) + 2


def test_a_long_text_is_split() -> None:
    (line,) = [line for line in zone("customer.com", records()).splitlines() if "_domainkey" in line]
    pieces = line.split('"')[1::2]
    assert [len(piece) for piece in pieces] == [255, len(KEY.value) - 255]


def test_what_is_required() -> None:
    assert [record.purpose for record in records() if record.required] == ["ownership", "mx", "spf", "dkim"]
    assert records()[:4] == [record for record in records() if record.required]
    assert [record.purpose for record in wanted(None, (), HOST) if record.required] == ["mx", "spf"]


def test_the_policy_id_is_one() -> None:
    """RFC 8461 3.1: an id has 1 to 32 letters and digits."""
    assert policy_id(HOST).isalnum()
    assert 1 <= len(policy_id(HOST)) <= 32
