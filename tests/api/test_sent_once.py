"""With an Idempotency-Key a message is sent once, whenever the process dies."""

from email import message_from_bytes
from typing import Any
from uuid import uuid4

import pytest

from postroom.accounts import outgoing_messages
from postroom.errors import Busy
from postroom.idempotency import KEPT_MS
from postroom.messages.hand_over import Unknown
from tests.api.raw import PATH
from tests.api.rows import new_events
from tests.api.test_send_message import outbox, path, post, queued
from tests.harness.server import Tenant

__all__ = ["outbox", "path"]


class Died(Exception):
    """Stands for a killed process: nothing of the request happens after it."""


def dies(tenant: Tenant, path: str, once: str) -> None:
    assert post(tenant, path, once).status == 500


def _raise_died() -> None:
    raise Died


def test_a_process_dies_before_the_hand_over(tenant: Tenant, path: str) -> None:
    once = str(uuid4())
    tenant.api.outbox.meanwhile = _raise_died
    dies(tenant, path, once)
    assert queued(tenant, path) == []
    tenant.api.outbox.meanwhile = lambda: None
    assert [post(tenant, path, once).status for _ in range(2)] == [202, 202]
    assert len(queued(tenant, path)) == 1
    assert new_events(tenant).count("message.sent") == 1


def test_a_process_dies_while_postfix_takes_the_message(tenant: Tenant, path: str) -> None:
    """The retry finds out that Postfix has the message, saves the copy, and tells of it."""
    once = str(uuid4())
    tenant.api.outbox.later = Died()
    dies(tenant, path, once)
    tenant.api.outbox.later = None
    ((*_, raw),) = queued(tenant, path)
    assert "message.sent" not in new_events(tenant)
    answers = [post(tenant, path, once) for _ in range(2)]
    message_id = message_from_bytes(raw)["Message-ID"]
    assert [answer.json["message"]["rfc_message_id"] for answer in answers] == [message_id] * 2
    assert [answer.status for answer in answers] == [202, 202]
    assert len(queued(tenant, path)) == 1
    assert new_events(tenant).count("message.sent") == 1
    assert [copy[1:] for copy in tenant.api.messages.copies if copy[1] == message_id] == [(message_id, True)]


def test_a_process_dies_before_the_answer(tenant: Tenant, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    once, database = str(uuid4()), tenant.api.database
    real, done = database.write, list[Any]()

    async def write(work: Any, **options: Any) -> Any:
        if len(done) == 2:  # the announcement, and the milter
            raise Died
        done.append(await real(work, **options))
        return done[-1]

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", write)
        dies(tenant, path, once)
    answer = post(tenant, path, once)
    message_id = answer.json["message"]["rfc_message_id"]
    assert answer.status == 202
    assert len(queued(tenant, path)) == 1
    assert [copy[2] for copy in tenant.api.messages.copies if copy[1] == message_id] == [False, True]


def test_nobody_knows_what_became_of_it(tenant: Tenant, path: str) -> None:
    """Postfix was lost before it answered, and its log does not say that it has the message: the
    message is not sent again."""
    once, outbox = str(uuid4()), tenant.api.outbox
    outbox.later = Unknown()
    outbox.log, kept = set(), outbox.log
    outbox.log = _Forgetful()
    assert post(tenant, path, once).code == "outcome_unknown"
    outbox.later = None
    assert post(tenant, path, once).code == "outcome_unknown"
    ((*_, raw),) = queued(tenant, path)
    sql = "SELECT queue_id FROM outgoing_messages WHERE message_id = :id"
    message_id = message_from_bytes(raw)["Message-ID"]
    (queue_id,) = tenant.api.database.write_sync(lambda tx: tx.one(sql, id=message_id))
    outbox.log = kept | {queue_id}
    assert post(tenant, path, once).status == 202
    assert len(queued(tenant, path)) == 1


class _Forgetful(set[str]):
    def add(self, _name: str) -> None:
        """A log that loses lines."""


def test_two_processes_at_once(tenant: Tenant, path: str) -> None:
    """Another process takes the message in the meantime, so this one is told to come again."""
    once = str(uuid4())
    take = "UPDATE outgoing_messages SET queue_id = 'other' WHERE queue_id IS NULL AND account_id = :id RETURNING 1"
    account_id = int(path.split("/")[3])

    def meanwhile() -> None:
        tenant.api.database.write_sync(lambda tx: tx.all(take, id=account_id))

    tenant.api.outbox.meanwhile = meanwhile
    assert post(tenant, path, once).code == "idempotency_conflict"
    assert queued(tenant, path) == []


def test_another_request_after_a_crash(tenant: Tenant, path: str) -> None:
    once = str(uuid4())
    tenant.api.outbox.later = Died()
    dies(tenant, path, once)
    tenant.api.outbox.later = None
    assert post(tenant, path, once, subject="another").code == "idempotency_key_reused"
    other = f"{PATH}/{tenant.account('other')['id']}/messages/send"
    assert post(tenant, other, once).code == "idempotency_key_reused"
    assert len(queued(tenant, path)) == 1


def test_a_database_that_fails_after_the_hand_over(tenant: Tenant, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer does not say that nothing was done."""
    once, database = str(uuid4()), tenant.api.database
    real, done = database.write, list[Any]()

    async def write(work: Any, **options: Any) -> Any:
        if len(done) == 2:
            raise Busy("full")
        done.append(await real(work, **options))
        return done[-1]

    with monkeypatch.context() as patched:
        patched.setattr(database, "write", write)
        assert post(tenant, path, once).code == "outcome_unknown"
    assert post(tenant, path, once).status == 202
    assert len(queued(tenant, path)) == 1


def test_rows_are_forgotten(tenant: Tenant, path: str) -> None:
    assert [post(tenant, path, "once").status, post(tenant, path).status] == [202, 202]
    later = "UPDATE outgoing_messages SET announced_at = announced_at - :ms WHERE account_id = :id RETURNING 1"
    account_id, database = int(path.split("/")[3]), tenant.api.database
    assert len(database.write_sync(lambda tx: tx.all(later, ms=KEPT_MS, id=account_id))) == 2
    while database.write_sync(outgoing_messages.forget):
        pass
    left = "SELECT 1 FROM outgoing_messages WHERE account_id = :id"
    assert database.write_sync(lambda tx: tx.all(left, id=account_id)) == []


def test_a_key_of_yesterday_sends_again(tenant: Tenant, path: str) -> None:
    """The row of an Idempotency-Key that is forgotten does not stop the next message."""
    first = post(tenant, path, "once").json["message"]["rfc_message_id"]
    account_id, database = int(path.split("/")[3]), tenant.api.database
    for table, column in (("outgoing_messages", "announced_at"), ("idempotent_answers", "expires_at")):
        sql = f"UPDATE {table} SET {column} = {column} - {KEPT_MS} RETURNING 1"
        database.write_sync(lambda tx, sql=sql: tx.all(sql))
    second = post(tenant, path, "once", subject="another")
    assert second.status == 202
    assert second.json["message"]["rfc_message_id"] != first
    assert len(queued(tenant, path)) == 2
    assert account_id
