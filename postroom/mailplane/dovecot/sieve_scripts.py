"""Whether a Sieve script (RFC 5228) sends mail on. Pure: the text is read, never run.

A script is said to forward where the action `redirect` stands in it, or in a script that it
includes (RFC 6609), also behind a condition that is never true (decision 0169). What stands in a
comment or in a string is no action.
"""

import re
from collections.abc import Mapping

# RFC 5228 2.3, 2.4.2, 8.1: comments, multi-line and quoted strings, then identifiers and tags. In
# this order.
_TOKEN = re.compile(
    r"""
      \#[^\n]* | /\*.*?(?:\*/|\Z)
    | text:[ \t]*(?:\#[^\n]*)?\r?\n(?P<lines>.*?)(?:^\.\r?$|\Z)
    | "(?P<string>(?:\\.|[^"\\])*)(?:"|\Z)
    | (?P<word>:?[a-z_][a-z0-9_]*)
    """,
    re.IGNORECASE | re.DOTALL | re.MULTILINE | re.VERBOSE,
)


def forwards(name: str, scripts: Mapping[str, str]) -> bool:
    """Whether the script of this name redirects mail. An included script that is not there does
    nothing."""
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


def includes(script: str) -> list[str]:
    """The names of the scripts that a script includes."""
    return _read(script)[1]


def _read(script: str) -> tuple[set[str], list[str]]:
    """The identifiers of a script, and the names that follow `include`."""
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
                included.append(re.sub(r"\\(.)", r"\1", token["string"], flags=re.DOTALL))
            elif token["lines"] is not None:
                included.append(re.sub(r"^\.\.", ".", token["lines"], flags=re.MULTILINE).strip("\r\n"))
    return words, included
