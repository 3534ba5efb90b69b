"""Send limits over HTTP: of an account, a user and an organization, and what they let an account
send. tests/mail/test_send_limits.py sends real mail."""

from collections.abc import Sequence
from typing import Any

import pytest

from postroom.accounts import full_periods, known_recipients, purges, sent_counts
from postroom.accounts.sent_counts import HOUR_MS, NotSent, SendLimitReached
from postroom.actor import Actor
from postroom.db import Tx
from postroom.mailboxes.interface import Usage
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from postroom.tenants.send_limits import SetSendLimits, SetSendTotals
from tests.api.rows import rows
from tests.harness.server import Tenant

pytestmark = pytest.mark.usefixtures("hour")

NONE = dict.fromkeys(("recipients_per_hour", "recipients_per_day", "new_recipients_per_day", "recipients_per_message"))
SHOWN = {"fields": "may_send,send_limits,send_blocked_at"}


def put(tenant: Tenant, account_id: int, **body: Any) -> Any:
    answer = tenant.put(f"/v2/email-accounts/{account_id}", body, **SHOWN)
    assert answer.status == 200, answer.text
    return answer.json["account"]


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.account("ann", user_id="u")["id"])


def send(
    tenant: Tenant,
    account_id: int,
    recipients: int,
    hashes: Sequence[int] = (),
    hour: int = 0,
    *,
    by_script: bool = False,
) -> str:
    """Counts a message as the milter does, `hour` hours from now. Returns why it is refused, or an
    empty string."""

    def moved(tx: Tx) -> Tx:
        tx.now += hour * HOUR_MS
        return tx

    write = tenant.api.database.write_sync
    try:
        write(lambda tx: sent_counts.count(moved(tx), account_id, recipients, hashes, by_script=by_script))
    except SendLimitReached as refused:
        write(lambda tx, refused=refused: full_periods.note(moved(tx), refused))
        return str(refused)
    except NotSent as refused:
        return str(refused)
    return ""


def sent(tenant: Tenant, account_id: int) -> Any:
    tenant.api.mailboxes.size = Usage(0, 0)
    return tenant.get(f"/v2/email-accounts/{account_id}/usage").json["sent"]


def events(tenant: Tenant) -> list[tuple[str, Any]]:
    found = [one for one in tenant.events() if one["type"].startswith("account.send_")]
    return [(one["type"].removeprefix("account."), one["data"]["limit"]) for one in found]


def test_it_works(tenant: Tenant, ann: int) -> None:
    shown = tenant.get(f"/v2/email-accounts/{ann}", **SHOWN).json["account"]
    assert shown == {"may_send": True, "send_limits": NONE, "send_blocked_at": None}
    changed = put(tenant, ann, send_limits={"recipients_per_hour": 3, "recipients_per_message": 2}, may_send=True)
    assert changed["send_limits"] == NONE | {"recipients_per_hour": 3, "recipients_per_message": 2}
    assert send(tenant, ann, 2) == ""
    assert send(tenant, ann, 3) == "Sending limit: 2 recipients a message, and this message has 3"
    assert send(tenant, ann, 2).startswith("Sending limit: 3 recipients an hour, next at ")
    assert send(tenant, ann, 1) == ""
    found = sent(tenant, ann)
    assert found["recipients_this_hour"] == found["recipients_today"] == 3
    assert found["limits"] == changed["send_limits"]
    assert put(tenant, ann, send_limits={"recipients_per_hour": None})["send_limits"]["recipients_per_hour"] is None
    assert put(tenant, ann, may_send=False)["may_send"] is False
    assert send(tenant, ann, 1) == "This account may not send"
    data = [event["data"].get("changed") for event in tenant.events() if event["type"] == "account.updated"]
    assert data == [["send_limits"], ["send_limits"], ["may_send"]]
    before = rows(tenant)
    put(tenant, ann, may_send=False, send_limits={"recipients_per_message": 2}, send_blocked=False)
    assert rows(tenant) == before, "unchanged rights must write nothing"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"may_send": None}, "may_send"),
        ({"may_send": "no"}, "may_send"),
        ({"send_limits": None}, "send_limits"),
        ({"send_limits": {"recipients_per_hour": -1}}, "send_limits.recipients_per_hour"),
        ({"send_limits": {"recipients_per_day": "5"}}, "send_limits.recipients_per_day"),
        ({"send_limits": {"messages": 5}}, "send_limits"),
        ({"send_blocked": True}, "send_blocked"),
        ({"send_blocked_at": None}, "send_blocked_at"),
    ],
)
def test_it_refuses(tenant: Tenant, ann: int, body: dict[str, Any], field: str) -> None:
    before = rows(tenant)
    answer = tenant.put(f"/v2/email-accounts/{ann}", body)
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.text
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert rows(tenant) == before


def test_the_narrowest_applies(tenant: Tenant, ann: int) -> None:
    """Of the account, its user and the organization; null inherits. Users cannot see the limits of
    others change theirs."""
    other = tenant.account("ben", user_id="v")["id"]
    limit_organization(tenant, SetLimits(send_limits=SetSendLimits(recipients_per_hour=9, recipients_per_day=20)))
    answer = tenant.put("/v2/limits", {"user_id": "u", "send_limits": {"recipients_per_hour": 5}})
    assert answer.json["limits"]["send_limits"] == NONE | {"recipients_per_hour": 5}
    put(tenant, ann, send_limits={"recipients_per_hour": 100, "new_recipients_per_day": 7})
    expected = {"recipients_per_hour": 5, "recipients_per_day": 20, "new_recipients_per_day": 7}
    assert sent(tenant, ann)["limits"] == NONE | expected
    assert sent(tenant, other)["limits"] == NONE | {"recipients_per_hour": 9, "recipients_per_day": 20}
    assert [send(tenant, ann, 5), send(tenant, other, 9)] == ["", ""]
    assert "5 recipients an hour" in send(tenant, ann, 1)
    assert "9 recipients an hour" in send(tenant, other, 1)
    put(tenant, ann, send_limits={"recipients_per_hour": 2})
    assert sent(tenant, ann)["limits"]["recipients_per_hour"] == 2


def test_hours_and_days(tenant: Tenant, ann: int) -> None:
    put(tenant, ann, send_limits={"recipients_per_hour": 3, "recipients_per_day": 7})
    to_midnight = next_midnight(tenant)
    assert [send(tenant, ann, 3, hour=to_midnight + hour) for hour in (0, 1)] == ["", ""]
    assert send(tenant, ann, 2, hour=to_midnight + 2) == "Sending limit: 7 recipients a day, next at 00:00 UTC"
    assert send(tenant, ann, 1, hour=to_midnight + 1) == "Sending limit: 3 recipients an hour, next at 02:00 UTC"
    assert send(tenant, ann, 1, hour=to_midnight + 23) == ""
    assert send(tenant, ann, 1, hour=to_midnight + 23) == "Sending limit: 7 recipients a day, next at 00:00 UTC"
    assert send(tenant, ann, 3, hour=to_midnight + 24) == ""
    # The clock of a node that is behind counts for the later hour.
    assert "3 recipients an hour" in send(tenant, ann, 1, hour=to_midnight + 23)


def test_events_and_the_block(tenant: Tenant, ann: int, stranger: Tenant) -> None:
    """One event an hour; three full hours in a row block the account, until a PUT."""
    put(tenant, ann, send_limits={"recipients_per_hour": 2})
    for hour in (0, 1, 3, 4):  # hour 2 is not full
        assert [send(tenant, ann, 2, hour=hour) == "" for _ in range(3)] == [True, False, False]
    assert events(tenant) == [("send_limit_reached", "recipients_per_hour")] * 4
    assert send(tenant, ann, 2, hour=5) == ""
    assert "an hour" in send(tenant, ann, 1, hour=5)
    assert events(tenant)[4:] == [
        ("send_limit_reached", "recipients_per_hour"),
        ("send_blocked", "recipients_per_hour"),
    ]
    for hour in (5, 6, 100):
        assert send(tenant, ann, 1, hour=hour).startswith("Sending is blocked")
    blocked = tenant.get(f"/v2/email-accounts/{ann}", **SHOWN).json["account"]["send_blocked_at"]
    assert blocked
    assert put(tenant, ann, may_send=True)["send_blocked_at"] == blocked
    assert stranger.put(f"/v2/email-accounts/{ann}", {"send_blocked": False}).status == 404
    assert put(tenant, ann, send_blocked=False)["send_blocked_at"] is None
    assert send(tenant, ann, 1, hour=6) == ""
    assert len(events(tenant)) == 6


def test_a_script_never_blocks_its_owner(tenant: Tenant, ann: int) -> None:
    """Strangers decide how much mail a script forwards."""
    put(tenant, ann, send_limits={"recipients_per_hour": 1})
    for hour in range(4):
        assert send(tenant, ann, 1, hour=hour, by_script=True) == ""
        assert "an hour" in send(tenant, ann, 1, hour=hour, by_script=True)
    assert events(tenant) == [("send_limit_reached", "recipients_per_hour")] * 4
    for hour in (3, 4, 5):
        send(tenant, ann, 1, hour=hour)
        assert "an hour" in send(tenant, ann, 1, hour=hour)
    assert events(tenant)[-1] == ("send_blocked", "recipients_per_hour")
    assert len(events(tenant)) == 7, "the fourth hour was told when the script reached the limit"


def test_new_recipients(tenant: Tenant, ann: int) -> None:
    put(tenant, ann, send_limits={"new_recipients_per_day": 3})
    start = next_midnight(tenant)
    addresses = [f"a{number}@x.example" for number in range(6)]
    one, *others = known_recipients.digests("k", ann, addresses)
    assert [send(tenant, ann, 1, [one], start + hour) for hour in (0, 1, 2)] == ["", "", ""]
    assert send(tenant, ann, 2, others[:2], start + 3) == ""
    assert (
        send(tenant, ann, 3, [one, *others[:3]], start + 4)
        == "Sending limit: 3 new recipients a day, next at 00:00 UTC"
    )
    assert send(tenant, ann, 3, [one, *others[:2]], start + 5) == ""
    assert send(tenant, ann, 1, [], start + 6) == "", "a reply"
    assert events(tenant) == [("send_limit_reached", "new_recipients_per_day")]
    assert send(tenant, ann, 3, others[2:], start + 24) == ""
    assert send(tenant, ann, 1, [one], start + 24 * 60) == "", "still known"
    assert "3 new recipients" in send(tenant, ann, 4, [*others[:3], one], start + 24 * 122), "all are new again"


def test_hashes(tenant: Tenant, ann: int) -> None:
    """They are kept without a limit, differ by account and key, and end after 60 days."""
    first = known_recipients.digests("k", ann, ["A@x.example", "a@X.example", "b@x.example"])
    assert len(first) == 2
    assert not set(first) & set(known_recipients.digests("k", ann + 1, ["a@x.example", "b@x.example"]))
    assert not set(first) & set(known_recipients.digests("l", ann, ["a@x.example", "b@x.example"]))
    assert send(tenant, ann, 2, first, -24 * 61) == ""
    assert send(tenant, ann, 1, first[:1]) == ""
    assert sent(tenant, ann)["new_recipients_today"] == 1
    write = tenant.api.database.write_sync
    known = "SELECT recipient_hash FROM known_recipients WHERE account_id = :id"
    assert write(known_recipients.forget) >= 1
    assert write(lambda tx: tx.all(known, id=ann)) == [(first[0],)]


def test_totals(tenant: Tenant, ann: int, stranger: Tenant) -> None:
    ben, eve = (tenant.account(name, user_id=user)["id"] for name, user in (("ben", "u"), ("eve", "v")))
    foreign = stranger.account("zoe", user_id="u")["id"]
    limit_organization(tenant, SetLimits(send_limits_total=SetSendTotals(recipients_per_hour=10)))
    tenant.put("/v2/limits", {"user_id": "u", "send_limits_total": {"recipients_per_hour": 4}})
    assert [send(tenant, one, 2) for one in (ann, ben)] == ["", ""]
    refused = send(tenant, ann, 1)
    assert refused.startswith("Sending limit of all accounts: 4 recipients an hour")
    assert send(tenant, eve, 6) == ""
    assert "of all accounts: 10" in send(tenant, eve, 1)
    assert send(tenant, foreign, 50) == ""
    assert sent(tenant, ann)["recipients_this_hour"] == 2
    for hour in range(1, 5):
        send(tenant, ben, 4, hour=hour)
        assert send(tenant, ann, 1, hour=hour)
    assert {name for name, _ in events(tenant)} == {"send_limit_reached"}, "a full sum blocks nobody"


def test_a_user_cannot_widen_limits(tenant: Tenant, ann: int) -> None:
    """The limits of the organization are the operator's, and those of a user are the platform's."""
    limit_organization(tenant, SetLimits(send_limits=SetSendLimits(recipients_per_hour=2)))
    key = tenant.new_key(user_id="u")
    answer = tenant.put(f"/v2/email-accounts/{ann}", {"send_limits": {"recipients_per_hour": 99}}, key=key)
    assert answer.status == 200
    assert sent(tenant, ann)["limits"]["recipients_per_hour"] == 2


def test_a_purge_removes_what_is_known(tenant: Tenant, ann: int) -> None:
    put(tenant, ann, send_limits={"recipients_per_hour": 1})
    send(tenant, ann, 1, [1, 2])
    send(tenant, ann, 1)
    counts = "SELECT COUNT(*) FROM {} WHERE account_id = :id"
    tables = ("sent_counts", "full_periods", "known_recipients")

    def counted() -> list[int]:
        return [tenant.api.database.write_sync(lambda tx, t=t: tx.all(counts.format(t), id=ann))[0][0] for t in tables]

    assert counted() == [1, 2, 2]
    tenant.post("/v2/email-accounts/delete", {"id": ann, "purge": True})
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, ann))
    assert tenant.api.database.write_sync(lambda tx: known_recipients.erase(tx, ann)) == 2
    tenant.api.database.write_sync(lambda tx: purges.finish_purge(tx, ann))
    assert counted() == [0, 0, 0]


def next_midnight(tenant: Tenant) -> int:
    """Returns the hours from now to the next midnight (UTC)."""
    return 24 - tenant.api.database.write_sync(lambda tx: tx.now) // HOUR_MS % 24


def limit_organization(tenant: Tenant, command: SetLimits) -> None:
    """Sets limits of the organization, as only the operator can."""
    actor = Actor(tenant.organization_id)
    tenant.api.database.write_sync(lambda tx: limits.change(tx, actor, None, command))
