"""GET /v2/email-accounts/:id/sent, and the rows behind it, on both engines (tests/mail/
test_sent_mail.py sends real mail)."""

import itertools
import random
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from postroom.accounts import purges, sent_days, sent_mail
from postroom.accounts.sent_mail import KEPT_MS, STEP, Sender, Told
from postroom.db import Tx
from tests.api.rows import rows
from tests.harness.server import ApiServer, Tenant

_numbers = itertools.count(1)
NOW = time.time_ns() // 1_000_000


def queue_id() -> str:
    return f"4jd31V{next(_numbers):07}"


def told(name: str, recipient: str | None = "x@far.example", status: str = "delivered", **more: Any) -> Told:
    values: dict[str, Any] = {"target_id": None, "smtp_code": 250, "enhanced_code": "2.0.0", "reason": None}
    return Told(queue_id=name, recipient=recipient, status=status, **(values | {"at": NOW} | more))


def record(
    tenant: Tenant, account_id: int, *attempts: Told, node_id: int = 0, message_id: str = "<1@x>", sent_at: int = 0
) -> Any:
    """Records attempts at messages of an account; 0: the log does not say whose message it is."""
    sent_at = sent_at or time.time_ns() // 1_000_000
    senders = {one.queue_id: Sender(account_id, message_id, sent_at) for one in attempts} if account_id else {}
    return tenant.api.database.write_sync(lambda tx: sent_mail.record(tx, node_id, attempts, senders))


def sent(tenant: Tenant, account_id: int, query: str = "") -> list[Any]:
    answer = tenant.get(f"/v2/email-accounts/{account_id}/sent{query}")
    assert answer.status == 200, answer.text
    found: list[Any] = answer.json["items"]
    return found


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.create("ann").json["account"]["id"])


def test_it_works(tenant: Tenant, ann: int) -> None:
    name = queue_id()
    assert sent(tenant, ann) == []
    before = len(rows(tenant, "events"))
    record(tenant, ann, told(name, reason="250 ok"), told(name, "y@far.example", "delayed", smtp_code=None))
    later, first = sent(tenant, ann)
    assert list(first) == [
        *("id", "message_id", "recipient", "status", "smtp_code", "enhanced_code", "reason", "sent_at", "status_at"),
    ]
    assert (first["recipient"], first["status"], first["smtp_code"], first["reason"]) == (
        *("x@far.example", "delivered"),
        *(250, "250 ok"),
    )
    assert (later["recipient"], later["status"], later["smtp_code"]) == ("y@far.example", "delayed", None)
    assert len(rows(tenant, "events")) == before  # correspondents are never in the audit log


def test_a_status_moves_only_forward(tenant: Tenant, ann: int) -> None:
    """The same lines in any order and number lead to the same rows, and each change to a higher
    id."""
    name, lines = queue_id(), []
    ways = {"a": ["delayed"], "b": ["delayed", "delivered"], "c": ["delivered", "bounced"], "d": ["delayed", "bounced"]}
    for recipient, statuses in ways.items():
        lines += [
            told(name, recipient, status, reason=status, at=NOW if status == "delayed" else NOW - 3_600_000)
            for status in statuses
        ]
    chosen = random.Random(1)
    for _ in range(20):
        chosen.shuffle(lines)
        record(tenant, ann, *lines)
        assert {one["recipient"]: (one["status"], one["reason"]) for one in sent(tenant, ann)} == {
            recipient: (statuses[-1], statuses[-1]) for recipient, statuses in ways.items()
        }
    before = sent(tenant, ann)[0]["id"]
    record(tenant, ann, told(name, "a", "delayed", at=NOW + 1))
    assert sent(tenant, ann)[0]["id"] == before
    record(tenant, ann, told(name, "a"))
    assert sent(tenant, ann)[0]["recipient"] == "a"
    assert sent(tenant, ann)[0]["id"] > before
    shown = sent(tenant, ann)
    record(tenant, ann, *lines)
    assert sent(tenant, ann) == shown


def test_a_row_that_stays_delayed_is_seldom_written(tenant: Tenant, ann: int) -> None:
    name = queue_id()
    start = NOW - 3600_000
    for minutes, reason, shown in ((0, "one", "one"), (9, "two", "one"), (11, "three", "three"), (5, "four", "three")):
        record(tenant, ann, told(name, status="delayed", reason=reason, at=start + minutes * 60_000))
        (one,) = sent(tenant, ann)
        assert one["reason"] == shown


def test_an_expired_message(tenant: Tenant, ann: int) -> None:
    name = queue_id()
    record(tenant, ann, *(told(name, who, "delayed", reason="busy", smtp_code=451) for who in "ab"), told(name, "c"))
    record(tenant, 0, told(name, None, "expired"))
    record(tenant, 0, told(name, None, "expired"))
    found = {one["recipient"]: (one["status"], one["smtp_code"], one["reason"]) for one in sent(tenant, ann)}
    expired = ("bounced", 451, "too long in the queue: busy")
    assert found == {"a": expired, "b": expired, "c": ("delivered", 250, None)}


def test_pages_and_one_message(tenant: Tenant, ann: int) -> None:
    for number in range(3):
        record(tenant, ann, *(told(f"4jd31Vpage{ann}{number}", who) for who in "ab"), message_id=f"<{number}@x>")
    answer = tenant.get(f"/v2/email-accounts/{ann}/sent?limit=4")
    assert [one["message_id"] for one in answer.json["items"]] == ["<2@x>", "<2@x>", "<1@x>", "<1@x>"]
    link = answer.headers["link"].partition(">")[0].removeprefix("<")
    assert [one["message_id"] for one in tenant.get(link).json["items"]] == ["<0@x>", "<0@x>"]
    for query in ("<1@x>", "1@x", "%20<1@x>"):
        assert [one["message_id"] for one in sent(tenant, ann, f"?message_id={query}")] == ["<1@x>"] * 2
    assert [one["recipient"] for one in sent(tenant, ann, "?message_id=1@x&limit=1")] == ["b"]
    assert sent(tenant, ann, "?message_id=9@x") == []


def test_who_may_read(tenant: Tenant, api: ApiServer, ann: int) -> None:
    record(tenant, ann, told(queue_id()))
    path = f"/v2/email-accounts/{ann}/sent"
    without = tenant.post("/v2/keys", {"scopes": ["accounts:read", "events:read"]}).json["api_key"]
    answer = tenant.get(path, key=without)
    assert (answer.status, answer.json["code"]) == (403, "forbidden")
    only = tenant.post("/v2/keys", {"scopes": ["sent:read"]}).json["api_key"]
    assert len(tenant.get(path, key=only).json["items"]) == 1
    assert tenant.get(f"{path}?user_id=somebody", key=only).status == 404
    assert tenant.get(f"{path}?message_id=", key=only).status == 400
    assert tenant.get(f"{path}?message_id=a%00b", key=only).status == 400
    long = tenant.get(f"{path}?message_id={'x' * 1001}", key=only)
    assert (long.status, long.json["errors"][0]["field"]) == (400, "message_id")


def test_a_message_that_is_older_than_the_account(tenant: Tenant, ann: int) -> None:
    """After a restore, the log may tell of an account that had the same id."""
    record(tenant, ann, told(queue_id()), sent_at=NOW - 3_600_000)
    assert sent(tenant, ann) == []


def test_another_node_takes_the_mail(tenant: Tenant, ann: int) -> None:
    """Node 1 has passed two addresses of one mailbox on; node 2 delivers to it."""
    name, there = queue_id(), queue_id()
    at_node_2 = told(there, None, "delayed", target_id=7)
    assert record(tenant, 0, at_node_2, node_id=2) == [at_node_2]
    passed = [told(name, who, "passed", target_id=7, passed_as=there) for who in ("bob", "bob+tag")]
    assert record(tenant, ann, *passed, node_id=1) == []
    assert sent(tenant, ann) == []
    assert record(tenant, 0, at_node_2, told(there, None, target_id=8), node_id=2) != []
    assert {one["recipient"]: one["status"] for one in sent(tenant, ann)} == {"bob": "delayed", "bob+tag": "delayed"}
    # The mailbox moves: node 2 passes the message on to node 3, where its time ends.
    further = queue_id()
    record(tenant, 0, told(there, None, "passed", target_id=7, passed_as=further), node_id=2)
    record(tenant, 0, told(further, None, "delayed", target_id=7), told(further, None, "expired"), node_id=3)
    assert {one["recipient"]: one["status"] for one in sent(tenant, ann)} == {"bob": "bounced", "bob+tag": "bounced"}
    assert record(tenant, 0, told(name, "x"), node_id=3) == []  # the same queue id on another node
    assert len(sent(tenant, ann)) == 2


def days(tenant: Tenant, account_id: int) -> dict[str, tuple[int, int, int]]:
    """The days with mail: delivered, delayed, bounced."""
    answer = tenant.get(f"/v2/email-accounts/{account_id}/sent/days")
    assert answer.status == 200, answer.text
    shown = [one["day"] for one in answer.json["items"]]
    last = date.fromisoformat(shown[-1])
    assert shown == [str(last - timedelta(days=ago)) for ago in reversed(range(30))]
    found = {one.pop("day"): tuple(one.values()) for one in answer.json["items"]}
    return {day: counts for day, counts in found.items() if any(counts)}


def test_a_recipient_counts_once_with_the_last_status(tenant: Tenant, ann: int) -> None:
    """On the day of the submission, whatever the log repeats and in whichever order."""
    today = datetime.fromtimestamp(NOW / 1000, UTC).date()
    before = today - timedelta(days=1)
    assert days(tenant, ann) == {}
    sql = "UPDATE accounts SET created_at = 1 WHERE id = :id"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, id=ann))
    old, late = queue_id(), queue_id()
    sent_at = NOW - 24 * 3600 * 1000
    record(tenant, ann, *(told(old, f"r{number}", "delayed") for number in range(3)), sent_at=sent_at)
    assert days(tenant, ann) == {str(before): (0, 3, 0)}
    attempts = [told(old, "r0"), told(old, "r1", "bounced"), told(old, "r1"), told(old, "r0", "delayed")]
    for seed in range(3):
        random.Random(seed).shuffle(attempts)
        record(tenant, ann, *attempts, *attempts, sent_at=sent_at)
    assert days(tenant, ann) == {str(before): (1, 1, 1)}
    record(tenant, ann, told(late, "y", "passed", target_id=ann, passed_as=f"{late}-2"), sent_at=NOW)
    record(tenant, 0, told(old, None, "expired"), told(f"{late}-2", None, "delivered", target_id=ann), node_id=2)
    record(tenant, 0, told(old, None, "expired"))
    assert days(tenant, ann) == {str(before): (1, 0, 2), str(today): (1, 0, 0)}


def test_days_are_counted_for_thirty_days(tenant: Tenant, ann: int) -> None:
    record(tenant, ann, told(queue_id()))
    database = tenant.api.database

    def make_old(tx: Tx) -> None:
        sql = "INSERT INTO sent_days (account_id, day, status, recipients) VALUES (:id, :day, 'delivered', 1)"
        for ago in range(29, 29 + STEP + 1):
            tx.run(sql, id=ann, day=tx.now // sent_days.DAY_MS - ago)

    database.write_sync(make_old)
    assert len(days(tenant, ann)) == 2
    assert [database.write_sync(sent_days.forget) for _ in range(2)] == [STEP, 0]
    assert len(days(tenant, ann)) == len(rows(tenant, "sent_days")) == 2


def test_old_rows_go_in_bounded_steps(tenant: Tenant, ann: int) -> None:
    name, old = queue_id(), queue_id()
    record(tenant, ann, told(name, "new"))
    for start in range(0, STEP + 100, 100):
        record(tenant, ann, *(told(old, f"{start + number}") for number in range(100)))
    record(tenant, ann, told(old, "p", "passed", target_id=1, passed_as=queue_id()))
    record(tenant, ann, told(queue_id(), at=NOW - KEPT_MS - 1))
    assert len(rows(tenant, "sent_recipients")) == STEP + 101
    database = tenant.api.database

    def age(tx: Tx) -> None:
        for table in ("sent_messages", "sent_recipients", "sent_handovers"):
            sql = f"UPDATE {table} SET told_at = 1 WHERE account_id = :id AND "
            one = "queue_id = :name" if table == "sent_messages" else "recipient <> :name"
            tx.run(sql + one, id=ann, name=old if table == "sent_messages" else "new")

    database.write_sync(age)
    steps = 0
    while database.write_sync(sent_mail.forget) >= STEP:
        steps += 1
    assert steps >= 1
    assert database.write_sync(sent_mail.forget) == 0
    assert [len(rows(tenant, table)) for table in ("sent_recipients", "sent_messages", "sent_handovers")] == [1, 1, 0]


def test_a_purge_takes_the_rows(tenant: Tenant, ann: int) -> None:
    bob, name = int(tenant.create("bob").json["account"]["id"]), queue_id()
    record(tenant, ann, told(name), told(name, "p", "passed", target_id=1, passed_as=queue_id()))
    record(tenant, bob, told(queue_id()))
    assert tenant.post("/v2/email-accounts/delete", {"id": ann}).status == 200
    database = tenant.api.database
    database.write_sync(lambda tx: tx.run("UPDATE accounts SET purge_at = 1 WHERE id = :id", id=ann))
    assert database.write_sync(lambda tx: purges.begin_purge(tx, ann))
    assert database.write_sync(lambda tx: sent_mail.erase(tx, ann)) == 1
    assert database.write_sync(lambda tx: sent_days.erase(tx, ann)) == 1
    record(tenant, ann, told(name), told(queue_id()))  # a starting worker reads the log again
    assert [len(rows(tenant, table)) for table in ("sent_recipients", "sent_messages", "sent_handovers")] == [1, 1, 0]
