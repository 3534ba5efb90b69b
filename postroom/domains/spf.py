"""SPF records as receivers read them: the whole grammar of RFC 7208 12, and no more.

A record with one error anywhere is a permerror (RFC 7208 4.6), also behind the term that would
have matched. So a record is parsed to its end before anything is evaluated (decision 0160).
"""

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

import msgspec

from postroom.domains import spf_macros
from postroom.domains.spf_faults import Broken, of_term
from postroom.domains.spf_macros import BadMacro, MacroString

# No record that is in use comes near; RFC 7208 3.4 asks for what fits 512 octets. A bound for the
# work of parsing.
MOST_CHARACTERS = 8192

# A network with a shorter prefix, in bits, is no network of anybody's: `ip4:0.0.0.0/1`.
SHORTEST_PREFIX = {4: 8, 6: 16}

Network = IPv4Network | IPv6Network

_VERSION = re.compile(r"v=spf1(?: |\Z)", re.ASCII | re.IGNORECASE)
_TERM = re.compile(r"([+?~-]?)([a-z][a-z0-9_.-]*)(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_LENGTHS = re.compile(r"(:.*?)?(?:/(0|[1-9][0-9]{0,2}))?(?://(0|[1-9][0-9]{0,2}))?", re.ASCII | re.DOTALL)
_IP4 = re.compile(r"([0-9.]+)(/.*)?", re.ASCII)
_IP6 = re.compile(r"([0-9a-f:.]+)(/.*)?", re.ASCII | re.IGNORECASE)
_LENGTH = re.compile(r"/(?:0|[1-9][0-9]{0,2})", re.ASCII)


class Mechanism(msgspec.Struct, frozen=True):
    """A mechanism (RFC 7208 5). `domain` is None where it is the domain that the record belongs
    to."""

    qualifier: str
    name: str
    domain: MacroString | None = None
    network: Network | None = None
    length4: int = 32
    length6: int = 128


class Modifier(msgspec.Struct, frozen=True):
    """A modifier (RFC 7208 6); receivers ignore those with other names than `redirect` and
    `exp`."""

    name: str
    value: MacroString


Term = Mechanism | Modifier


class Record(msgspec.Struct, frozen=True):
    """The terms in their order, and where the record goes on if none of them matches."""

    mechanisms: tuple[Mechanism, ...]
    redirect: MacroString | None


def names_nobody(mechanism: Mechanism, version: int) -> bool:
    """Whether a mechanism that matches a client of this IP version says nothing about whose client
    it is: `all`, and networks of a large part of the Internet."""
    length = mechanism.length4 if version == 4 else mechanism.length6
    if mechanism.network is not None:
        length = mechanism.network.prefixlen
    return mechanism.name == "all" or length < SHORTEST_PREFIX[version]


def is_record(value: str) -> bool:
    """Whether receivers take a TXT value for an SPF record (RFC 7208 4.5)."""
    return _VERSION.match(value) is not None


def terms_of(text: str) -> list[str]:
    """The terms of a record as they are written. Spaces alone are between them."""
    return [term for term in text.split(" ")[1:] if term]


@lru_cache(maxsize=32)
def parse(text: str) -> Record:
    """The record. Raises Broken for what is a permerror to receivers."""
    if len(text) > MOST_CHARACTERS:
        raise Broken(f"The record has more than {MOST_CHARACTERS} characters, which is too long for receivers.")
    terms = [parse_term(term) for term in terms_of(text)]
    for name in ("redirect", "exp"):
        if sum(isinstance(term, Modifier) and term.name == name for term in terms) > 1:
            raise Broken(f"The record has {name}= more than once.")
    redirects = [term.value for term in terms if isinstance(term, Modifier) and term.name == "redirect"]
    return Record(tuple(term for term in terms if isinstance(term, Mechanism)), next(iter(redirects), None))


def parse_term(text: str) -> Term:
    """One term. Raises Broken."""
    try:
        term = _term(text)
    except (BadMacro, ValueError):
        term = None
    if term is None:
        raise of_term(text)
    return term


def _term(text: str) -> Term | None:
    """None, BadMacro and ValueError say that it is no term."""
    found = _TERM.fullmatch(text)
    if not found:
        return None
    qualifier, name, rest = found[1], found[2].lower(), found[3]
    if rest.startswith("="):
        if qualifier:
            return None
        is_name = name in ("redirect", "exp")
        return Modifier(name, spf_macros.parse_domain(rest[1:]) if is_name else spf_macros.parse(rest[1:]))
    return _mechanism(qualifier or "+", name, rest)


def _mechanism(qualifier: str, name: str, rest: str) -> Mechanism | None:
    if name == "all":
        return None if rest else Mechanism(qualifier, name)
    if name in ("a", "mx"):
        return _with_lengths(qualifier, name, rest)
    if name == "ptr" and not rest:
        return Mechanism(qualifier, name)
    if not rest.startswith(":"):
        return None
    if name in ("include", "exists", "ptr"):
        return Mechanism(qualifier, name, spf_macros.parse_domain(rest[1:]))
    if name in ("ip4", "ip6"):
        return _with_network(qualifier, name, rest[1:])
    return None


def _with_lengths(qualifier: str, name: str, rest: str) -> Mechanism | None:
    found = _LENGTHS.fullmatch(rest)
    if not found:
        return None
    domain = None if found[1] is None else spf_macros.parse_domain(found[1][1:])
    length4, length6 = int(found[2] or 32), int(found[3] or 128)
    if length4 > 32 or length6 > 128:
        return None
    return Mechanism(qualifier, name, domain, None, length4, length6)


def _with_network(qualifier: str, name: str, text: str) -> Mechanism | None:
    found = (_IP4 if name == "ip4" else _IP6).fullmatch(text)
    if not found or (found[2] and not _LENGTH.fullmatch(found[2])):
        return None
    network = ip_network(text, strict=False)  # a length out of range is a ValueError
    return Mechanism(qualifier, name, network=network) if network.version == int(name[2]) else None
