"""Finds out whether a Sieve script (RFC 5228) forwards mail. The text is only read, never run.

A script counts as forwarding if it contains the action `redirect`, or includes a script that does
(RFC 6609), even behind a condition that is never true (decision 0169). Text in a comment or string
is not an action.
"""

import re
from collections.abc import Mapping

# RFC 5228 2.3, 2.4.2, 8.1: comments, multi-line strings, quoted strings, then identifiers and tags,
# in this order.
_TOKEN = re.compile(
    r"""
      \#[^\n]* | /\*.*?(?:\*/|\Z)
    | text:[ \t]*(?:\#[^\n]*)?\r?\n(?P<lines>.*?)(?:^\.\r?$|\Z)
    | "(?P<string>(?:\\.|[^"\\])*)(?:"|\Z)
    | (?P<word>:?[a-z_][a-z0-9_]*)
    """,
    re.IGNORECASE | re.DOTALL | re.MULTILINE | re.VERBOSE,
)

# RFC 5228 2.4.2.4: octets, or characters of Unicode, in hexadecimal.
_ENCODED = re.compile(
    rb"\$\{(?:hex:(?P<octets>(?:\s*[0-9a-f]{1,2}(?![0-9a-f]))+)"
    rb"|unicode:(?P<characters>(?:\s*0*[0-9a-f]{1,6}(?![0-9a-f]))+))\s*\}",
    re.IGNORECASE,
)
LAST_CHARACTER = 0x10FFFF


def forwards(name: str, scripts: Mapping[str, str]) -> bool:
    """Returns whether the script of this name redirects mail. An included script that is missing
    does nothing."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in seen or name not in scripts:
            continue
        seen.add(name)
        actions, included = _read(scripts[name])
        if "redirect" in actions:
            return True
        waiting += included
    return False


def _read(script: str) -> tuple[set[str], list[str]]:
    """Returns the identifiers of a script, and the names that follow `include`."""
    words: set[str] = set()
    included: list[str] = []
    command = ""
    for token in _TOKEN.finditer(script):
        if word := token["word"]:
            if not word.startswith(":"):
                command = word.lower()
                words.add(command)
        elif command == "include":
            if token["string"] is not None:
                name = re.sub(r"\\(.)", r"\1", token["string"], flags=re.DOTALL)
                included += [name, _decoded(name)]
            elif token["lines"] is not None:
                included.append(re.sub(r"^\.\.", ".", token["lines"], flags=re.MULTILINE).strip("\r\n"))
    return words, included


def _decoded(name: str) -> str:
    """Returns a name as the extension encoded-character reads it."""

    def read(found: re.Match[bytes]) -> bytes:
        if found["octets"]:
            return bytes(int(number, 16) for number in found["octets"].split())
        numbers = (int(number, 16) for number in found["characters"].split())
        return "".join(chr(min(number, LAST_CHARACTER)) for number in numbers).encode(errors="replace")

    return _ENCODED.sub(read, name.encode(errors="replace")).decode(errors="replace")
