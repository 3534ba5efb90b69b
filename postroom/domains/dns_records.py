"""The DNS records that a domain needs for its mail, as text that a customer can copy, and the
MTA-STS policy that one of them speaks of. Pure: no question is asked.

`host` is relative to the domain, `@` is the domain itself. `required` are the records
without which a claim does not become active; the others are good practice.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from postroom.mail_host import MailHost

RecordType = Literal["TXT", "MX", "CNAME", "SRV"]
Purpose = Literal[
    "ownership",
    "mx",
    "spf",
    "dkim",
    "dmarc",
    "tls_rpt",
    "mta_sts",
    "mta_sts_host",
    "submission",
    "submissions",
    "imaps",
    "pop3s",
    "sieve",
    "autoconfig",
    "autodiscover",
]
CHALLENGE = "_postroom-challenge"
PRIORITY = 10
TTL = 3600
HTTPS = 443  # what answers there is the operator's reverse proxy
STRING = 255  # RFC 1035 3.3: the longest string of a TXT record
POLICY_SECONDS = 7 * 24 * 3600  # RFC 8461 3.2: weeks, so that an attacker cannot wait for its end


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that a domain needs. `host` is relative to the domain, `@` is the domain itself;
    `priority` is that of an MX (RFC 5321) or SRV (RFC 2782)."""

    record_type: RecordType
    host: str
    expected_value: str
    required: bool
    purpose: Purpose
    priority: int | None = None


class DkimRecord(msgspec.Struct, frozen=True):
    """The public half of a DKIM key (RFC 6376 3.6.1); `value` is the whole TXT."""

    selector: str
    value: str
    required: bool


def policy(host: MailHost) -> str:
    """The MTA-STS policy (RFC 8461 3.2), the same for each domain."""
    lines = ("version: STSv1", f"mode: {host.sts_mode}", f"mx: {host.name}", f"max_age: {POLICY_SECONDS}")
    return "".join(f"{line}\r\n" for line in lines)


def policy_id(host: MailHost) -> str:
    """Another one for each policy: senders fetch the policy again when it changes."""
    return hashlib.sha256(policy(host).encode()).hexdigest()[:20]


def zone(domain: str, records: Sequence[Record]) -> str:
    """The records as lines of a zone file (RFC 1035 5.1), with absolute names."""
    return "".join(f"{_line(domain, record)}\n" for record in records)


def _line(domain: str, record: Record) -> str:
    name = f"{domain}." if record.host == "@" else f"{record.host}.{domain}."
    priority = "" if record.priority is None else f"{record.priority} "
    value = _strings(record.expected_value) if record.record_type == "TXT" else f"{record.expected_value}."
    return f"{name} {TTL} IN {record.record_type} {priority}{value}"


def _strings(text: str) -> str:
    """A TXT value in pieces that fit; ours are ASCII."""
    pieces = [text[at : at + STRING] for at in range(0, len(text), STRING)]
    return " ".join('"' + piece.replace("\\", "\\\\").replace('"', '\\"') + '"' for piece in pieces)


def wanted(token: str | None, dkim: Sequence[DkimRecord], host: MailHost) -> list[Record]:
    """Every record of a domain, the required ones first. A domain that has no token is not
    claimed by DNS."""
    records = [Record("TXT", CHALLENGE, token, True, "ownership")] if token else []
    records += [
        Record("MX", "@", host.name, True, "mx", PRIORITY),
        Record("TXT", "@", f"v=spf1 a:{host.name} ~all", True, "spf"),
        *(Record("TXT", f"{key.selector}._domainkey", key.value, key.required, "dkim") for key in dkim),
        Record("TXT", "_dmarc", "v=DMARC1; p=none", False, "dmarc"),
        Record("TXT", "_smtp._tls", f"v=TLSRPTv1; rua=mailto:postmaster@{host.name}", False, "tls_rpt"),
        Record("TXT", "_mta-sts", f"v=STSv1; id={policy_id(host)}", False, "mta_sts"),
        Record("CNAME", "mta-sts", host.name, False, "mta_sts_host"),
        Record("SRV", "_submission._tcp", f"1 {host.submission_port} {host.name}", False, "submission", 0),
        Record("SRV", "_submissions._tcp", f"1 {host.submissions_port} {host.name}", False, "submissions", 0),
        Record("SRV", "_imaps._tcp", f"1 {host.imaps_port} {host.name}", False, "imaps", 0),
        # RFC 6186 3.4: of IMAP and POP3 a client prefers the one with the smaller number.
        Record("SRV", "_pop3s._tcp", f"1 {host.pop3s_port} {host.name}", False, "pop3s", PRIORITY),
        Record("SRV", "_sieve._tcp", f"1 {host.sieve_port} {host.name}", False, "sieve", 0),
        Record("CNAME", "autoconfig", host.name, False, "autoconfig"),
        # Not a CNAME: behind this one the certificate of the mail host is enough for every domain.
        Record("SRV", "_autodiscover._tcp", f"1 {HTTPS} {host.name}", False, "autodiscover", 0),
    ]
    return records
