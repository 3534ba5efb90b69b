"""The Content-Type header (RFC 9110 8.3.1): strict in the type, lenient in its parameters
(decision 0133).

A parameter that is not known is ignored, whatever it looks like. `charset` must say UTF-8 where
it says something: a body in another encoding would be read wrongly.
"""

import re
from collections.abc import Sequence

_TYPE = re.compile(rb"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:;(.*))?", re.DOTALL)
# One parameter, up to the semicolon behind it; a quoted value may have semicolons in it.
_PARAMETER = re.compile(
    rb'[ \t]*([^;="]*?)[ \t]*(?:=[ \t]*("(?:[^"\\]|\\.)*+"|[^;"]*)[^;]*|"[^;]*)?(?:;|\Z)', re.DOTALL
)
_CHARSETS = (b"", b"utf-8", b"utf8", b"us-ascii")


def is_one_of(content_type: bytes, types: Sequence[bytes]) -> bool:
    """Whether a Content-Type is one of these types, which are in lower case, in UTF-8."""
    if content_type in types:
        return True
    found = _TYPE.fullmatch(content_type)
    return found is not None and found[1].lower() in types and all(map(_is_utf_8, _charsets(found[2] or b"")))


def _charsets(parameters: bytes) -> list[bytes]:
    pairs = (match.groups(b"") for match in _PARAMETER.finditer(parameters))
    return [value for name, value in pairs if name.lower() == b"charset"]


def _is_utf_8(value: bytes) -> bool:
    if value.startswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)
    return value.strip(b" \t").lower() in _CHARSETS
