"""Addresses: the one spelling in which Postroom stores, compares and returns them.

An address is parsed once, at the edge, and never compared in any other spelling. Postroom accepts
less than RFC 5321: a local part of `a-z 0-9 . _ -` and a domain of A-labels (RFC 5890), all in
lower case. A canonical address is therefore safe in a path, a map, a log line and a daemon's user
name.
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

# Names from RFC 2142 and RFC 5321 4.5.1, and the names to which certificate authorities send, or
# used to send, their proof mail. RFC 2142 also has support, billing, info, sales and marketing:
# these are not reserved, because customers ask for them first.
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
_DOTS = ".\u3002\uff0e\uff61"  # the characters that UTS 46 maps to a dot
# Emoji outside Unicode's category So (Symbol, other): a keycap, an arrow, two squares, the skin
# tones.
_EMOJI = frozenset({0x20E3, 0x2194, 0x25FD, 0x25FE, *range(0x1F3FB, 0x1F400)})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class BadAddress(ValueError):
    """The text is not an address that Postroom accepts. `message` is a sentence and never repeats
    the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Address:
    """An address made of two canonical parts. Build it from text with `parse`, or from parts that
    are already parsed. Raises BadAddress if the whole is too long."""

    local_part: str
    domain: str

    def __post_init__(self) -> None:
        if len(self.local_part) + 1 + len(self.domain) > LONGEST_ADDRESS:
            raise BadAddress("invalid_address", f"An address must have at most {LONGEST_ADDRESS} characters.")

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Returns the address that `text` spells. Raises BadAddress."""
        local_part, at, domain = text.rpartition("@")
        if not at:
            raise BadAddress("invalid_address", "An address must have the form local_part@domain.")
        return cls(parse_local_part(local_part), parse_domain(domain))


def parse_local_part(text: str) -> str:
    """Returns the canonical local part. Raises BadAddress."""
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
    """Returns the canonical name of a domain that somebody can own: A-labels, lower case. Raises
    BadAddress."""
    domain = parse_host(text)
    if _suffixes().is_public(domain):
        raise _bad_domain("This is a public suffix, under which others register domains: send a domain that you own.")
    return domain


def parse_host(text: str) -> str:
    """Returns the canonical name of a host. Unlike in `parse_domain`, the name may be a public
    suffix. Raises BadAddress."""
    if not text or len(text) > LONGEST_DOMAIN:  # before IDNA: its cost grows with the square of the length
        raise _bad_domain(f"A domain must have 1 to {LONGEST_DOMAIN} characters.")
    name = text
    if not _HOST.fullmatch(text) or _HYPHENS.search(text):
        name = _to_ascii(text)
    top = name.rpartition(".")[2]
    if not top[0].isalpha():  # RFC 1123 2.1: tells a name from any spelling of an IPv4 address
        raise _bad_domain("A domain is a name that ends in letters, not an IP address.")
    if top == name:
        raise _bad_domain("A domain must have at least two labels, like example.com.")
    return name


def refused_domain(domain: str, own_hostname: str) -> bool:
    """Returns whether nobody can ever claim a canonical domain: the name has no owner, or it is
    the mail host's own name."""
    # RFC 6761 6.3 reserves localhost, RFC 6762 local. `internal` is ICANN's private TLD; our
    # internal names are below it.
    top = domain.rpartition(".")[2]
    return top in ("internal", "local", "localhost") or domain == own_hostname.lower()


def _to_ascii(text: str) -> str:
    """Returns the A-labels by IDNA 2008, after the non-transitional mapping of UTS 46. Refuses an
    A-label that no U-label encodes to, except for emoji. Raises BadAddress."""
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
    ):  # checked again after the mapping: a soft hyphen may hide a last dot
        raise _bad_domain("This is not a domain name (letters, digits and hyphens; IDNA 2008).")
    return name


def _is_emoji(label: str) -> bool:
    """Returns whether this is the A-label of a name with emoji, in the spelling that UTS 46 does
    not change.

    IDNA 2008 does not allow emoji, but registries have sold such names and resolvers find them.
    Postroom accepts them only as A-labels (decision 0167).
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
    """The list in the library. Reading the list takes 25 ms, so it is not done at import."""
    return PublicSuffixList()


def _bad_local_part(message: str) -> BadAddress:
    return BadAddress("invalid_local_part", message)


def _bad_domain(message: str) -> BadAddress:
    return BadAddress("invalid_domain", message)
