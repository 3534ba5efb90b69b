"""Whether a domain's SPF record (RFC 7208) lets our mail host send, and how it would look if it did.

A stranger would get wrong: receivers read a record from left to right and the first term that matches decides, so a
record that names us behind `-all` does not let us send. A record that lets everybody send does not name us.
"""

import ipaddress
import re
from collections.abc import Sequence

from postroom.answers import Answers
from postroom.dns import MailHost

LOOKUPS = 10  # RFC 7208 4.6.4
_TERM = re.compile(r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?:[:/](.*))?", re.IGNORECASE)
_NAME = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)


class Broken(Exception):
    """Receivers do not use such a record; the text says why, for a person."""


def is_record(value: str) -> bool:
    """Whether a TXT value is an SPF record (RFC 7208 4.5)."""
    return value.lower() == "v=spf1" or value.lower().startswith("v=spf1 ")


def lets_send(text: str, domain: str, host: MailHost, answers: Answers) -> bool:
    """Whether the record lets the host send. Raises Broken, and Unanswered while an answer that it needs is open."""
    return _Reading(host, answers).lets_send(text, domain)


def with_host(records: Sequence[str], host: MailHost) -> str:
    """One record that says what these say, and names the host."""
    terms = [term for record in records for term in record.split()[1:]]
    ends = [term for term in terms if term.lower().lstrip("+?~-") == "all" and term.lower() not in ("all", "+all")]
    redirects = [term for term in terms if term.lower().startswith("redirect=")]
    kept = [term for term in terms if term.lower().lstrip("+?~-") != "all" and term not in redirects]
    end = redirects[0] if redirects and not ends else (ends or ["~all"])[0]
    return " ".join(dict.fromkeys(["v=spf1", f"a:{host.name}", *kept, end]))


class _Reading:
    def __init__(self, host: MailHost, answers: Answers) -> None:
        self._host = host
        self._answers = answers
        self._lookups = 0

    def lets_send(self, text: str, domain: str) -> bool:
        redirect = ""
        for term in text.split()[1:]:
            if term.lower().startswith("redirect="):
                redirect = term[len("redirect=") :]
            elif found := _TERM.fullmatch(term):
                kind = found[2].lower()
                if kind == "all":
                    return False
                if self._matches(kind, found[3] or "", domain, with_name=":" in term):
                    return found[1] in ("", "+")
            elif "=" not in term:
                raise Broken(f"The record has a term that SPF does not know: {term[:60]}.")
        if not redirect:
            return False
        self._count()
        return self._other(redirect)

    def _matches(self, kind: str, value: str, domain: str, *, with_name: bool) -> bool:
        if kind in ("ip4", "ip6"):
            return self._is_in(kind, value)
        self._count()
        name = (value.partition("/")[0] if with_name else domain).rstrip(".").lower()
        if kind == "include":
            return self._other(name)
        if not _NAME.fullmatch(name):  # a macro: it may mean anything
            return False
        if kind == "a":
            return name == self._host.name or bool(self._addresses(name) & self._addresses(self._host.name))
        return kind == "mx" and self._host.name in {target_of(mx) for mx in self._answers.find(name, "MX").values}

    def _other(self, name: str) -> bool:
        """What the record of another domain says (RFC 7208 5.2, 6.1)."""
        if not _NAME.fullmatch(name):
            return False
        records = [value for value in self._answers.find(name.rstrip(".").lower(), "TXT").values if is_record(value)]
        if len(records) != 1:
            raise Broken(f"The record leads to {name[:100]}, which has no SPF record or several.")
        return self.lets_send(records[0], name)

    def _is_in(self, kind: str, value: str) -> bool:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise Broken(f"The record has an address that is none: {value[:60]}.") from None
        own = self._addresses(self._host.name, "A" if kind == "ip4" else "AAAA")
        return any(ipaddress.ip_address(address) in network for address in own)

    def _addresses(self, name: str, *kinds: str) -> set[str]:
        return {value for kind in kinds or ("A", "AAAA") for value in self._answers.find(name, kind).values}

    def _count(self) -> None:
        self._lookups += 1
        if self._lookups > LOOKUPS:
            raise Broken(f"The record needs more than {LOOKUPS} look-ups, so receivers do not use it.")


def target_of(mx: str) -> str:
    """The host of an MX or SRV value: its last word."""
    return (mx.split() or [""])[-1].rstrip(".").lower()
