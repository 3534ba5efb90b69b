"""A call that is tried again is carried out once: after connections that break after the commit,
after 429 and 503, and while an attempt still runs. For long waits, the tests move a clock."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from postroom.client import AsyncClient, Client, Conflict, Failed, TooMany, Unreachable, transport
from postroom.client.operations import Operations
from postroom.client.request import RetryPolicy, Wait, call_page
from postroom.db import migrate
from postroom.db import sqlite as sqlite_engine
from postroom.settings import Settings
from tests.api.rows import opens
from tests.client.breaking_proxy import BreakingProxy
from tests.client.conftest import url_of
from tests.harness.server import ApiServer, Tenant


@pytest.mark.parametrize("plan", [[0], [40], [0, 100, 0]])
def test_a_connection_that_breaks_after_the_commit(tenant: Tenant, plan: list[int]) -> None:
    """There is one account, and the returned password is its password."""
    with BreakingProxy.start(tenant.api.port, plan) as proxy, Client(proxy.url, tenant.key) as client:
        made = client.create_account(tenant.domain, "billing", user_id="user_123")
        assert proxy.connections == len(plan) + 1
        assert len(proxy.idempotency_keys) == len(plan) + 1
        assert len(set(proxy.idempotency_keys)) == 1
    assert [account["id"] for account in tenant.get("/v2/email-accounts").json["items"]] == [made.account.id]
    assert [event["type"] for event in tenant.events(account_id=made.account.id)].count("account.created") == 1
    assert opens(tenant, made.account.id, str(made.password))


def test_awaited_it_is_carried_out_once_too(tenant: Tenant) -> None:
    async def use(url: str) -> str:
        async with AsyncClient(url, tenant.key) as client:
            made = await client.create_account(tenant.domain, "billing", user_id="user_123")
            return str((await client.reset_password(made.account.id)).password)

    with BreakingProxy.start(tenant.api.port, [0, 60]) as proxy:
        assert asyncio.run(use(proxy.url))
        assert len(set(proxy.idempotency_keys)) == 2
    assert len(tenant.get("/v2/email-accounts").json["items"]) == 1
    assert [event["type"] for event in tenant.events()].count("account.password_reset") == 1


def test_each_call_has_a_key_of_its_own(tenant: Tenant) -> None:
    with BreakingProxy.start(tenant.api.port, []) as proxy, Client(proxy.url, tenant.key) as client:
        made = client.create_account(tenant.domain, "billing", user_id="user_123").account
        assert client.reset_password(made.id).password != client.reset_password(made.id).password
        client.get_account(made.id)
        assert len(set(proxy.idempotency_keys)) == 3


def test_a_key_of_the_caller_outlives_the_client(tenant: Tenant) -> None:
    """With its own idempotency key, a program that died can ask again and gets the password."""
    once: dict[str, Any] = {"user_id": "user_123", "idempotency_key": "order 42"}
    with BreakingProxy.start(tenant.api.port, [0]) as proxy, Client(proxy.url, tenant.key, retries=0) as client:
        with pytest.raises(Unreachable) as failed:
            client.create_account(tenant.domain, "billing", **once)
        assert failed.value.status == 0
    with Client(url_of(tenant), tenant.key) as later:
        made = later.create_account(tenant.domain, "billing", **once)
        assert made == later.create_account(tenant.domain, "billing", **once)
        assert [*later.list_accounts()] == [made.account]


def test_a_list_goes_on_over_a_broken_connection(tenant: Tenant) -> None:
    made = [tenant.account(f"a{number}")["id"] for number in range(4)]
    with BreakingProxy.start(tenant.api.port, [0, 50, 0]) as proxy, Client(proxy.url, tenant.key) as client:
        assert [account.id for account in client.list_accounts(limit=1)] == made


def test_it_gives_up(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transport, "sleep", waits.append)
    with BreakingProxy.start(tenant.api.port, [0] * 9) as proxy, Client(proxy.url, tenant.key, retries=6) as client:
        with pytest.raises(Unreachable):
            client.get_stats()
        assert proxy.connections == 7
    assert all(0.125 * 2**n <= wait <= 0.25 * 2**n for n, wait in enumerate(waits))
    assert len(waits) == 6


def test_a_refusal_is_not_tried_again(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transport, "sleep", waits.append)
    tenant.account("billing")
    with Client(url_of(tenant), tenant.key) as client, pytest.raises(Conflict) as refused:
        client.create_account(tenant.domain, "billing", user_id="user_123")
    assert refused.value.code == "address_exists"
    assert waits == []


class Clock:
    """A clock for the server, which the client's sleep moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_it_waits_as_long_as_the_server_says(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(transport, "sleep", clock.sleep)
    with ApiServer.start(database_url, Settings(rate_limit="2/minute"), clock) as api:
        tenant = api.new_tenant()
        with Client(url_of(tenant), tenant.key, longest_wait=61) as client:
            for _ in range(5):
                client.get_stats()
            assert [60 < wait <= 60.25 for wait in clock.waits] == [True, True]
            client.get_stats()
            with Client(url_of(tenant), tenant.key, longest_wait=10) as hasty, pytest.raises(TooMany) as refused:
                hasty.get_stats()
    assert (refused.value.code, refused.value.retry_after) == ("too_many_requests", 60)
    assert len(clock.waits) == 2


def test_a_busy_server_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process locks the database until the client waits."""
    monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 0.1)
    migrate(f"sqlite:///{tmp_path / 'postroom.db'}")
    with ApiServer.start(f"sqlite:///{tmp_path / 'postroom.db'}") as api:
        tenant, waits = api.new_tenant(), []
        other = sqlite3.connect(tmp_path / "postroom.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            other.execute("ROLLBACK")

        monkeypatch.setattr(transport, "sleep", sleep)
        with Client(url_of(tenant), tenant.key) as client:
            client.create_account(tenant.domain, "billing", user_id="user_123")
        other.close()
        assert len(waits) == 1
        assert waits[0] >= 1


def test_an_attempt_that_still_runs_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gives up on an attempt that waits for the database. Its retry gets 409 while the
    attempt runs, and then the answer."""
    monkeypatch.setattr(sqlite_engine, "BUSY_SECONDS", 60)
    migrate(f"sqlite:///{tmp_path / 'postroom.db'}")
    with ApiServer.start(f"sqlite:///{tmp_path / 'postroom.db'}") as api:
        tenant, waits = api.new_tenant(), []
        other = sqlite3.connect(tmp_path / "postroom.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                other.execute("ROLLBACK")
            time.sleep(seconds)

        monkeypatch.setattr(transport, "sleep", sleep)
        with Client(url_of(tenant), tenant.key, timeout=1, retries=20) as client:
            made = client.create_account(tenant.domain, "billing", user_id="user_123")
            assert [*client.list_accounts()] == [made.account]
        other.close()
        assert len(waits) >= 2


@pytest.mark.parametrize("target", ["http://elsewhere.example/v2/email-accounts", "//elsewhere.example/v2", "v2"])
def test_a_next_page_elsewhere_is_not_asked_for(target: str) -> None:
    """The client sends the key only to its own server, whatever an answer says."""
    request = Operations.list_accounts.describe(None)
    plan = call_page("GET", "/v2/email-accounts", request, None, RetryPolicy())
    assert not isinstance(next(plan), Wait)
    with pytest.raises(Failed):
        plan.send(httpx2.Response(200, headers={"link": f'<{target}>; rel="next"'}, content=b'{"items":[]}'))
