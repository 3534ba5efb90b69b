"""`sessions_ended` in the answers of reset, suspend, disable and delete, if sessions cannot be
ended before the answer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from postroom.db import Tx
from postroom.mailboxes.session_revocations import Ended
from postroom.service import worker
from tests.api.rows import last_event, new_events, rows
from tests.harness.server import ApiServer, Response, Tenant

Act = Callable[[Tenant, int], Response]
ACTS: dict[str, Act] = {
    "reset": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/password/reset", {}, fields="*"),
    "sign out": lambda t, id_: t.post(f"/v2/email-accounts/{id_}/sessions/end", {}, fields="*"),
    "suspend": lambda t, id_: t.put(f"/v2/email-accounts/{id_}", {"status": "suspended"}, fields="*"),
    "disable": lambda t, id_: t.put(f"/v2/email-accounts/{id_}", {"status": "disabled"}, fields="*"),
    "delete": lambda t, id_: t.post("/v2/email-accounts/delete", {"id": id_}, fields="*"),
}


@pytest.fixture
def cut_off(api: ApiServer) -> Iterator[None]:
    """While this fixture is active, no session can be ended."""
    api.ends = False
    yield
    api.ends = True


def shown(answer: Response) -> Any:
    assert answer.status == 200, answer.text
    return (answer.json.get("account") or answer.json["deleted"])["sessions_ended"]


def end_due(tenant: Tenant, ended: bool) -> None:
    """Runs a round of the worker with every revocation due."""

    async def end(_pairs: Sequence[Ended]) -> bool:
        return ended

    tenant.api.database.write_sync(lambda tx: tx.run("UPDATE session_endings SET due_at = 0"))
    asyncio.run(worker.end_due_sessions(tenant.api.database, end))


@pytest.mark.parametrize("act", ACTS)
def test_it_works(tenant: Tenant, act: str) -> None:
    account, at = tenant.account(), last_event(tenant)
    assert shown(ACTS[act](tenant, account["id"])) is True
    end_due(tenant, True)
    assert [type_ for type_ in new_events(tenant, at) if "sessions" in type_] == []


@pytest.mark.parametrize("act", ACTS)
def test_pending_sessions_are_reported_and_ended_later(tenant: Tenant, cut_off: None, act: str) -> None:
    account, at = tenant.account(), last_event(tenant)
    assert shown(ACTS[act](tenant, account["id"])) is False
    first = tenant.events(after=at)
    assert [event["type"] for event in first][1:] == ["account.sessions_pending"]
    assert (first[1]["request_id"], first[1]["user_id"]) == (first[0]["request_id"], "user_123")
    end_due(tenant, False)
    assert len(rows(tenant, "session_endings")) == 1
    assert new_events(tenant, at) == [event["type"] for event in first]
    end_due(tenant, True)
    assert rows(tenant, "session_endings") == []
    (last,) = tenant.events(after=first[1]["id"])
    assert (last["type"], last["account_id"], last["key_id"]) == ("account.sessions_ended", account["id"], None)
    assert last["data"] == first[1]["data"]


def test_the_default_shape_stays(tenant: Tenant, cut_off: None) -> None:
    account = tenant.account()
    done = tenant.post("/v2/email-accounts/delete", {"id": account["id"]}).json
    assert done == {"ok": True, "deleted": {"id": account["id"], "address": account["address"]}}


def test_nothing_to_end(tenant: Tenant, cut_off: None) -> None:
    account, at = tenant.account(), last_event(tenant)
    answer = tenant.put(f"/v2/email-accounts/{account['id']}", {"display_name": "Z"}, fields="sessions_ended")
    assert answer.json == {"account": {"sessions_ended": None}}
    assert new_events(tenant, at) == ["account.updated"]


def test_the_worker_was_quicker(tenant: Tenant, api: ApiServer) -> None:
    """The worker ends the sessions while the API still waits, so the answer is true."""
    account, at = tenant.account(), last_event(tenant)

    def complete(tx: Tx) -> None:
        tx.run("DELETE FROM session_endings")

    api.meanwhile = lambda: api.database.write_sync(complete)
    api.ends = False
    try:
        assert shown(ACTS["reset"](tenant, account["id"])) is True
    finally:
        api.ends, api.meanwhile = True, lambda: None
    assert new_events(tenant, at) == ["account.password_reset"]
