"""Password hashes that come from other systems: which are accepted, and how they are stored.

Dovecot 2.3 and 2.4 can check an accepted hash, which costs less than a second for any password that
a client may send (decision 0255). A refusal never quotes the hash.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Literal

PasswordScheme = Literal["generated", "chosen", "imported"]
GENERATED: PasswordScheme = "generated"
SCHEMES: tuple[PasswordScheme, ...] = (GENERATED, "chosen", "imported")

LONGEST = 256  # characters
BCRYPT_MOST = 12  # as a power of two: about 0.3 s
CRYPT_MOST = 100_000  # rounds: about 0.6 s for a password of 511 bytes, the longest of crypt(3)
PBKDF2_MOST = 200_000  # rounds of HMAC-SHA-1: about 0.4 s
ARGON2_MOST = {"m": 65536, "t": 4, "p": 4}  # m in KiB: about 0.2 s

_C = "[./0-9A-Za-z]"
# The last character of a digest has fewer than six bits; other characters are never computed.
_BCRYPT = re.compile(rf"\$2[aby]\$([0-9]{{2}})\${_C}{{21}}[.Oeu]{_C}{{30}}[.CGKOSWaeimquy26]")
_CRYPTS = {
    "SHA512-CRYPT": re.compile(rf"\$6\$(?:rounds=([0-9]+)\$)?{_C}{{1,16}}\${_C}{{85}}[./01]"),
    "SHA256-CRYPT": re.compile(rf"\$5\$(?:rounds=([0-9]+)\$)?{_C}{{1,16}}\${_C}{{42}}[./0-9A-D]"),
}
_MD5_CRYPT = re.compile(rf"\$1\${_C}{{1,8}}\${_C}{{21}}[./01]")
_PBKDF2 = re.compile(rf"\$1\${_C}{{1,64}}\$([0-9]+)\$[0-9A-Fa-f]{{40}}")
_ARGON2 = re.compile(
    r"\$(argon2id?)\$v=19\$m=([1-9][0-9]*),t=([1-9][0-9]*),p=([1-9][0-9]*)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)
_SALTED = {"SSHA512": 64, "SSHA256": 32, "SSHA": 20}  # bytes of the digest, before the salt
_SCHEME = re.compile(r"\{([A-Za-z0-9.-]+)\}(.*)", re.DOTALL)
_BARE = {
    "$argon2id$": "ARGON2ID",
    **dict.fromkeys(("$2a$", "$2b$", "$2y$"), "BLF-CRYPT"),
    "$6$": "SHA512-CRYPT",
    "$5$": "SHA256-CRYPT",
    "$1$": "MD5-CRYPT",
}


class BadHash(ValueError):
    """The hash is refused. `message` names the rule and never contains the hash."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse(text: str) -> str:
    """Returns the stored form of a hash: Dovecot's name of the scheme in braces, then the digest.
    Raises BadHash: `too_long`, `outer_space`, `unknown_scheme`, `malformed` or `too_costly`."""
    if len(text) > LONGEST:
        raise BadHash("too_long", f"A password hash must have at most {LONGEST} characters.")
    if text != text.strip():
        raise BadHash("outer_space", "There is white space before or after the hash.")
    scheme, digest = _split(text)
    _CHECKS[scheme](scheme, digest)
    return f"{{{scheme}}}{digest}"


def _split(text: str) -> tuple[str, str]:
    """The scheme and the digest. A bare digest of crypt(3) or Argon2 names its scheme itself."""
    for start, scheme in _BARE.items():
        if text.startswith(start):
            return scheme, text
    found = _SCHEME.fullmatch(text)
    scheme = found[1].upper() if found else ""
    if found is None or scheme not in _CHECKS:
        raise BadHash("unknown_scheme", f"Use one of: {', '.join(f'{{{name}}}' for name in _CHECKS)}. {_BARE_HINT}")
    return scheme, found[2]


def _malformed(scheme: str) -> BadHash:
    return BadHash("malformed", f"This is no digest of {{{scheme}}}: its form or its length is wrong.")


def _bounded(what: str, text: str, most: int) -> None:
    """Checks a cost. Text longer than the bound is not made into a number."""
    if len(text) > len(str(most)) or int(text) > most:
        raise BadHash("too_costly", f"Each login would cost too much: {what} may be at most {most}.")


def _check_bcrypt(scheme: str, digest: str) -> None:
    found = _BCRYPT.fullmatch(digest)
    if found is None or int(found[1]) < 4:
        raise _malformed(scheme)
    _bounded("the cost", found[1], BCRYPT_MOST)


def _check_crypt(scheme: str, digest: str) -> None:
    found = _CRYPTS[scheme].fullmatch(digest)
    if found is None:
        raise _malformed(scheme)
    if found[1] is not None:
        _bounded("rounds", found[1], CRYPT_MOST)
        if found[1].startswith("0") or int(found[1]) < 1000:  # crypt(3) refuses such a setting
            raise _malformed(scheme)


def _check_md5_crypt(scheme: str, digest: str) -> None:
    if _MD5_CRYPT.fullmatch(digest) is None:
        raise _malformed(scheme)


def _check_pbkdf2(scheme: str, digest: str) -> None:
    found = _PBKDF2.fullmatch(digest)
    if found is None or found[1].startswith("0"):
        raise _malformed(scheme)
    _bounded("rounds", found[1], PBKDF2_MOST)


def _check_argon2(scheme: str, digest: str) -> None:
    found = _ARGON2.fullmatch(digest)
    if found is None or found[1] != scheme.lower():
        raise _malformed(scheme)
    for (name, most), given in zip(ARGON2_MOST.items(), found.group(2, 3, 4), strict=True):
        _bounded(name, given, most)
    salt, hashed = (_decoded(scheme, f"{part}{'=' * (-len(part) % 4)}") for part in found.group(5, 6))
    if int(found[2]) < 8 * int(found[4]) or len(salt) < 8 or len(hashed) < 16:  # RFC 9106 3.1; libsodium's bounds
        raise _malformed(scheme)


def _check_salted(scheme: str, digest: str) -> None:
    if not 1 <= len(_decoded(scheme, digest)) - _SALTED[scheme] <= 64:
        raise _malformed(scheme)


def _decoded(scheme: str, text: str) -> bytes:
    """Decodes base64 in its one spelling."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(scheme) from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise _malformed(scheme)
    return raw


_CHECKS: dict[str, Callable[[str, str], None]] = {
    "ARGON2ID": _check_argon2,
    "ARGON2I": _check_argon2,
    "BLF-CRYPT": _check_bcrypt,
    "SHA512-CRYPT": _check_crypt,
    "SHA256-CRYPT": _check_crypt,
    "PBKDF2": _check_pbkdf2,
    "SSHA512": _check_salted,
    "SSHA256": _check_salted,
    "SSHA": _check_salted,
    "MD5-CRYPT": _check_md5_crypt,
}
_BARE_HINT = "Only $argon2id$, $2a$, $2b$, $2y$, $6$, $5$ and $1$ may stand without braces."
