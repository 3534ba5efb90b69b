"""A request about a foreign thing takes as long as one about a missing thing. (test_tenancy.py
compares the bytes.)

The test measures no absolute time. It interleaves pairs of requests, so that noise affects both,
and judges the median of the differences. It measures more pairs before it fails.
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

# Seconds. Far less than a password hash or a second query of many rows takes, and far more than the
# noise of a median.
BOUND = 0.001
ROUNDS = (25, 50, 100, 200, 400)

OUTSIDERS: dict[str, Callable[[Tenant, Tenant], str]] = {
    "another organization": lambda tenant, stranger: stranger.key,
    "another user": lambda tenant, stranger: tenant.new_key(user_id="other"),
}
# Bodies that cause the most work for an authorized caller.
BODIES = {"POST /v2/email-accounts/:id/password/reset": {"password": "a long sentence nobody else has chosen"}}
# PUT /v2/limits accepts any user of the key's own organization, so no user is foreign.
JUDGED = [route for route in GUARDED if name(route) in ABOUT | LISTS and name(route) != "PUT /v2/limits"]


class Timer:
    """Sends requests on one connection and measures them. The first request warms up the
    connection."""

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
    """The time for foreign minus the time for missing, for each pair, with alternating order. All
    things exist before the first measurement, because creating them would disturb one of each
    pair."""
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
    """Claims of free names, compared with claims of names that another organization has and of
    names below them; each name is used once. All claims get the same DKIM key, because the search
    for primes takes a random time."""
    key = dkim.generate()
    monkeypatch.setattr(dkim, "generate", lambda: key)
    taken = (tenant.new_domain(f"t{number}.{secret.domain}", "owner") for number in itertools.count())
    free = (f"f{number}.{stranger.domain}" for number in itertools.count())
    check(tenant, route.method, stranger.key, *((claim(route, found) for found in names) for names in (taken, free)))
