"""Finding the route of a path. What it handles: HEAD as GET; a literal segment before a parameter, so that
`GET /v2/email-accounts/create` is 405 and never an id; `%2F` inside a parameter stays inside it; NUL and what is
not UTF-8 are refused; a trailing or doubled slash is another path; `:name` never matches an empty segment; Outlook
spells the path of Autodiscover in any mixture of cases.

tests/api/test_router.py compares it with Starlette's router over generated paths and methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from postroom.api.routes import Route

AUTODISCOVER = ["autodiscover", "autodiscover.xml"]


class BadPath(ValueError):
    """A path that is not UTF-8, or holds NUL."""


@dataclass(slots=True)
class Endpoint:
    """A path of the table with its methods."""

    segments: tuple[str, ...]
    methods: dict[str, Route] = field(default_factory=dict)

    @property
    def allow(self) -> str:
        """The Allow header: HEAD comes with GET."""
        methods = {*self.methods, *(("HEAD",) if "GET" in self.methods else ())}
        return ", ".join(sorted(methods))


class Router:
    """The table, arranged for looking up."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[Endpoint]] = {}
        for route in routes:
            self._endpoint(tuple(route.path.split("/")[1:])).methods[route.method] = route
        for endpoints in self._by_length.values():
            endpoints.sort(key=lambda endpoint: [segment.startswith(":") for segment in endpoint.segments])

    def _endpoint(self, segments: tuple[str, ...]) -> Endpoint:
        endpoints = self._by_length.setdefault(len(segments), [])
        for endpoint in endpoints:
            if endpoint.segments == segments:
                return endpoint
        endpoints.append(Endpoint(segments))
        return endpoints[-1]

    def find(self, segments: Sequence[str]) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a path and the parameters in it."""
        for endpoint in self._by_length.get(len(segments), ()):
            values: dict[str, str] = {}
            for wanted, got in zip(endpoint.segments, segments, strict=True):
                if wanted[:1] == ":" and got:
                    values[wanted[1:]] = got
                elif wanted != got:
                    break
            else:
                return endpoint, values
        folded = [segment.lower() for segment in segments]
        return self.find(folded) if folded == AUTODISCOVER != list(segments) else None


def split_path(raw: bytes) -> list[str]:
    """The segments of a path as it was sent, each percent-decoded. Raises BadPath."""
    try:
        if b"%" not in raw:
            segments = raw.decode("ascii").split("/")[1:]
        else:
            segments = [unquote_to_bytes(part).decode("utf-8") for part in raw.split(b"/")[1:]]
    except UnicodeDecodeError:
        raise BadPath from None
    if any("\0" in segment for segment in segments):
        raise BadPath
    return segments
