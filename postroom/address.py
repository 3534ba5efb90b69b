"""Addresses: the one spelling in which Postroom stores, compares and answers them.

An address is parsed once, at the edge, and never compared in any other spelling. What is
accepted is narrower than RFC 5321: a local part of `a-z 0-9 . _ -` and a domain of A-labels (RFC
5890), all in lower case, so that a canonical address is safe in a path, a map, a log line and a
daemon's user name.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

import idna
from publicsuffixlist import PublicSuffixList

LONGEST_LOCAL_PART = 64  # RFC 5321 4.5.3.1.1
LONGEST_DOMAIN = 253  # RFC 1035 2.3.4: 255 octets on the wire
LONGEST_ADDRESS = 254  # RFC 5321 4.5.3.1.3 without the angle brackets

# RFC 2142, RFC 5321 4.5.1, and the names to which authorities send (or have sent) the proof for a
# certificate. support, billing, info, sales and marketing are in RFC 2142 too, and are what
# customers ask for first.
RESERVED = frozenset(
    {
        "abuse",
        "admin",
        "administrator",
        "ftp",
        "hostmaster",
        "mailer-daemon",
        "news",
        "noc",
        "postmaster",
        "root",
        "security",
        "ssladmin",
        "ssladministrator",
        "sslwebmaster",
        "sysadmin",
        "usenet",
        "uucp",
        "webmaster",
        "www",
    }
)

_LOCAL_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_HYPHENS = re.compile(r"(?:^|\.)..--")  # RFC 5891 4.2.3.1: only `xn--` may have hyphens there
_DOTS = ".\u3002\uff0e\uff61"  # what UTS 46 reads as a dot
# Emoji that Unicode does not call a symbol of other kind: a keycap, an arrow, two squares, the skin
# tones.
_EMOJI = frozenset({0x20E3, 0x2194, 0x25FD, 0x25FE, *range(0x1F3FB, 0x1F400)})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class BadAddress(ValueError):
    """Not an address that Postroom gives out. `message` is a sentence and never repeats the
    value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Address:
    """An address of two canonical parts. Make it from text with `parse`, or from parts that were
    parsed."""

    local_part: str
    domain: str

    def __post_init__(self) -> None:
        if len(self.local_part) + 1 + len(self.domain) > LONGEST_ADDRESS:
            raise BadAddress("invalid_address", f"An address must have at most {LONGEST_ADDRESS} characters.")

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address that `text` spells. Raises BadAddress."""
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise BadAddress("invalid_address", "An address must have the form local_part@domain.")
        return cls(parse_local_part(local_part), parse_domain(domain))


def parse_local_part(text: str) -> str:
    """The canonical local part. Raises BadAddress."""
    if not text:
        raise _bad_local_part("The local part is empty.")
    if len(text) > LONGEST_LOCAL_PART:
        raise _bad_local_part(f"A local part must have at most {LONGEST_LOCAL_PART} characters.")
    if text != text.strip():
        raise _bad_local_part("Remove the spaces around the local part.")
    if "+" in text:
        raise _bad_local_part(
            "A local part cannot have a '+': mail to name+tag already arrives at name, so create the name alone."
        )
    if not _LOCAL_PART.fullmatch(text):
        raise _bad_local_part(
            "A local part must begin with a letter or digit and may have only a-z, 0-9, dot, underscore and hyphen."
        )
    if ".." in text or text[-1] == ".":
        raise _bad_local_part("A local part must not have two dots in a row or end in a dot.")
    return text.lower()


def parse_domain(text: str) -> str:
    """The canonical name of a domain that somebody can own: A-labels, lower case. Raises
    BadAddress."""
    domain = parse_host(text)
    if _suffixes().is_public(domain):
        raise _bad_domain("This is a public suffix, under which others register domains: send a domain that you own.")
    return domain


def parse_host(text: str) -> str:
    """The canonical name of a host: as `parse_domain`, but it may be a public suffix. Raises
    BadAddress."""
    if not text or len(text) > LONGEST_DOMAIN:  # before IDNA, whose cost grows with the square of the length
        raise _bad_domain(f"A domain must have 1 to {LONGEST_DOMAIN} characters.")
    name = text
    if not _HOST.fullmatch(text) or _HYPHENS.search(text):
        name = _to_ascii(text)
    top = name.rpartition(".")[2]
    if not top[0].isalpha():  # RFC 1123 2.1: tells a name from an IPv4 address in any of its spellings
        raise _bad_domain("A domain is a name that ends in letters, not an IP address.")
    if top == name:
        raise _bad_domain("A domain must have at least two labels, like example.com.")
    return name


def refused_domain(domain: str, own_hostname: str) -> bool:
    """Whether a canonical domain can never be claimed: names that have no owner, and the mail
    host's own."""
    # RFC 6761 6.3 localhost, RFC 6762 local; `internal` is ICANN's private TLD and carries our
    # internal names.
    top = domain.rpartition(".")[2]
    return top in ("internal", "local", "localhost") or domain == own_hostname.lower()


def _to_ascii(text: str) -> str:
    """IDNA 2008 after the mapping of UTS 46, non-transitional; `idna` refuses A-labels that no
    U-label gives, but for those of emoji."""
    if _CONTROL.search(text):
        raise _bad_domain("A domain must not have control characters.")
    if "/" in text or "@" in text:
        raise _bad_domain(
            "This is not a domain name: send the name alone, like example.com, without https:// or a path."
        )
    if text[0] == "[" or ":" in text:
        raise _bad_domain("A domain is a name, not an IP address.")
    if text[-1] in _DOTS:
        raise _bad_domain("A domain must not end in a dot.")
    try:
        labels = idna.uts46_remap(text, std3_rules=False).split(".")
        name = ".".join(label if _is_emoji(label) else idna.alabel(label).decode("ascii") for label in labels)
    except UnicodeError:
        name = ""
    if (
        not _HOST.fullmatch(name) or len(name) > LONGEST_DOMAIN
    ):  # after the mapping too: a soft hyphen may have hidden a last dot
        raise _bad_domain("This is not a domain name (letters, digits and hyphens; IDNA 2008).")
    return name


def _is_emoji(label: str) -> bool:
    """Whether this is the A-label of a name with emoji in it, in the one spelling that UTS 46
    keeps.

    IDNA 2008 knows no emoji, but registries have sold such names and resolvers find them. They
    are taken as A-labels alone (decision 0167).
    """
    if not label.startswith("xn--"):
        return False
    try:
        text = label[4:].encode("ascii").decode("punycode")
        is_stable = text.encode("punycode") == label[4:].encode() and idna.uts46_remap(text) == text
        if not is_stable or not any(map(_is_symbol, text)):
            return False
        idna.check_label("".join("a" if _is_symbol(char) else char for char in text))
    except (UnicodeError, ValueError):
        return False
    return True


def _is_symbol(char: str) -> bool:
    return ord(char) in _EMOJI or unicodedata.category(char) == "So"


@cache
def _suffixes() -> PublicSuffixList:
    """The list that the library brings: 25 ms to read, hence not at import."""
    return PublicSuffixList()


def _bad_local_part(message: str) -> BadAddress:
    return BadAddress("invalid_local_part", message)


def _bad_domain(message: str) -> BadAddress:
    return BadAddress("invalid_domain", message)
