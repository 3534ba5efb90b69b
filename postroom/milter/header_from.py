"""From, Sender and the Resent fields of RFC 5322, read so strictly that every receiver reads the
same mailbox.

Narrower than RFC 5322 3.4 (decision 0136): exactly one mailbox, no group, no route, no quoted local
part, no comment or white space in the address, no nested comment. Wider: a name may have dots
(obs-phrase) and UTF-8 (RFC 6532), which clients send.
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

# Octets of one field; addresses in one display name; encoded words, each of which Python looks for
# the end of.
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
# Text from right to left, whatever its letters are: `moc.elpmaxe@nna` is shown as an address.
_OVERRIDE = re.compile("[\u202d\u202e]")
_BLANK_FOLD = re.compile(rb"\n[ \t]*(?=\n|\Z)")
_LOCAL_END = re.compile(r"[A-Za-z0-9._+-]+\Z")
_DOMAIN_BEGIN = re.compile(r"[\w.-]+")


class Unclear(ValueError):
    """The field does not name exactly one mailbox for certain."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """What a field names: the mailbox without its tag, and all the text that a reader may be
    shown beside it."""

    address: Address
    shown: str


def parse(value: bytes) -> Mailbox:
    """The one mailbox of a field's value, which may be folded. Raises Unclear."""
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
    """Whether dots and encoded words of a display name stand where parsers agree on them (RFC
    2047 5)."""
    if _FIRST_DOT.match(name) or name.endswith("."):
        return False
    words = _QUOTED_TEXT.sub(" ", name).split()
    return all(_ENCODED_WORD.fullmatch(word) for word in words if "=?" in word)


def shown_addresses(text: str) -> Iterator[tuple[str, str]]:
    """Each address that a person can read in a text, as local part without tag and canonical
    domain.

    Compatibility characters (`＠`, full-width letters) are read as what they look like, dots as in
    UTS 46; invisible ones are left out.
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
    """All that a receiver could take for part of an address, in one spelling: without white
    space, comments, quotes and what is invisible. For fields that `parse` finds unclear."""
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
    if _BLANK_FOLD.search(lines):  # a line of white space alone ends the header for some
        raise Unclear
    try:
        text = re.sub(rb"\n(?=[ \t])", b"", lines).decode("utf-8")
    except UnicodeDecodeError:
        raise Unclear from None
    if _CONTROL.search(text):
        raise Unclear
    return text


def _decoded(text: str) -> str:
    """A text as written and with its encoded words (RFC 2047) decoded, which are honoured in
    quotes too: as their charset has it, and as ASCII, for those who know another charset of this
    name or none."""
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
