"""A client follows changes: it opens the stream again when it ends, goes on after the last event,
and stops when its key is revoked."""

import asyncio
from collections.abc import Iterator

import pytest

from postroom.client import AsyncClient, Client, Denied, MailboxChange, following
from postroom.client.following import EventReader
from postroom.messages.mailbox_states import MailboxState
from tests.client.conftest import url_of
from tests.harness.server import Tenant
from tests.harness.told_messages import ToldMessages


@pytest.fixture
def told(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToldMessages]:
    """Each stream of this server ends after its first events."""
    monkeypatch.setattr(following, "PAUSE_SECONDS", 0.01)
    messages = tenant.api.messages
    kept = messages.states
    yield messages
    messages.states = kept


def changed(messages: ToldMessages) -> None:
    before = messages.states["INBOX"]
    now = MailboxState(1, before.uidnext + 1, before.highestmodseq + 1, before.messages + 1)
    messages.states = {"INBOX": now}


def test_it_works(client: Client, tenant: Tenant, told: ToldMessages) -> None:
    id_ = tenant.account()["id"]
    found: list[MailboxChange] = []
    for event in client.follow_changes(id_):
        found.append(event)
        changed(told)
        if len(found) == 3:
            break
    assert [(one.mailbox, one.event_type, one.uidvalidity) for one in found] == [
        ("INBOX", "state", "1"),
        ("INBOX", "added", "1"),
        ("INBOX", "added", "1"),
    ]
    assert len({one.token for one in found}) == 3
    later = next(iter(client.follow_changes(id_, last_event_id=found[0].last_event_id)))
    assert later.event_type == "added"


def test_awaited_it_is_the_same(tenant: Tenant, told: ToldMessages) -> None:
    id_ = tenant.account()["id"]

    async def use() -> list[str]:
        found = []
        async with AsyncClient(url_of(tenant), tenant.key) as client:
            async for event in client.follow_changes(id_):
                found.append(event.event_type)
                changed(told)
                if len(found) == 2:
                    break
        return found

    assert asyncio.run(use()) == ["state", "added"]


def test_a_revoked_key_is_an_error(tenant: Tenant, told: ToldMessages) -> None:
    made = tenant.post("/v2/keys", {"scopes": ["messages:read"]}).json
    id_ = tenant.account()["id"]
    with Client(url_of(tenant), made["api_key"]) as client:
        events = iter(client.follow_changes(id_))
        assert next(events).event_type == "state"
        tenant.post("/v2/keys/delete", {"id": made["key"]["id"]})
        changed(told)
        with pytest.raises(Denied):
            next(events)


def test_events_are_read_as_the_standard_says() -> None:
    reader = EventReader("a")
    lines = ["retry: 1", "", ": comment", "data:1", "data: 2", "id: b", "other: x", "", "id: c", "data: lost"]
    assert [reader.feed(line) for line in lines][7] == "1\n2"
    assert reader.last_id == "b"
    reader.restart()
    assert (reader.feed("data: 3"), reader.feed(""), reader.last_id) == (None, "3", "b")
