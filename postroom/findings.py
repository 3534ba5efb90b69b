"""What the DNS has for each wanted record, and one sentence on how to mend what is not right. Pure.

A stranger would get wrong: records are compared by what they mean. A customer may have another MX behind ours, a
longer SPF record, a stricter DMARC policy: all of that is ok.
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from postroom import spf
from postroom.answers import Answers
from postroom.dns import MailHost, Record
from postroom.resolver import Unanswered

Status = Literal["ok", "missing", "differs", "unanswered"]
MOST_FOUND = 10
LONGEST_FOUND = 1000

_DMARC = re.compile(r"v=DMARC1\s*;(.*;)?\s*p\s*=\s*(none|quarantine|reject)\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_TLS_RPT = re.compile(r"v=TLSRPTv1\s*;\s*rua\s*=\s*(mailto:|https:).+", re.DOTALL)
_MTA_STS = re.compile(r"v=STSv1\s*;\s*id=[A-Za-z0-9]{1,32}\s*;?\s*")


class Finding(msgspec.Struct, frozen=True):
    """What a check found of one record. `mend` is for whoever keeps the zone; None where nothing is to be done."""

    status: Status
    found: tuple[str, ...] = ()
    mend: str | None = None


class _Kind(msgspec.Struct, frozen=True):
    """How the TXT values of one purpose are told from others, and judged: None is ok, else how to mend it."""

    mine: Callable[[str], bool]
    fault: Callable[[str], str | None]
    single: bool = True


def judge(record: Record, domain: str, host: MailHost, answers: Answers) -> Finding:
    """The finding for one record of a domain. What the answers lack is noted in them."""
    name = domain if record.host == "@" else f"{record.host}.{domain}"
    try:
        if record.purpose == "spf":
            return _spf(name, domain, host, answers)
        if record.record_type == "TXT":
            return _txt(record, name, domain, _kind(record), answers)
        if record.record_type == "MX":
            return _mx(name, domain, host, answers)
        return _target(record, name, domain, host, answers)
    except Unanswered as silence:
        return Finding("unanswered", (), f"The DNS gave no answer ({silence}). This says nothing about the record.")


def _kind(record: Record) -> _Kind:
    expected = record.expected_value

    def matches(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
        return lambda value: None if pattern.fullmatch(value) else _replace(expected)

    def begins(prefix: str) -> Callable[[str], bool]:
        return lambda value: value.lower().startswith(prefix)

    match record.purpose:
        case "dkim":
            return _Kind(bool, lambda value: _dkim_fault(value, expected))
        case "dmarc":
            return _Kind(begins("v=dmarc1"), matches(_DMARC))
        case "tls_rpt":
            return _Kind(begins("v=tlsrptv1"), matches(_TLS_RPT))
        case "mta_sts":
            return _Kind(begins("v=stsv1"), matches(_MTA_STS))
    return _Kind(bool, matches(re.compile(re.escape(expected))), single=False)


def _txt(record: Record, name: str, domain: str, kind: _Kind, answers: Answers) -> Finding:
    found = answers.find(name, "TXT")
    mine = [value for value in found.values if kind.mine(_plain(value))]
    faults = [kind.fault(value) for value in mine]
    if kind.single and len(mine) > 1:
        return _differs(mine, f"There are {len(mine)} such records at {name}: keep only the expected one.")
    if None in faults:
        return _ok(mine)
    spelled = next((value for value in mine if kind.fault(_plain(value)) is None), None)
    if spelled is not None:
        return _differs(mine, _spelling(spelled))
    elsewhere = _elsewhere(record, name, domain, answers, lambda value: kind.fault(_plain(value)) is None)
    if mine:
        return _differs(mine, elsewhere or faults[0])
    return _absent(name, found.alias, elsewhere)


def _spf(name: str, domain: str, host: MailHost, answers: Answers) -> Finding:
    found = answers.find(name, "TXT")
    mine = [value for value in found.values if spf.is_record(_plain(value))]
    merged = spf.with_host([_plain(value) for value in mine], host)
    if not mine:
        doubled = answers.hint(f"{name}.{domain}", "TXT").values
        return _absent(name, found.alias, _doubled("@", domain) if any(map(spf.is_record, doubled)) else None)
    if len(mine) > 1:
        return _differs(mine, f"A domain has one SPF record: replace all of them by {merged}")
    if mine[0] != _plain(mine[0]):
        return _differs(mine, _spelling(mine[0]))
    try:
        if spf.lets_send(mine[0], domain, host, answers):
            return _ok(mine)
    except spf.Broken as broken:
        return _differs(mine, f"{broken} Replace it by {merged} without what is wrong in it.")
    return _differs(mine, f"The record does not let {host.name} send: replace it by {merged}")


def _mx(name: str, domain: str, host: MailHost, answers: Answers) -> Finding:
    """Ours must be better than every other, or mail goes elsewhere; others behind it are somebody's backup."""
    found = answers.find(name, "MX")
    targets = [(int(value.split()[0]), spf.target_of(value)) for value in found.values]
    ours = [priority for priority, target in targets if target == host.name]
    others = [priority for priority, target in targets if target != host.name]
    if ours and (not others or min(ours) < min(others)):
        return _ok(found.values)
    if ours:
        return _differs(found.values, f"Other hosts get the mail: remove them, or give {host.name} the lowest number.")
    if targets:
        mend = f"Mail goes to another host: replace these by an MX that leads to {host.name}."
        return _differs(found.values, _tail([target for _, target in targets], domain, host) or mend)
    doubled = [spf.target_of(value) for value in answers.hint(f"{name}.{domain}", "MX").values]
    return _absent(name, found.alias, _doubled("@", domain) if host.name in doubled else None)


def _target(record: Record, name: str, domain: str, host: MailHost, answers: Answers) -> Finding:
    """A CNAME or SRV: what counts is where it leads, for SRV with the port."""
    found = answers.find(name, record.record_type)
    port = record.expected_value.split()[-2:-1]
    if any(spf.target_of(value) == host.name and value.split()[-2:-1] == port for value in found.values):
        return _ok(found.values)
    if found.values:
        tail = _tail([spf.target_of(value) for value in found.values], domain, host)
        return _differs(found.values, tail or f"It leads elsewhere: replace it by {record.expected_value}.")
    doubled = answers.hint(f"{name}.{domain}", record.record_type).values
    leads = any(spf.target_of(value) == host.name for value in doubled)
    return _absent(name, found.alias, _doubled(record.host, domain) if leads else None)


def _dkim_fault(value: str, expected: str) -> str | None:
    there, wanted = _tags(value), _tags(expected)
    key = there.get("p")
    if key is None:
        return _replace(expected)
    if not key:
        return "The record has an empty p=, which revokes the key: publish the whole expected value."
    if key != wanted["p"]:
        if wanted["p"].startswith(key):
            pieces = "publish the whole of it, in strings of at most 255 characters where the provider asks for that"
            return f"The value is cut off after {len(value)} characters: {pieces}."
        return "Another key is published there: replace it by the expected value."
    is_right = there.get("v", "DKIM1") == "DKIM1" and there.get("k", "rsa") == wanted.get("k", "rsa")
    is_right = is_right and "sha256" in there.get("h", "sha256").split(":")
    is_right = is_right and bool({"*", "email"} & set(there.get("s", "*").split(":")))
    return None if is_right else "The key is right, but the tags beside it are not: publish the whole expected value."


def _tags(value: str) -> dict[str, str]:
    """The tags of a record (RFC 6376 3.2), without the white space that may stand in them."""
    pairs = (part.partition("=") for part in value.split(";") if "=" in part)
    return {name.strip(): re.sub(r"\s", "", text) for name, _, text in pairs}


def _elsewhere(record: Record, name: str, domain: str, answers: Answers, is_it: Callable[[str], bool]) -> str | None:
    """Whether the record stands under a name that people enter by mistake."""
    if any(is_it(value) for value in answers.hint(f"{name}.{domain}", "TXT").values):
        return _doubled(record.host, domain)
    if record.host != "@" and any(is_it(value) for value in answers.hint(domain, "TXT").values):
        return f"The record was found at {domain} itself: enter {record.host} as its host."
    return None


def _absent(name: str, alias: str | None, elsewhere: str | None) -> Finding:
    if alias:
        mend = f"A CNAME is in the way: remove it, for no other record can stand beside a CNAME at {name}."
        return _differs([f"CNAME {alias}"], mend)
    return Finding("missing", (), elsewhere or f"There is no such record at {name}: publish it.")


def _doubled(host: str, domain: str) -> str:
    return f"The record was found with the domain name twice: enter {host} as its host, the provider adds {domain}."


def _tail(targets: Sequence[str], domain: str, host: MailHost) -> str | None:
    if f"{host.name}.{domain}" not in targets:
        return None
    return f"The provider has added {domain} to the value: enter {host.name}. with a dot at its end."


def _replace(expected: str) -> str:
    return f"Replace it by the expected value: {expected}"


def _spelling(value: str) -> str:
    if "\\;" in value:
        return "The value has backslashes before its semicolons: enter it without them."
    if '"' in value:
        return "The value has quotation marks in it: enter it without them."
    return "The value has spaces around it: enter it without them."


def _plain(value: str) -> str:
    """The value as it was meant: without the quotes, backslashes and spaces that a web form has kept."""
    value = value.strip().replace("\\;", ";").replace('\\"', '"')
    return re.sub(r'"\s*"', "", value).strip('"').strip()


def _ok(found: Sequence[str]) -> Finding:
    return Finding("ok", _shown(found))


def _differs(found: Sequence[str], mend: str | None) -> Finding:
    return Finding("differs", _shown(found), _clean(mend or ""))


def _shown(found: Sequence[str]) -> tuple[str, ...]:
    return tuple(_clean(value) for value in found[:MOST_FOUND])


def _clean(text: str) -> str:
    """Foreign text: no control characters, no surrogates, and an end."""
    text = "".join(char if char.isprintable() else "\ufffd" for char in text)
    return text if len(text) <= LONGEST_FOUND else text[:LONGEST_FOUND] + "…"
