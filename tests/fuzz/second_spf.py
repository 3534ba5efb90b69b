"""A second implementation of SPF (RFC 7208): the ABNF of section 12 as one pattern, and an
evaluation without macros. It shares no code with `postroom.domains.spf`."""

import ipaddress
import re

from postroom.domains.resolver import Found

Lookups = dict[tuple[str, str], Found | None]

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
    """A macro, which the second implementation does not expand."""


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


def passes(lookups: Lookups, host: str, domain: str) -> bool:
    """Returns whether the second implementation says pass for each address of `host` as a sender
    of `domain`, or cannot say."""
    found = [lookups.get((host, kind), Found()) for kind in ("A", "AAAA")]
    addresses = [address for each in found if each for address in each.values]
    if not addresses:  # if the host is not in the DNS, it may be named as if it had an address
        lookups = lookups | {(host, "A"): Found(("192.0.0.8",))}
    try:
        return all(Reading(lookups, address).check(domain) == "+" for address in addresses or ["192.0.0.8"])
    except Unread:
        return True
    except Permanent:
        return False
