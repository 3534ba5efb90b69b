"""Judges what the DNS has for each wanted record, with one sentence on how to fix a wrong record.
Pure: does no I/O.

Records are judged as receivers judge them, by the full grammar of each. A customer may have another
MX behind ours, a longer SPF record, or a stricter DMARC policy: all of these are ok.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Literal

import msgspec

from postroom.domains import spf, spf_proposal, txt_records
from postroom.domains.dns_lookups import Lookups
from postroom.domains.dns_records import Record
from postroom.domains.resolver import Found, Unanswered
from postroom.domains.spf_check import MOST_LOOKUPS, Check, Result, TooVoid, name_of
from postroom.domains.spf_faults import MOST_SHOWN, Broken
from postroom.domains.spf_macros import Client
from postroom.mail_host import MailHost

Status = Literal["ok", "missing", "differs", "unanswered"]
MOST_FOUND = 10
LONGEST_FOUND = 1000
LONGEST_FIX = spf.MOST_CHARACTERS + 2000  # characters; a proposed record is never cut off

# RFC 7600: an IPv4 address that no host has. It stands in for the address of a mail host that has
# none in the DNS (decision 0161).
_DUMMY = ip_address("192.0.0.8")


class RecordCheck(msgspec.Struct, frozen=True):
    """The result of the check for one record. `fix` tells the owner of the zone what to do; None if
    there is nothing to do."""

    status: Status
    found: tuple[str, ...] = ()
    fix: str | None = None


class _Kind(msgspec.Struct, frozen=True):
    """How TXT values of one purpose are recognized: `mine` as receivers do, `meant` as a person
    would. `fault` says what is wrong with a value; `single` allows only one such record."""

    mine: Callable[[str], bool]
    meant: Callable[[str], bool]
    fault: txt_records.Judge
    single: bool = True


def judge(record: Record, domain: str, host: MailHost, lookups: Lookups) -> RecordCheck:
    """Returns the record check for one record of a domain. Notes missing answers as open questions
    in `lookups`."""
    name = domain if record.host == "@" else f"{record.host}.{domain}"
    try:
        if record.purpose == "spf":
            return _spf(name, domain, host, lookups)
        if record.record_type == "TXT":
            return _txt(record, name, domain, _kind(record), lookups)
        if record.record_type == "MX":
            return _mx(name, domain, host, lookups)
        return _target(record, name, domain, host, lookups)
    except Unanswered as silence:
        return RecordCheck("unanswered", (), f"The DNS gave no answer ({silence}). This says nothing about the record.")


def _kind(record: Record) -> _Kind:
    expected = record.expected_value

    def has(version: str) -> Callable[[str], bool]:
        return lambda value: version in re.sub(r"\s", "", value).lower()

    def with_expected(fault: txt_records.Judge) -> txt_records.Judge:
        return lambda value: f"{text} {_replace(expected)}" if (text := fault(value)) else None

    match record.purpose:
        case "dkim":
            return _Kind(bool, bool, lambda value: _dkim_fault(value, expected))
        case "dmarc":
            return _Kind(txt_records.is_dmarc, has("v=dmarc1"), with_expected(txt_records.dmarc_fault))
        case "tls_rpt":
            return _Kind(txt_records.is_tls_rpt, has("v=tlsrptv1"), with_expected(txt_records.tls_rpt_fault))
        case "mta_sts":
            return _Kind(txt_records.is_mta_sts, has("v=stsv1"), with_expected(txt_records.mta_sts_fault))
    return _Kind(bool, bool, lambda value: None if value == expected else _replace(expected), single=False)


def _txt(record: Record, name: str, domain: str, kind: _Kind, lookups: Lookups) -> RecordCheck:
    found = lookups.find(name, "TXT")
    mine = [value for value in found.values if kind.mine(value)]
    if kind.single and len(mine) > 1:
        return _differs(mine, f"There are {len(mine)} such records at {name}: keep only the expected one.")
    if any(kind.fault(value) is None for value in mine):
        return _ok(mine)
    shown = mine or [value for value in found.values if kind.meant(_plain(value))]
    spelled = next((value for value in shown if kind.fault(_plain(value)) is None), None)
    if spelled is not None:
        return _differs(shown, _spelling(spelled))
    elsewhere = _elsewhere(record, name, domain, lookups, lambda value: kind.fault(_plain(value)) is None)
    if shown:
        return _differs(shown, elsewhere or kind.fault(shown[0]))
    return _absent(name, found.alias, elsewhere)


def _spf(name: str, domain: str, host: MailHost, lookups: Lookups) -> RecordCheck:
    found = lookups.find(name, "TXT")
    records = [value for value in found.values if spf.is_record(value)]
    if not records:
        return _no_spf(name, domain, host, found, lookups)

    if len(records) > 1:
        merged = spf_proposal.with_host(records, host.name)
        return _differs(records, f"A domain has one SPF record: replace all of them with {merged.text}")
    try:
        refused, addresses = _refused(domain, host, lookups)
    except Broken as broken:
        is_void = isinstance(broken, TooVoid)
        useless = spf_proposal.broken_terms(domain, records, host.name, lookups, void=is_void)
        merged = spf_proposal.with_host(records, host.name, useless)
        return _differs(records, f"{broken} {_without(merged)}Replace it with {merged.text}")
    merged = spf_proposal.with_host(records, host.name, addresses=addresses)
    return _differs(records, f"{refused}: replace it with {merged.text}") if refused else _ok(records)


def _without(proposal: spf_proposal.Proposal) -> str:
    terms = ", ".join(f"`{term[:MOST_SHOWN]}`" for term in proposal.left_out[:MOST_FOUND])
    return f"The proposed record leaves out {terms}. " if terms else ""


def _no_spf(name: str, domain: str, host: MailHost, found: Found, lookups: Lookups) -> RecordCheck:
    """Judges a name where receivers find no SPF record, although a person might take one of its
    values for one."""
    meant = [value for value in found.values if spf_proposal.is_meant(_plain(value))]
    if meant:
        plain = [_plain(value) for value in meant]
        merged = spf_proposal.with_host(plain, host.name)
        is_spelling = len(meant) == 1 and spf.is_record(plain[0])
        text = _spelling(meant[0]) if is_spelling else "Receivers ignore the record: no space follows its version."
        fix = text if merged.text == plain[0] else f"{text} {_without(merged)}Replace it with {merged.text}"
        return _differs(meant, fix)
    doubled = lookups.hint(f"{name}.{domain}", "TXT").values
    return _absent(name, found.alias, _doubled("@", domain) if any(map(spf.is_record, doubled)) else None)


def _refused(domain: str, host: MailHost, lookups: Lookups) -> tuple[str, Sequence[Client]]:
    """Says why the domain's record does not let our host send from each of its addresses; empty if
    the record does. Also returns the host's addresses if the record already needs the maximum
    number of look-ups, so that our term must not need one.

    Raises Broken, and Unanswered while a needed answer is open.
    """
    addresses = _addresses(host.name, lookups)
    for address in addresses or [_DUMMY]:
        stand_in = "" if addresses else host.name
        result, check = _evaluated(domain, address, host, lookups, stand_in)
        full = addresses if check.lookups >= MOST_LOOKUPS else ()
        if result == "pass" and check.met_all:
            result, _ = _evaluated(domain, address, host, lookups, stand_in, everybody=False)
            if result != "pass":
                return "The record lets every host of the Internet send", full
        if result != "pass":
            at = f" from {address}" if len(addresses) > 1 else ""
            return f"The record does not let {host.name} send{at}", full
    return "", ()


def _evaluated(
    domain: str, client: Client, host: MailHost, lookups: Lookups, stand_in: str, *, everybody: bool = True
) -> tuple[Result, Check]:
    sender = f"postmaster@{domain}"
    check = Check(lookups, client, sender, host.name, stand_in=stand_in, everybody=everybody)
    return check.result(domain), check


def _addresses(name: str, lookups: Lookups) -> list[Client]:
    kinds = ("A", "AAAA")
    lookups.note((name, kind) for kind in kinds)
    return [ip_address(value) for kind in kinds for value in lookups.find(name, kind).values]


def _leads_here(name: str, host: MailHost, lookups: Lookups) -> bool:
    """Whether a name is our host's name, an alias of it, or has only addresses that our host
    has."""
    if name == host.name:
        return True
    kinds = ("A", "AAAA")
    lookups.note((each, kind) for each in (name, host.name) for kind in kinds)
    if any((lookups.find(name, kind).alias or "").lower() == host.name for kind in kinds):
        return True
    there = _addresses(name, lookups)
    return bool(there) and set(there) <= set(_addresses(host.name, lookups))


def _mx(name: str, domain: str, host: MailHost, lookups: Lookups) -> RecordCheck:
    """The hosts with the lowest number get the mail. Hosts with higher numbers are only backups
    (decision 0163)."""
    found = lookups.find(name, "MX")
    targets = sorted((int(value.split()[0]), name_of(value).lower()) for value in found.values)
    if not targets:
        doubled = [name_of(value).lower() for value in lookups.hint(f"{name}.{domain}", "MX").values]
        return _absent(name, found.alias, _doubled("@", domain) if host.name in doubled else None)
    names = [target for _, target in targets]
    if "" in names and len(names) > 1:  # RFC 7505 3
        return _differs(found.values, "An MX that leads to a dot says that the domain takes no mail: remove it.")
    first = [target for number, target in targets if number == targets[0][0]]
    if len(first) <= MOST_FOUND and all(target and _leads_here(target, host, lookups) for target in first):
        return _ok(found.values)
    if host.name in names:
        return _differs(found.values, f"Other hosts get the mail: remove them, or give {host.name} the lowest number.")
    fix = f"Mail goes to another host: replace these with an MX that leads to {host.name}."
    return _differs(found.values, _tail(names, domain, host) or fix)


def _target(record: Record, name: str, domain: str, host: MailHost, lookups: Lookups) -> RecordCheck:
    """Judges a CNAME by its target, and an SRV by its target and port."""
    found = lookups.find(name, record.record_type)
    targets = [name_of(value).lower() for value in found.values]
    if record.record_type == "SRV":
        is_ok = _is_first([value.lower().split() for value in found.values], record, host)
    else:
        is_ok = host.name in targets or _leads_here(name, host, lookups)
    if is_ok:
        return _ok(found.values)
    if found.values:
        tail = _tail(targets, domain, host)
        return _differs(found.values, tail or f"It leads elsewhere: replace it with {record.expected_value}.")
    doubled = lookups.hint(f"{name}.{domain}", record.record_type).values
    leads = any(name_of(value).lower() == host.name for value in doubled)
    return _absent(name, found.alias, _doubled(record.host, domain) if leads else None)


def _is_first(values: Sequence[Sequence[str]], record: Record, host: MailHost) -> bool:
    """Whether clients try our host at our port before any other (RFC 2782). The name is compared,
    not its address, because clients compare the name with the certificate."""
    port = record.expected_value.split()[-2]
    first = [value for value in values if int(value[0]) == min(int(each[0]) for each in values)]
    return bool(first) and all(value[2] == port and name_of(value[3]) == host.name for value in first)


def _dkim_fault(value: str, expected: str) -> str | None:
    fault = txt_records.dkim_fault(value, expected)
    return f"{fault} {_replace(expected)}" if fault and "expected value" not in fault else fault


def _elsewhere(record: Record, name: str, domain: str, lookups: Lookups, is_it: Callable[[str], bool]) -> str | None:
    """Returns the fix if the record is found under a name that people often enter by mistake, else
    None."""
    if any(is_it(value) for value in lookups.hint(f"{name}.{domain}", "TXT").values):
        return _doubled(record.host, domain)
    if record.host != "@" and any(is_it(value) for value in lookups.hint(domain, "TXT").values):
        return f"The record was found at {domain} itself: enter {record.host} as its host."
    return None


def _absent(name: str, alias: str | None, elsewhere: str | None) -> RecordCheck:
    if alias:
        fix = f"A CNAME is in the way: remove it, because no other record can exist beside a CNAME at {name}."
        return _differs([f"CNAME {alias}"], fix)
    return RecordCheck("missing", (), elsewhere or f"There is no such record at {name}: publish it.")


def _doubled(host: str, domain: str) -> str:
    return f"The record was found with the domain name twice: enter {host} as its host, the provider adds {domain}."


def _tail(targets: Sequence[str], domain: str, host: MailHost) -> str | None:
    if f"{host.name}.{domain}" not in targets:
        return None
    return f"The provider has added {domain} to the value: enter {host.name}. with a dot at its end."


def _replace(expected: str) -> str:
    return f"Replace it with the expected value: {expected}"


def _spelling(value: str) -> str:
    if "\\;" in value:
        return "The value has backslashes before its semicolons: enter it without them."
    if '"' in value:
        return "The value has quotation marks in it: enter it without them."
    return "The value has spaces around it: enter it without them."


def _plain(value: str) -> str:
    """Returns the value as intended, without the quotes, backslashes and spaces that a web form
    kept."""
    value = value.strip().replace("\\;", ";").replace('\\"', '"')
    return re.sub(r'"\s*"', "", value).strip('"').strip()


def _ok(found: Sequence[str]) -> RecordCheck:
    return RecordCheck("ok", _shown(found))


def _differs(found: Sequence[str], fix: str | None) -> RecordCheck:
    return RecordCheck("differs", _shown(found), _clean(fix or "", LONGEST_FIX))


def _shown(found: Sequence[str]) -> tuple[str, ...]:
    return tuple(_clean(value) for value in found[:MOST_FOUND])


def _clean(text: str, longest: int = LONGEST_FOUND) -> str:
    """Makes foreign text safe to show: no control characters, no surrogates, and at most `longest`
    characters."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= longest else text[:longest] + "…"
