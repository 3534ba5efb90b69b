"""The TXT records of DKIM, DMARC, TLS-RPT and MTA-STS: which values receivers take for such a
record, and what is wrong with a value.

Each `…_fault` function returns None for a record that receivers use, else a sentence for the person
who published the record.
"""

import re
from collections.abc import Callable

Judge = Callable[[str], str | None]

_FOLD = " \t\r\n"
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TAG_VALUE = re.compile(rf"[\x21-\x3a\x3c-\x7e{_FOLD}]*")
_DMARC = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)", re.ASCII)
_DMARC_TAG = re.compile(r"[ \t]*([A-Za-z]+)[ \t]*=[ \t]*(.*)", re.ASCII | re.DOTALL)
_POLICIES = ("none", "quarantine", "reject")
_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=.+", re.ASCII | re.DOTALL)
_EXTENSION = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+")
_POLICY_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[a-z0-9._~:/?#\[\]@$&'()*+=%-]+", re.ASCII | re.IGNORECASE)


def dkim_fault(value: str, expected: str) -> str | None:
    """Judges a DKIM key record (RFC 6376 3.6.1) against the expected one."""
    pairs, wanted = _tag_list(value), dict(_tag_list(expected) or ())
    if pairs is None:
        return "The value must be a list of tags like name=value, with one ; between them."
    tags = dict(pairs)
    if len(tags) < len(pairs):
        return "The value has a tag more than once."
    if "v" in tags and pairs[0] != ("v", "DKIM1"):
        return "A value with a v= tag must begin with v=DKIM1, in this spelling: receivers ignore it otherwise."
    key = re.sub(rf"[{_FOLD}]", "", tags.get("p", "-"))
    if key == "-":
        return "The value has no p=."
    if not key:
        return "The record has an empty p=, which revokes the key: publish the whole expected value."
    if key != wanted["p"]:
        if wanted["p"].startswith(key):
            pieces = "publish the whole of it, in strings of at most 255 characters if the provider requires it"
            return f"The value is cut off after {len(value)} characters: {pieces}."
        return "Another key is published there: replace it with the expected value."
    if "y" in _items(tags.get("t", "")):
        return "The key is in test mode (t=y), so receivers treat mail as unsigned: publish the whole expected value."
    is_right = tags.get("k", "rsa") == wanted.get("k", "rsa")
    is_right = is_right and "sha256" in _items(tags.get("h", "sha256"))
    is_right = is_right and bool({"*", "email"} & set(_items(tags.get("s", "*"))))
    return None if is_right else "The key is right, but the tags beside it are not: publish the whole expected value."


def is_dmarc(value: str) -> bool:
    """Whether receivers take a value for a DMARC record (RFC 7489 6.6.3): its first tag is v, in
    this spelling."""
    return _DMARC.match(value) is not None


def dmarc_fault(value: str) -> str | None:
    """Judges a DMARC record (RFC 7489 6.3, 6.4). Receivers ignore unknown parts after the
    version."""
    if not is_dmarc(value):
        return "The record must begin with v=DMARC1 in capitals, and a semicolon: receivers ignore it otherwise."
    found = [tag for part in value.split(";") if (tag := _DMARC_TAG.fullmatch(part))]
    tags = {tag[1].lower(): tag[2].strip(_FOLD).lower() for tag in found}
    if len(tags) < len(found):
        return "The record has a tag more than once."
    if tags.get("p") not in _POLICIES:
        return "The record has no p= with none, quarantine or reject."
    if tags.get("sp", "none") not in _POLICIES:
        return "The record has an sp= that is not none, quarantine or reject."
    return None


def is_tls_rpt(value: str) -> bool:
    """Whether senders take a value for a TLS-RPT record (RFC 8460 3)."""
    return re.match(r"v=TLSRPTv1[ \t]*;", value) is not None


def tls_rpt_fault(value: str) -> str | None:
    """Judges a TLS-RPT record (RFC 8460 3)."""
    if not is_tls_rpt(value):
        return "The record must begin with v=TLSRPTv1; in this spelling: senders ignore it otherwise."
    fields = _fields(value)
    if fields is None:
        return "After the version there must be fields like name=value, with one ; between them and no other spaces."
    targets = [text for name, text in fields if name == "rua"]
    uris = [uri.strip(" \t") for uri in targets[0].split(",")] if len(targets) == 1 else []
    if not uris or not all(map(_URI.fullmatch, uris)):
        return "The record must have one rua=, with addresses like mailto:name@example.com or https://example.com/path."
    if not any(uri.lower().startswith(("mailto:", "https:")) for uri in uris):
        return "Its rua= has neither a mailto: nor an https: address."
    return None


def is_mta_sts(value: str) -> bool:
    """Whether senders take a value for an MTA-STS record (RFC 8461 3.1)."""
    return re.match(r"v=STSv1[ \t]*;", value) is not None


def mta_sts_fault(value: str) -> str | None:
    """Judges an MTA-STS record (RFC 8461 3.1)."""
    if not is_mta_sts(value):
        return "The record must begin with v=STSv1; in this spelling: senders ignore it otherwise."
    fields = _fields(value)
    if fields is None:
        return "After the version there must be fields like name=value, with one ; between them and no other spaces."
    ids = [text for name, text in fields if name == "id"]
    if len(ids) != 1 or not _POLICY_ID.fullmatch(ids[0]):
        return "The record must have one id=, of 1 to 32 letters and digits."
    return None


def _tag_list(value: str) -> list[tuple[str, str]] | None:
    """Returns the tags of a tag-list (RFC 6376 3.2) in their order; None if the value is not a
    tag-list."""
    parts = value.split(";")
    if not parts[-1].strip(_FOLD):
        parts.pop()
    pairs = [(name.strip(_FOLD), equals, text.strip(_FOLD)) for name, equals, text in (p.partition("=") for p in parts)]
    if not all(equals and _TAG_NAME.fullmatch(name) and _TAG_VALUE.fullmatch(text) for name, equals, text in pairs):
        return None
    return [(name, text) for name, _, text in pairs]


def _items(text: str) -> list[str]:
    return [item.strip(_FOLD) for item in text.split(":")]


def _fields(value: str) -> list[tuple[str, str]] | None:
    """Returns the fields after the version (RFC 8460 3, RFC 8461 3.1); None if one of them is
    malformed.

    White space is allowed only around semicolons and in the list of rua.
    """
    parts = value.split(";")[1:]
    if not parts[-1].strip(" \t"):
        parts.pop()
    elif parts[-1] != parts[-1].rstrip(" \t"):
        return None
    fields = [part.strip(" \t") for part in parts]
    if not fields or not all(map(_FIELD.fullmatch, fields)):
        return None
    pairs = [(name, text) for name, _, text in (field.partition("=") for field in fields)]
    if not all(name in ("rua", "id") or _EXTENSION.fullmatch(text) for name, text in pairs):
        return None
    return pairs
