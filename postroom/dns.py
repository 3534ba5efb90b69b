"""The DNS records that a domain needs for its mail, as text that a customer can copy. Pure: no question is asked.

A stranger would get wrong: `host` is relative to the domain, `@` is the domain itself. `required` are the records
without which a claim does not become active; the others are good practice.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

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
]
CHALLENGE = "_postroom-challenge"
PRIORITY = 10


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record. `priority` is that of an MX (RFC 5321) or SRV (RFC 2782)."""

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


class MailHost(msgspec.Struct, frozen=True):
    """The host that the records lead to, and its ports."""

    name: str
    submission_port: int
    submissions_port: int
    imaps_port: int


def wanted(domain: str, token: str | None, dkim: Sequence[DkimRecord], host: MailHost) -> list[Record]:
    """Every record of a domain, the required ones first. A domain that has no token is not claimed by DNS."""
    records = [Record("TXT", CHALLENGE, token, True, "ownership")] if token else []
    records += [
        Record("MX", "@", host.name, True, "mx", PRIORITY),
        Record("TXT", "@", f"v=spf1 a:{host.name} ~all", True, "spf"),
        *(Record("TXT", f"{key.selector}._domainkey", key.value, key.required, "dkim") for key in dkim),
        Record("TXT", "_dmarc", "v=DMARC1; p=none", False, "dmarc"),
        Record("TXT", "_smtp._tls", f"v=TLSRPTv1; rua=mailto:postmaster@{domain}", False, "tls_rpt"),
        Record("TXT", "_mta-sts", "v=STSv1; id=1", False, "mta_sts"),
        Record("CNAME", "mta-sts", host.name, False, "mta_sts_host"),
        Record("SRV", "_submission._tcp", f"1 {host.submission_port} {host.name}", False, "submission", 0),
        Record("SRV", "_submissions._tcp", f"1 {host.submissions_port} {host.name}", False, "submissions", 0),
        Record("SRV", "_imaps._tcp", f"1 {host.imaps_port} {host.name}", False, "imaps", 0),
    ]
    return records
