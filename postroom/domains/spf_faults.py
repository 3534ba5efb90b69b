"""What is wrong with a term of an SPF record, as a sentence for the person who wrote the record."""

import re

MOST_SHOWN = 60
MECHANISMS = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")
_NAMES = {"ipv4": "ip4", "ipv6": "ip6", "ip": "ip4", "includes": "include", "inc": "include", "exist": "exists"}
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_NAMED = {*MECHANISMS, *_NAMES}


class Broken(Exception):
    """Receivers do not use the record (permerror). The text says why, for a person."""


def of_term(text: str) -> Broken:
    """Returns the reason why a text does not parse as a term."""
    if (
        re.fullmatch(r"[+?~-]?[a-z0-9_.-]+", text, re.ASCII | re.IGNORECASE)
        and text.lower().lstrip("+?~-") not in _NAMED
    ):
        host = "a host is written as `a:host.example`, an address as `ip4:` or `ip6:`"
        return Broken(f"The record has a term that SPF does not know: {text[:MOST_SHOWN]}. There, {host}.")
    return Broken(f"The record has the term `{text[:MOST_SHOWN]}`, which receivers cannot read: {_why(text)}.")


def _why(text: str) -> str:
    bare = text.lower().lstrip("+?~-")
    name, mark, value = re.split(r"([:=/])", bare, maxsplit=1) if re.search("[:=/]", bare) else (bare, "", "")
    if odd := _odd_character(text):
        return odd
    if text[-1:] in (",", ";"):
        return "a space ends a term, not a comma or semicolon"
    if text[:1] in "+?~-" and mark == "=":
        return f"`{name}=` takes no sign before it"
    if name in _NAMES:
        return f"write `{_NAMES[name]}:`"
    if mark in (":", "=") and not value:
        return f"a value must follow `{name}{mark}` without a space"
    if name in ("ip4", "ip6"):
        return _why_no_network(name, mark, value)
    if name == "all":
        return "only a space may follow `all`"
    if name in MECHANISMS or (mark == "=" and re.fullmatch(r"[a-z][a-z0-9_.-]*", name)):
        return _why_no_name(name, mark, value)
    return "SPF knows no such term"


def _odd_character(text: str) -> str:
    """Describes a character that looks like another one, or that no term can have; empty if there
    is none."""
    odd = next((char for char in text if not "!" <= char <= "~"), "")
    if odd in DASHES and odd:
        return "it has a dash where a hyphen-minus (-) belongs"
    if odd:
        return f"it has the character U+{ord(odd):04X}, and a term has visible ASCII characters alone"
    return "it has a quotation mark" if text[:1] in "\"'" or text[-1:] in "\"'" else ""


def _why_no_network(name: str, mark: str, value: str) -> str:
    family = "IPv4" if name == "ip4" else "IPv6"
    most = 32 if name == "ip4" else 128
    if mark != ":":
        return f"write `{name}:` and an {family} address"
    address, slash, length = value.partition("/")
    if name == "ip4" and ":" in address:
        return "this is not an IPv4 address without a port; an IPv6 address is written as `ip6:`"
    if slash and not (re.fullmatch(r"0|[1-9][0-9]{0,2}", length) and int(length) <= most):
        return f"the prefix length of an {family} network is 0 to {most}, not `{length}`"
    if re.search(r"[g-z]", address) and "." in address:
        return f"this is a name and not an {family} address; a host is written as `a:host.example`"
    return f"`{address}` is no {family} address"


def _why_no_name(name: str, mark: str, value: str) -> str:
    if not mark:
        return f"`{name}` needs a name: `{name}:host.example`"
    lengths = re.search(r"(?:/([^/]*))?(?://([^/]*))?\Z", (mark if mark == "/" else "") + value)
    if lengths and (lengths[1] or lengths[2]) and not re.search(r"[a-z%{]", lengths[0]):
        if name in ("a", "mx"):
            return "a prefix length is a number from 0 to 32, after two slashes from 0 to 128"
        return f"`{name}` takes no prefix length"
    if re.search(r"%(?![{%_-])|%\{(?![slodiphv](?:[0-9]*[1-9][0-9]*)?r?[.\-+,/_=]*\})", value):
        return "RFC 7208 section 7 has no such macro"
    return "a full domain name must stand there, with a dot and a last label that is not a number"
