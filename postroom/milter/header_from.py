"""Strict parser for From, Sender and the Resent fields of RFC 5322: it accepts only values that
every receiver reads as the same mailbox.

The parser accepts less than RFC 5322 3.4 (decision 0136): exactly one mailbox, no group, no route,
no quoted local part, no comment or white space in the address, no nested comment. It accepts more
in one way, because clients send it: a name may have dots (obs-phrase) and UTF-8 (RFC 6532).
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header

from postroom.accounts import senders
from postroom.address import Address, BadAddress, parse_host

# Largest number of octets in one field, of addresses in one display name, and of encoded words.
# Python searches the rest of the text for the end of each encoded word.
LONGEST_FIELD = 4096
MOST_SHOWN = 20
MOST_ENCODED = 75

_TEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]++"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_COMMENT = r"\((?:[^()\\]|\\.)*+\)"
_SPACE = rf"(?:[ \t]++|{_COMMENT})*+"
_NAMED = re.compile(rf"(?P<name>{_SPACE}(?:(?:{_TEXT}|{_QUOTED}){_SPACE})*+)<(?P<address>[^<>]*)>(?P<rest>{_SPACE})")
_BARE = re.compile(rf"(?P<name>{_SPACE})(?P<address>[^\s<>()\"]++)(?P<rest>{_SPACE})")
_FIRST_DOT = re.compile(rf"{_SPACE}\.")
_QUOTED_TEXT = re.compile(f"{_QUOTED}|{_COMMENT}")
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?\s]*\?=")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
# Bidirectional overrides, which can show any text reversed: a reader sees `moc.elpmaxe@nna` as an
# address.
_OVERRIDE = re.compile("[\u202d\u202e]")
_BLANK_FOLD = re.compile(rb"\n[ \t]*(?=\n|\Z)")
_LOCAL_END = re.compile(r"[A-Za-z0-9._+-]+\Z")
_DOMAIN_BEGIN = re.compile(r"[\w.-]+")


class Unclear(ValueError):
    """The field may not name exactly one mailbox."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The value of a field: the mailbox without its +tag, and all other text that a mail client may
    show."""

    address: Address
    shown: str


def parse(value: bytes) -> Mailbox:
    """Returns the mailbox in a field's value, which may be folded. Raises Unclear."""
    text = _unfolded(value)
    match = _NAMED.fullmatch(text) or _BARE.fullmatch(text)
    if not match or not _is_clear_name(match["name"]):
        raise Unclear
    try:
        address = senders.parse(match["address"])
    except BadAddress:
        raise Unclear from None
    shown = _decoded(f"{match['name']} {match['rest']}")
    if _OVERRIDE.search(shown):
        raise Unclear
    return Mailbox(address, shown)


def _is_clear_name(name: str) -> bool:
    """Returns whether all parsers agree on the dots and encoded words in a display name (RFC 2047
    5)."""
    if _FIRST_DOT.match(name) or name.endswith("."):
        return False
    words = _QUOTED_TEXT.sub(" ", name).split()
    return all(_ENCODED_WORD.fullmatch(word) for word in words if "=?" in word)


def shown_addresses(text: str) -> Iterator[tuple[str, str]]:
    """Yields each address that a person can read in a text, as local part without +tag and
    canonical domain. Raises Unclear.

    Compatibility characters (`＠`, full-width letters) count as the characters that they look like,
    and dots are as in UTS 46. Invisible characters are ignored.
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u3002", ".")
    plain = "".join(sign for sign in plain if unicodedata.category(sign) not in ("Cf", "Cc", "Mn"))
    parts = plain.replace("\\", "").split("@")
    if len(parts) > MOST_SHOWN:
        raise Unclear
    for before, after in itertools.pairwise(parts):
        local_part, domain = _LOCAL_END.search(before.rstrip()[-256:]), _DOMAIN_BEGIN.match(after.lstrip())
        try:
            host = parse_host(domain[0].strip("._-")) if domain else ""
        except BadAddress:
            continue
        if host:
            local = local_part[0].strip("._-") if local_part else ""
            yield local.partition("+")[0].lower(), host


def squeezed(value: bytes) -> str:
    """Returns all text that a receiver could read as part of an address, in one spelling, without
    white space, comments, quotes and invisible characters. For fields that `parse` finds
    unclear."""
    text = _decoded_or_raw(value.decode("utf-8", "replace"))
    plain = unicodedata.normalize("NFKC", text).lower().replace("\u3002", ".")
    plain = re.sub(r"\([^()]*\)", "", plain)
    return "".join(sign for sign in plain if sign.isalnum() or sign in ".-@")


def _decoded_or_raw(text: str) -> str:
    try:
        return _decoded(text)
    except Unclear:
        return text


def _unfolded(value: bytes) -> str:
    if len(value) > LONGEST_FIELD:
        raise Unclear
    lines = value.replace(b"\r\n", b"\n")
    if _BLANK_FOLD.search(lines):  # some parsers end the header at a line of white space
        raise Unclear
    try:
        text = re.sub(rb"\n(?=[ \t])", b"", lines).decode("utf-8")
    except UnicodeDecodeError:
        raise Unclear from None
    if _CONTROL.search(text):
        raise Unclear
    return text


def _decoded(text: str) -> str:
    """Returns a text as written, followed by the text with its encoded words (RFC 2047) decoded,
    also those in quotes. They are decoded twice: in their charset, and as Latin-1 for readers that
    do not know the charset or know another one of the same name. Raises Unclear."""
    if "=?" not in text:
        return text
    if text.count("=?") > MOST_ENCODED:
        raise Unclear
    try:
        parts = decode_header(text)
        words = [part.decode(charset or "latin-1") if isinstance(part, bytes) else part for part, charset in parts]
    except (HeaderParseError, LookupError, ValueError):
        raise Unclear from None
    plain = [part.decode("latin-1") if isinstance(part, bytes) else part for part, _ in parts]
    return f"{text} {''.join(words)} {''.join(plain)}"
