"""Our router compared with Starlette's: the same status and the same Allow header for the same path
and method."""

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router as StarletteRouter

from postroom.api.router import BadPath, Router, split_path
from postroom.api.routes import ROUTES

OURS = Router(ROUTES)
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
WORDS = sorted({part for route in ROUTES for part in route.path.split("/") if part and part[0] != ":"})


async def _found(_request: Any) -> Response:
    return Response()


def _starlette() -> StarletteRouter:
    """The table of routes in Starlette's router, one route per path. `:id` and `:message_id` match
    digits only, so that a literal segment is never taken for an id."""
    methods: dict[str, list[str]] = {}
    for route in ROUTES:
        methods.setdefault(route.path, []).append(route.method)
    routes = [
        StarletteRoute(re.sub(r":(\w+)", r"{\1}", path).replace("id}", "id:int}"), _found, methods=names)
        for path, names in methods.items()
    ]
    return StarletteRouter(routes, redirect_slashes=False)


THEIRS = _starlette()


def theirs(method: str, path: str) -> tuple[int, set[str]]:
    sent: list[Any] = []

    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b"", "root_path": ""}
        await THEIRS(scope, receive, send)

    asyncio.run(run())
    allow = dict(sent[0]["headers"]).get(b"allow", b"").decode()
    return sent[0]["status"], {name for name in allow.split(", ") if name}


def ours(method: str, path: str) -> tuple[int, set[str]]:
    found = OURS.find(split_path(path.encode()))
    if found is None:
        return 404, set()
    endpoint, _ = found
    if method in endpoint.methods or (method == "HEAD" and "GET" in endpoint.methods):
        return 200, set()
    return 405, set(endpoint.allow.split(", "))


# A segment: a literal of the table, an id, an empty segment, or anything else.
segment = st.one_of(
    st.sampled_from(WORDS),
    st.integers(0, 10**20).map(str),
    st.sampled_from(["", ".", "..", "a.test", "V2"]),
    st.text("abc.-_~!$&'()*+,;=:@", min_size=1, max_size=8),
)
table_path = st.sampled_from([route.path for route in ROUTES]).flatmap(
    lambda path: st.tuples(
        *(st.just(p) if p[:1] != ":" else st.integers(0, 10**20).map(str) for p in path.split("/")[1:])
    ).map(list)
)
mangled = st.tuples(table_path, st.integers(0, 5), segment).map(
    lambda drawn: [*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]]
)
paths = st.one_of(table_path, mangled, st.lists(segment, max_size=7)).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=600)
@given(st.sampled_from(METHODS), paths)
def test_it_agrees_with_starlettes(method: str, path: str) -> None:
    status, allow = ours(method, path)
    # Starlette answers 404 for an invalid id. Our handler does so too, but only after the method
    # matched.
    if _word_for_an_id(path):
        assert theirs(method, path)[0] in (404, status)
    else:
        assert (status, allow) == theirs(method, path)


def _word_for_an_id(path: str) -> bool:
    """Whether a path is a route's, but for a word in the place of an id."""
    patterns = {re.sub(r":\w+", "[^/]+", re.sub(r":(message_)?id", "([^/]+)", route.path)) for route in ROUTES}
    matches = filter(None, (re.fullmatch(pattern, path) for pattern in patterns))
    is_literal = path in {route.path for route in ROUTES}
    return not is_literal and any(not found.isdigit() for match in matches for found in match.groups())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_found(route: Any) -> None:
    path = re.sub(r":\w+", "7", route.path)
    found = OURS.find(split_path(path.encode()))
    assert found
    endpoint, values = found
    assert endpoint.methods[route.method] is route
    assert sorted(values) == sorted(re.findall(r":(\w+)", route.path))
    assert ours(route.method, path) == theirs(route.method, path) == (200, set())


@settings(max_examples=300)
@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8), min_size=1))
def test_what_was_encoded_is_decoded_once(parts: list[str]) -> None:
    encoded = "".join("/" + "".join(f"%{byte:02X}" for byte in part.encode()) for part in parts)
    assert split_path(encoded.encode()) == parts


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_path_or_a_bad_path(raw: bytes) -> None:
    try:
        parts = split_path(b"/" + raw)
    except BadPath:
        return
    assert len(parts) == raw.count(b"/") + 1
    assert not any("\0" in part for part in parts)


def test_a_literal_goes_before_a_parameter() -> None:
    assert ours("GET", "/v2/email-accounts/create") == (405, {"POST"})
    assert ours("PUT", "/v2/email-accounts/delete") == (405, {"POST"})
    assert ours("GET", "/v2/email-accounts/created")[0] == 200
    assert ours("GET", "/v2/email-accounts/")[0] == 404
