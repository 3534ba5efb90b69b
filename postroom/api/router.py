"""Finds the route of a path. HEAD counts as GET. A literal segment goes before a parameter, so that
`GET /v2/email-accounts/create` is 405 and never an id. `%2F` inside a parameter stays inside it.
NUL and bytes that are not UTF-8 are refused. A trailing or doubled slash makes another path, and
`:name` never matches an empty segment. Outlook spells the path of Autodiscover in any mix of upper
and lower case.

tests/api/test_router.py compares this router with Starlette's over generated paths and methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from postroom.api.route import Route

AUTODISCOVER = ["autodiscover", "autodiscover.xml"]


class BadPath(ValueError):
    """A path that is not UTF-8, or contains NUL."""


@dataclass(slots=True)
class Endpoint:
    """A path of the table with its methods."""

    methods: dict[str, Route] = field(default_factory=dict)

    @property
    def allow(self) -> str:
        """The value of the Allow header; GET implies HEAD."""
        methods = {*self.methods, *(("HEAD",) if "GET" in self.methods else ())}
        return ", ".join(sorted(methods))


@dataclass(slots=True)
class _Branch:
    """A node of the tree: the segments that may follow, and the endpoint of a path that ends
    here."""

    words: dict[str, "_Branch"] = field(default_factory=dict)
    parameters: dict[str, "_Branch"] = field(default_factory=dict)
    endpoint: Endpoint | None = None


class Router:
    """The table of routes as a tree of segments."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._root = _Branch()
        for route in routes:
            branch = self._root
            for segment in route.path.split("/")[1:]:
                if segment[:1] == ":":
                    branch = branch.parameters.setdefault(segment[1:], _Branch())
                else:
                    branch = branch.words.setdefault(segment, _Branch())
            branch.endpoint = branch.endpoint or Endpoint()
            branch.endpoint.methods[route.method] = route

    def find(self, segments: Sequence[str]) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a path and the parameters in the path, or None."""
        if found := _find(self._root, segments, 0):
            return found
        folded = [segment.lower() for segment in segments]
        return _find(self._root, folded, 0) if folded == AUTODISCOVER else None


def _find(branch: _Branch, segments: Sequence[str], depth: int) -> tuple[Endpoint, dict[str, str]] | None:
    if depth == len(segments):
        return (branch.endpoint, {}) if branch.endpoint else None
    segment = segments[depth]
    if (word := branch.words.get(segment)) and (found := _find(word, segments, depth + 1)):
        return found
    for name, parameter in branch.parameters.items() if segment else ():
        if found := _find(parameter, segments, depth + 1):
            found[1][name] = segment
            return found
    return None


def split_path(raw: bytes) -> list[str]:
    """The segments of a path as it was sent, each percent-decoded. Raises BadPath."""
    try:
        if b"%" not in raw and b"\0" not in raw:
            return raw.decode("ascii").split("/")[1:]
        segments = [unquote_to_bytes(part).decode("utf-8") for part in raw.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise BadPath from None
    if any("\0" in segment for segment in segments):
        raise BadPath
    return segments
