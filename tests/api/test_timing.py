"""What is foreign takes as long as what is missing. (The bytes are compared in test_tenancy.py.)

This is no assertion on time in the common sense. Pairs of requests are interleaved, so that
noise meets both; the median of their differences is judged, with more pairs before a verdict of
guilty.
"""

import http.client
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

import pytest

from postroom.api.route import Route
from postroom.domains import dkim
from tests.api.test_tenancy import ABOUT, GUARDED, LISTS, MAKES, NOTHING, Ask, Thing, asks, claim, honestly, name
from tests.harness.server import Tenant

# Far below what a password hash or a second query of many rows would cost, far above the noise of a
# median.
BOUND = 0.001
ROUNDS = (25, 50, 100, 200, 400)

OUTSIDERS: dict[str, Callable[[Tenant, Tenant], str]] = {
    "another organization": lambda tenant, stranger: stranger.key,
    "another user": lambda tenant, stranger: tenant.new_key(user_id="other"),
}
# What makes the server do most for a caller who may do it.
BODIES = {"POST /v2/email-accounts/:id/password/reset": {"password": "a long sentence nobody else has chosen"}}
# PUT /v2/limits is about any user of the key's own organization.
JUDGED = [route for route in GUARDED if name(route) in ABOUT | LISTS and name(route) != "PUT /v2/limits"]


class Timer:
    """Requests on one connection, which is warm after the first."""

    def __init__(self, connection: http.client.HTTPConnection, method: str, key: str) -> None:
        self._connection = connection
        self._method = method
        self._headers = {"x-api-key": key, "content-type": "application/json"}

    def seconds(self, about: Ask) -> float:
        path, body = about
        sent = None if body is None else json.dumps(body)
        before = time.perf_counter()
        self._connection.request(self._method, path, sent, self._headers)
        self._connection.getresponse().read()
        return time.perf_counter() - before


@pytest.fixture
def secret(tenant: Tenant) -> Thing:
    domain, empty = tenant.new_domain(user_id="owner"), tenant.new_domain(user_id="owner")
    account = tenant.account("private", domain=domain, user_id="owner")
    key = tenant.new_key(user_id="owner", domains=[domain, empty])
    return Thing(account["id"], domain, empty, tenant.key_id(key))


def differences(timer: Timer, foreign: Iterator[Ask], missing: Iterator[Ask], number: int) -> list[float]:
    """Foreign minus missing, in turns who is first. What the requests are about is there before
    the first of them: its making would cost one of each pair the end of another connection's
    work."""
    found = []
    for turn, pair in enumerate(list(zip(islice(foreign, number), islice(missing, number), strict=True))):
        first, second = pair if turn % 2 else reversed(pair)
        one, two = timer.seconds(first), timer.seconds(second)
        found.append(one - two if turn % 2 else two - one)
    return found


def check(tenant: Tenant, method: str, key: str, foreign: Iterator[Ask], missing: Iterator[Ask]) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", tenant.api.port, timeout=30)) as connection:
        timer = Timer(connection, method, key)
        differences(timer, foreign, missing, 2)
        for number in ROUNDS:
            middle = statistics.median(differences(timer, foreign, missing, number))
            if abs(middle) < BOUND:
                return
    raise AssertionError(f"foreign takes {middle * 1000:+.2f} ms more than missing")


@pytest.mark.parametrize("outsider", OUTSIDERS)
@pytest.mark.parametrize("route", JUDGED, ids=name)
def test_foreign_takes_as_long_as_missing(
    tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, outsider: str
) -> None:
    key = OUTSIDERS[outsider](tenant, stranger)
    for foreign, missing in zip(asks(route, secret), asks(route, NOTHING), strict=True):
        more = BODIES.get(name(route), {})
        pair = [honestly(about, "other") for about in (foreign, missing)]
        pair = [(path, body if body is None else body | more) for path, body in pair]
        check(tenant, route.method, key, *(itertools.repeat(about) for about in pair))


@pytest.mark.parametrize("route", [route for route in GUARDED if name(route) in MAKES], ids=name)
def test_a_claim_takes_as_long_as_any(
    tenant: Tenant, stranger: Tenant, secret: Thing, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of names that another organization has, and below them, and of free ones; each name once.
    The search for primes takes a random time, so that all get one key here."""
    key = dkim.generate()
    monkeypatch.setattr(dkim, "generate", lambda: key)
    taken = (tenant.new_domain(f"t{number}.{secret.domain}", "owner") for number in itertools.count())
    free = (f"f{number}.{stranger.domain}" for number in itertools.count())
    check(tenant, route.method, stranger.key, *((claim(route, found) for found in names) for names in (taken, free)))
