"""POSTROOM_WORKERS=3: the answer does not depend on the process, and the death of one process does
no harm, on both databases."""

import http.client
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.every_process import Caller, call_on, names
from tests.harness.service import Service, wait_for

ACCOUNTS = "/v2/email-accounts"
CALLS = 300


@dataclass
class Platform:
    service: Service
    callers: list[Caller]
    """One for each process."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    settings = {"mail": "off", "workers": "3", "rate_limit": f"{CALLS}/hour"}
    if request.param == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgres").new_database()
    with Service.new(**settings) as new:
        yield new.start()


@pytest.fixture
def platform(service: Service) -> Iterator[Platform]:
    """Each test has its own key, so that it does not use up the limit of another test."""
    key = new_key(service)
    callers = [call_on(service, name, key) for name in names(service)]
    yield Platform(service, callers)
    for caller in callers:
        caller.close()


def new_key(service: Service) -> str:
    """Creates a key on the command line, because keys that a key creates share its limit."""
    made = service.run("keys", "create", "--organization", "demo")
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def create(local_part: str) -> tuple[str, str, dict[str, str]]:
    return "POST", f"{ACCOUNTS}/create", {"domain": "demo.test", "local_part": local_part, "user_id": "u"}


def test_a_revoked_key_is_refused_by_every_process_at_once(platform: Platform) -> None:
    first, *_ = platform.callers
    status, made, _ = first.call("POST", "/v2/keys", {"name": "short"})
    assert status == 201
    for caller in platform.callers:
        assert caller.call("GET", ACCOUNTS, key=made["api_key"])[0] == 200
    assert first.call("POST", "/v2/keys/delete", {"id": made["key"]["id"]})[0] == 200
    assert [caller.call("GET", ACCOUNTS, key=made["api_key"])[0] for caller in platform.callers] == [401] * 3


def test_a_console_session_is_one_on_every_process(platform: Platform) -> None:
    first, second, third = platform.callers
    status, told, headers = first.call("POST", "/console/session", {})
    assert status == 201
    mine = {"cookie": headers["set-cookie"].partition(";")[0], "x-csrf-token": told["csrf_token"]}
    assert second.call("GET", ACCOUNTS, headers=mine, key="")[0] == 200
    assert third.call(*create("console"), headers=mine, key="")[0] == 201
    assert second.call("DELETE", "/console/session", headers=mine, key="")[0] == 200
    assert [caller.call("GET", ACCOUNTS, headers=mine, key="")[0] for caller in platform.callers] == [401] * 3


def test_all_together_give_the_limit_and_no_more(platform: Platform) -> None:
    counted: Counter[int] = Counter()
    for caller in platform.callers:
        counted.update(caller.call("GET", ACCOUNTS)[0] for _ in range(CALLS // 3 + 20))
    assert counted == {200: CALLS, 429: 60}


def test_an_idempotency_key_counts_once_on_all_processes(platform: Platform) -> None:
    barrier, again = threading.Barrier(3), {"idempotency-key": "one"}

    def ask(caller: Caller) -> Any:
        barrier.wait()
        return caller.call(*create("once"), headers=again)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, platform.callers))
    assert {status for status, _, _ in answers} <= {201, 409}
    kept = [caller.call(*create("once"), headers=again) for caller in platform.callers]
    told = [body for status, body, _ in [*answers, *kept] if status == 201]
    assert len(told) >= 4
    assert all(body == told[0] for body in told)
    assert [headers.get("idempotent-replayed") for _, _, headers in kept] == ["true"] * 3


def test_one_is_killed_under_load_and_replaced(platform: Platform) -> None:
    """What was acknowledged survives, and the other processes never stop."""
    service, killed = platform.service, "api-2"
    before, stop = service.pid(killed), threading.Event()
    acknowledged: dict[str, int] = {}

    def work(number: int) -> None:
        caller, made = Caller(service, new_key(service)), 0
        while not stop.is_set() and made < 80:
            name = f"load{number}-{made}"
            with suppress(OSError, http.client.HTTPException):
                status, answer, _ = caller.call(*create(name))
                assert status == 201, answer
                acknowledged[name] = answer["account"]["id"]
                made += 1
                continue
            caller.close()  # its process was killed; the address may have been taken or not
            made += 1
        caller.close()

    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(work, number) for number in range(6)]
        wait_for("answers", lambda: len(acknowledged) > 30)
        os.kill(before, signal.SIGKILL)
        wait_for("another process", lambda: service.pid(killed) not in (0, before))
        count = len(acknowledged)
        wait_for("more answers", lambda: len(acknowledged) > count + 20 or all(run.done() for run in runs))
        stop.set()
        for run in runs:
            run.result()
    replaced = call_on(service, killed, new_key(service))
    found: dict[str, int] = {}
    after = 0
    while items := replaced.call("GET", f"{ACCOUNTS}?limit=100&after={after}&q=load")[1]["items"]:
        found |= {item["address"].partition("@")[0]: item["id"] for item in items}
        after = items[-1]["id"]
    assert {name: found.get(name) for name in acknowledged} == acknowledged
    replaced.close()
