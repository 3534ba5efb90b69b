"""The cookies of sessions: of the console, and of the owner's page. Each has two names, because a
browser accepts a `__Host-` cookie over HTTPS only, and no other host can set it (RFC 6265bis
4.1.3.2).
"""

import hashlib
import hmac
from typing import NamedTuple

from postroom.api.exchange import Headers

Cookies = tuple[tuple[bytes, bytes], ...]


class CookieNames(NamedTuple):
    """The names of a session's cookie."""

    plain: bytes
    secure: bytes


CONSOLE = CookieNames(b"postroom", b"__Host-postroom")
OWNER = CookieNames(b"postroom-me", b"__Host-postroom-me")


def session_token(headers: Headers, names: CookieNames = CONSOLE) -> str | None:
    """The token in the cookie of a session, or None. If the cookie whose name only TLS can set is
    present, the other cookie is ignored. Two different values under one name count as none."""
    pairs = [pair.strip().partition(b"=") for n, value in headers if n == b"cookie" for pair in value.split(b";")]
    secure = {value for name, _, value in pairs if name == names.secure}
    found = secure or {value for name, _, value in pairs if name == names.plain}
    return value.decode("ascii", "replace") if len(found) == 1 and 0 < len(value := found.pop()) <= 200 else None


def set_session(headers: Headers, names: CookieNames, token: str, seconds: int | None) -> Cookies:
    """The headers that give a browser a session, which ends with the browser if `seconds` is
    None."""
    origin = next((value for name, value in headers if name == b"origin"), b"")
    name, other = (names.secure, names.plain) if origin.startswith(b"https://") else (names.plain, names.secure)
    return (_cookie(other, b"", 0), _cookie(name, token.encode(), seconds))


def end_session(names: CookieNames) -> Cookies:
    """The headers with which a browser forgets a session."""
    return tuple(_cookie(name, b"", 0) for name in (names.secure, names.plain))


def csrf_token(token: str) -> str:
    """Returns the value that our own pages send with every write of a session. It reveals nothing
    about the session's token."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"postroom csrf", hashlib.sha256).hexdigest()


def _cookie(name: bytes, value: bytes, seconds: int | None) -> tuple[bytes, bytes]:
    lasts = b"" if seconds is None else b"; Max-Age=%d" % seconds
    secure = b"; Secure" if name.startswith(b"__Host-") else b""
    return b"set-cookie", name + b"=" + value + b"; Path=/" + lasts + b"; HttpOnly; SameSite=Strict" + secure
