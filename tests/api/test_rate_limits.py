"""Rate limits: calls by key, and wrong keys by address. The tests move a clock instead of
waiting."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from postroom.api.rate_limits import MOST, WRONG_KEYS, Rate, RateLimiter, Windows, network_of, parse_rate
from postroom.auth import keys
from postroom.auth.tokens import digest
from postroom.errors import TooMany
from postroom.settings import Settings
from tests.api.raw import CREATE, PATH, create_raw
from tests.harness.server import ApiServer, Response, Tenant

WRONG = WRONG_KEYS.calls


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextmanager
def limited(url: str, clock: Clock, **settings: object) -> Iterator[Tenant]:
    """A tenant on a server of its own with a rate limit."""
    with ApiServer.start(url, Settings(**{"rate_limit": "3/minute", **settings}), clock) as server:  # type: ignore[arg-type]
        yield server.new_tenant()


def state(answer: Response) -> tuple[int, int]:
    """The calls that are left, and the seconds until all are available again."""
    found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert found, answer.headers
    return int(found[1]), int(found[2])


def test_it_works(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="6000/minute") as tenant:
        answer = tenant.get(PATH)
    assert answer.status == 200
    assert answer.headers["ratelimit-policy"] == '"default";q=6000;w=60'
    assert answer.headers["ratelimit"] == '"default";r=5999;t=60'
    assert "retry-after" not in answer.headers


def test_a_key_that_calls_too_often_waits(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock) as tenant:
        assert [state(tenant.get(PATH)) for _ in range(3)] == [(2, 60), (1, 60), (0, 60)]
        clock.now += 17.5
        before = len(tenant.api.database.write_sync(lambda tx: tx.all("SELECT id FROM events")))
        for _ in range(2):
            refused = tenant.create()
            assert (refused.status, refused.code) == (429, "too_many_requests")
            assert refused.headers["retry-after"] == "43"
            assert state(refused) == (0, 43)
            assert refused.headers["ratelimit-policy"] == '"default";q=3;w=60'
        assert len(tenant.api.database.write_sync(lambda tx: tx.all("SELECT id FROM events"))) == before
        clock.now += float(refused.headers["retry-after"])
        assert state(tenant.get(PATH)) == (2, 60)


def test_every_key_has_its_own(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock) as tenant:
        stranger = tenant.api.new_tenant()
        for _ in range(4):
            last = tenant.get(PATH)
        assert last.status == 429
        assert tenant.get(PATH, key=tenant.new_key()).status == 200
        assert state(stranger.get(PATH)) == (2, 60)


def test_keys_that_a_key_makes_share_its_limit(database_url: str, clock: Clock) -> None:
    """Otherwise a key could raise its own limit by creating keys."""
    with limited(database_url, clock) as tenant:
        child = tenant.post("/v2/keys", {}).json["api_key"]
        grandchild = tenant.post("/v2/keys", {}, key=child).json["api_key"]
        assert state(tenant.get(PATH, key=grandchild)) == (0, 60)
        assert {tenant.get(PATH, key=key).status for key in (tenant.key, child, grandchild)} == {429}
        assert state(tenant.get(PATH, key=tenant.new_key())) == (2, 60)


ANSWERS: list[tuple[int, Callable[[Tenant], Response]]] = [
    (200, lambda t: t.request("HEAD", PATH)),
    (201, lambda t: t.create()),
    (400, lambda t: t.get(PATH, limit=0)),
    (400, lambda t: t.get(f"{PATH}/%ff")),
    (403, lambda t: t.get(PATH, key=t.new_key(scopes=[]))),
    (404, lambda t: t.get("/v2/nothing")),
    (405, lambda t: t.get(CREATE)),
    (409, lambda t: t.create("postmaster")),
    (413, lambda t: create_raw(t, b"x" * 70_000)),
    (415, lambda t: create_raw(t, b"{}", "text/plain")),
]


def test_every_authenticated_answer_tells_and_counts(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="1000/hour") as tenant:
        for status, ask in ANSWERS:
            before = state(tenant.get(PATH))[0]
            answer = ask(tenant)
            assert answer.status == status
            assert answer.headers["ratelimit-policy"] == '"default";q=1000;w=3600'
            assert state(answer)[0] == (999 if status == 403 else before - 1)


def test_429_comes_before_whatever_the_request_is(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock) as tenant:
        for _ in range(3):
            tenant.get(PATH)
        assert [ask(tenant).status for status, ask in ANSWERS if status != 403] == [429] * (len(ANSWERS) - 1)


def test_what_is_not_counted(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock) as tenant:
        for _ in range(WRONG + 3):
            tenant.api.request("GET", PATH)
        assert tenant.api.request("GET", PATH).status == 429
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs/", "/nothing"):
            answers = [tenant.get(path) for _ in range(5)] + [tenant.api.request("GET", path)]
            assert {answer.status for answer in answers} == {404 if path == "/nothing" else 200}
            assert not [answer for answer in answers if "ratelimit" in answer.headers]
        clock.now += WRONG_KEYS.seconds
        assert state(tenant.get(PATH)) == (2, 60)


def test_off(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="off") as tenant:
        answers = [tenant.get(PATH) for _ in range(5)]
        assert {answer.status for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers
        assert "ratelimit-policy" not in answers[0].headers
        assert {tenant.get(PATH, key="pr_wrong").status for _ in range(WRONG + 2)} == {401}


def test_workers_share_the_limit(database_url: str, clock: Clock) -> None:
    for workers, share in ((2, 3), (4, 1), (7, 1)):
        with limited(database_url, clock, rate_limit="7/minute", workers=workers) as tenant:
            answers = [tenant.get(PATH) for _ in range(share + 1)]
            assert [answer.status for answer in answers] == [200] * share + [429]
            assert answers[0].headers["ratelimit-policy"] == f'"default";q={share};w=60'
            wrong = [tenant.api.request("GET", PATH).status for _ in range(WRONG // workers + 1)]
            assert wrong == [401] * (WRONG // workers) + [429]


# --- wrong keys


@pytest.mark.parametrize("key", [None, "pr_wrong"])
def test_wrong_keys_are_limited_by_address(
    database_url: str, clock: Clock, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = keys.authenticate
    monkeypatch.setattr(keys, "authenticate", lambda tx, key, address: asked.append(key) or real(tx, key, address))
    with limited(database_url, clock) as tenant:
        answers = [tenant.get(PATH, key=key) for _ in range(WRONG)]
        assert {(answer.status, answer.code) for answer in answers} == {(401, "unauthorized")}
        assert "ratelimit" not in answers[0].headers
        asked.clear()
        clock.now += 20
        for other in (key, "pr_other", None):
            refused = tenant.get(PATH, key=other)
            assert (refused.status, refused.code) == (429, "too_many_requests")
            assert refused.headers["retry-after"] == "40"
            assert "ratelimit" not in refused.headers
        assert asked == []
        clock.now += 40
        assert tenant.get(PATH, key=key).status == 401


def test_a_right_key_is_not_punished_for_its_neighbours(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock) as tenant:
        assert tenant.get(PATH).status == 200
        for _ in range(WRONG + 1):
            last = tenant.get(PATH, key="pr_wrong")
        assert last.status == 429
        assert tenant.get(PATH).status == 200
        new = tenant.new_key()
        assert tenant.get(PATH, key=new).status == 429  # this process has not seen the key before
        clock.now += 60
        assert tenant.get(PATH, key=new).status == 200


def test_a_revoked_key_is_wrong_even_where_it_was_right(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="1000/minute") as tenant:
        assert tenant.get(PATH).status == 200
        for _ in range(WRONG + 1):
            tenant.get(PATH, key="pr_wrong")
        sql = "UPDATE api_keys SET revoked_at = :now WHERE digest = :digest"
        tenant.api.database.write_sync(lambda tx: tx.run(sql, now=tx.now, digest=digest(tenant.key)))
        assert tenant.get(PATH).status == 401


def test_addresses_are_counted_behind_a_trusted_proxy(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, trusted_proxies="127.0.0.0/8") as tenant:

        def ask(address: str) -> int:
            return tenant.get(PATH, key="pr_wrong", headers={"x-forwarded-for": address}).status

        for number in range(WRONG):
            assert ask(f"2001:db8:0:1::{number:x}") == 401
        assert ask("2001:db8:0:1:ffff::1") == 429
        assert ask("2001:db8:0:2::1") == 401
        assert ask("203.0.113.7") == 401


# --- the arithmetic


def test_networks() -> None:
    assert network_of("203.0.113.7") == "203.0.113.7"
    assert network_of("::ffff:203.0.113.7") == "203.0.113.7"
    assert network_of("2001:db8::1") == network_of("2001:DB8:0:0:ffff::2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("") == ""


def test_rates() -> None:
    assert parse_rate("off") is None
    rates = {text: parse_rate(text) for text in ("5/second", "6000/minute", "1/hour", "999999999999/day")}
    assert list(rates.values()) == [(5, 1), (6000, 60), (1, 3600), (999_999_999_999, 86_400)]


def test_a_window_ends_when_it_says(clock: Clock) -> None:
    windows = Windows(Rate(2, 10), clock)
    assert windows.consume("a") == (1, 10)
    clock.now += 9
    assert windows.consume("a") == (0, 1)
    assert windows.wait("a") == 1
    assert windows.wait("b") == 0
    assert windows.consume("a") == (-1, 1)
    assert windows.consume("b") == (1, 10)
    clock.now += 1
    assert windows.wait("a") == 0
    assert windows.consume("a") == (1, 10)


def test_memory_is_bounded(clock: Clock) -> None:
    windows = Windows(Rate(1, 60), clock, most=100)
    windows.consume("first")
    for number in range(99):
        windows.consume(number)
    assert windows.consume("first")[0] == -1
    for number in range(100, 1100):
        windows.consume(number)
        assert len(windows) <= 100
    assert windows.consume(1099)[0] == -1  # the newest is still known
    assert windows.consume("first")[0] == 0  # the oldest was dropped


def test_expired_windows_are_removed(clock: Clock) -> None:
    windows = Windows(Rate(1, 60), clock)
    for number in range(100):
        windows.consume(number)
    clock.now += 60
    for _ in range(101):
        windows.consume("one")
        clock.now += 60
    assert len(windows) == 1


def test_right_keys_are_remembered_in_bounds(clock: Clock) -> None:
    limits = RateLimiter(Rate(1, 60), clock=clock)
    for number in range(MOST + 1):
        limits.remember_key(f"pr_{number}")
    for _ in range(WRONG):
        limits.record_failure("203.0.113.7")
    limits.check_address("203.0.113.7", f"pr_{MOST}")
    limits.check_address("203.0.113.8", "pr_0")
    with pytest.raises(TooMany):
        limits.check_address("203.0.113.7", "pr_0")
    assert "pr_" not in repr(vars(limits))  # hashes of keys only
