"""SPF macros (RFC 7208 7): names that a record builds from the client, the sender and the
domain."""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

import msgspec

MOST_NAME_CHARACTERS = 253  # RFC 7208 7.3: a longer name loses labels on the left
MOST_LABEL_CHARACTERS = 63

Client = IPv4Address | IPv6Address

_MACRO = re.compile(r"%(?:\{([slodiphv])([0-9]*)(r?)([.\-+,/_=]*)\}|([%_-]))", re.ASCII | re.IGNORECASE)
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_TOP_LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9-]*[a-z0-9])?", re.ASCII | re.IGNORECASE)
_FIXED = {"%": "%", "_": " ", "-": "%20"}


class BadMacro(ValueError):
    """The text is not a macro-string, or not a domain-spec, of RFC 7208 7.1."""


class Macro(msgspec.Struct, frozen=True):
    """`%{letter digits r delimiters}`. `parts` is 0 if all parts stay. A capital letter means
    percent-encoding."""

    letter: str
    parts: int
    is_reversed: bool
    delimiters: str


MacroString = tuple[str | Macro, ...]


class Context(msgspec.Struct, frozen=True):
    """The values that macros stand for. `validated` returns the value of `%{p}` and may ask the
    DNS."""

    client: Client
    local_part: str
    sender_domain: str
    helo: str
    domain: str
    validated: Callable[[str], str]


def parse(text: str) -> MacroString:
    """Returns the pieces of a macro-string (RFC 7208 7.1). Raises BadMacro."""
    return _pieces(text)[0]


def parse_domain(text: str) -> MacroString:
    """Returns the pieces of a domain-spec (RFC 7208 7.1), which ends in a macro, or in a dot and a
    top label. Raises BadMacro."""
    pieces, ends_in_macro = _pieces(text)
    if not pieces or not (ends_in_macro or _ends_in_top_label(str(pieces[-1]))):
        raise BadMacro(text)
    return pieces


def expand(pieces: MacroString, context: Context) -> str:
    """Returns the text that the pieces stand for."""
    return "".join(piece if isinstance(piece, str) else _value(piece, context) for piece in pieces)


def expand_domain(pieces: MacroString, context: Context) -> str:
    """As `expand`, for a name: without the last dot, and shortened from the left to the longest
    length of a name."""
    name = expand(pieces, context).removesuffix(".")
    while len(name) > MOST_NAME_CHARACTERS and "." in name:
        name = name.partition(".")[2]
    return name


def is_name(name: str) -> bool:
    """Whether a name without its last dot is valid by RFC 7208 4.3: several labels, none of them
    empty or too long."""
    labels = name.split(".")
    in_bounds = all(0 < len(label) <= MOST_LABEL_CHARACTERS for label in labels)
    return in_bounds and len(labels) > 1 and len(name) <= MOST_NAME_CHARACTERS and name.isascii()


def _pieces(text: str) -> tuple[MacroString, bool]:
    """Returns the pieces, and whether the last one was written as a macro."""
    pieces: list[str | Macro] = []
    literal: re.Match[str] | None = None
    at = 0
    while at < len(text):
        literal = _LITERAL.match(text, at)
        found = literal or _MACRO.match(text, at)
        if not found:
            raise BadMacro(text)
        pieces.append(found[0] if literal else _macro(found))
        at = found.end()
    return tuple(pieces), bool(pieces) and literal is None


def _macro(found: re.Match[str]) -> str | Macro:
    letter, digits, is_reversed, delimiters, fixed = found.groups()
    if fixed:
        return _FIXED[fixed]
    if digits and not int(digits[:9]):  # RFC 7208 7.3: nonzero
        raise BadMacro(found[0])
    return Macro(letter, int(digits[:9] or 0), bool(is_reversed), delimiters or ".")


def _ends_in_top_label(piece: str) -> bool:
    """Whether a literal ends as a name does: in a dot and a label that is not all digits."""
    _, dot, label = piece.removesuffix(".").rpartition(".")
    return bool(dot) and _TOP_LABEL.fullmatch(label) is not None and not label.isdigit()


def _value(macro: Macro, context: Context) -> str:
    parts = re.split(f"[{re.escape(macro.delimiters)}]", _letter(macro.letter.lower(), context))
    if macro.is_reversed:
        parts.reverse()
    text = ".".join(parts[-macro.parts :] if macro.parts else parts)
    return quote(text, safe="") if macro.letter.isupper() else text


def _letter(letter: str, context: Context) -> str:
    match letter:
        case "s":
            return f"{context.local_part}@{context.sender_domain}"
        case "l":
            return context.local_part
        case "o":
            return context.sender_domain
        case "d":
            return context.domain
        case "i" if context.client.version == 4:
            return str(context.client)
        case "i":
            return ".".join(context.client.exploded.replace(":", ""))
        case "p":
            return context.validated(context.domain)
        case "h":
            return context.helo
    return "in-addr" if context.client.version == 4 else "ip6"
