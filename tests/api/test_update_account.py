"""PUT /v2/email-accounts/:id."""

from typing import Any

import pytest

from postroom.db import Tx
from tests.api.rows import last_event, new_events, rows
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/email-accounts/{}"


def test_it_works(tenant: Tenant) -> None:
    id_ = tenant.account("billing")["id"]
    done = tenant.put(PATH.format(id_), {"user_id": "user_123", "display_name": "Billing", "status": "active"})
    assert done.status == 200
    assert list(done.json) == ["account"]
    assert list(done.json["account"].items()) == [
        ("id", id_),
        ("domain", tenant.domain),
        ("address", f"billing@{tenant.domain}"),
        ("status", "active"),
    ]
    assert tenant.full(id_)["display_name"] == "Billing"


REFUSED: list[tuple[Any, str, str]] = [
    ({"status": None}, "status", "invalid"),
    ({"status": ""}, "status", "invalid"),
    ({"status": "Active"}, "status", "invalid"),
    ({"status": "deleted"}, "status", "invalid"),
    ({"status": 1}, "status", "invalid"),
    ({"status": ["active"]}, "status", "invalid"),
    ({"display_name": 1}, "display_name", "invalid"),
    ({"display_name": "x" * 256}, "display_name", "too_long"),
    ({"display_name": "a\rb"}, "display_name", "control_character"),
    ({"is_default": False}, "is_default", "invalid"),
    ({"is_default": None}, "is_default", "invalid"),
    ({"is_default": 1}, "is_default", "invalid"),
    ({"user_id": None}, "user_id", "invalid"),
    ({"user_id": ""}, "user_id", "invalid"),
    ({"user_id": {}}, "user_id", "invalid"),
    ({"password": "a horse beside the lake"}, "password", "unknown_field"),
    ({"address": "a@b.test"}, "address", "unknown_field"),
    ({"local_part": "a b"}, "local_part", "invalid_local_part"),
    ({"domain": "b_.test"}, "domain", "invalid_domain"),
    ({"id": 1}, "id", "unknown_field"),
    ({"isDefault": True}, "isDefault", "unknown_field"),
    ({"created_at": "now"}, "created_at", "unknown_field"),
    ([], "body", "invalid"),
    ("active", "body", "invalid"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED, ids=lambda v: ascii(v)[:30])
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    account = tenant.account()
    before = rows(tenant)
    refused = tenant.put(PATH.format(account["id"]), body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field) == code
    assert rows(tenant) == before


def test_an_unknown_status_names_the_known_ones(tenant: Tenant) -> None:
    refused = tenant.put(PATH.format(tenant.account()["id"]), {"status": "secret"})
    assert refused.json["errors"][0]["message"] == "Use one of: active, suspended, disabled."


def test_one_bad_field_spoils_all(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    before = rows(tenant)
    assert tenant.put(PATH.format(id_), {"display_name": "New", "status": "gone"}).status == 400
    assert tenant.put(PATH.format(id_), {"status": "disabled", "is_default": False}).status == 400
    assert rows(tenant) == before


def test_not_found(tenant: Tenant) -> None:
    account = tenant.account()
    before = rows(tenant)
    change = {"status": "disabled"}
    assert tenant.put(PATH.format(account["id"]), {"user_id": "user_9", **change}).status == 404
    assert tenant.put(PATH.format(account["id"]), {"user_id": "user_123", **change}, user_id="user_9").status == 404
    assert tenant.put(PATH.format(account["id"]), change, user_id="user_9").status == 404
    for id_ in ("0", "x", account["id"] + 10**9, "create"):
        assert tenant.put(PATH.format(id_), change).status in (404, 405)
    assert rows(tenant) == before


def test_absent_is_untouched_and_null_clears(tenant: Tenant) -> None:
    account = tenant.account(display_name="Name")
    path = PATH.format(account["id"])
    tenant.put(path, {"status": "suspended"})
    assert tenant.full(account["id"])["display_name"] == "Name"
    tenant.put(path, {"display_name": None})
    assert (tenant.full(account["id"])["display_name"], tenant.full(account["id"])["status"]) == (None, "suspended")
    tenant.put(path, {"display_name": ""})
    assert tenant.full(account["id"])["display_name"] == ""


@pytest.mark.parametrize(
    "body",
    [None, {}, {"display_name": "Name"}, {"status": "suspended"}, {"is_default": True}, {"user_id": "user_123"}],
    ids=ascii,
)
def test_nothing_to_change_is_nothing_done(tenant: Tenant, api: ApiServer, body: Any) -> None:
    id_ = tenant.account(display_name="Name")["id"]
    tenant.put(PATH.format(id_), {"status": "suspended"})
    before, ended = rows(tenant), len(api.ended)
    done = tenant.put(PATH.format(id_), body)
    assert (done.status, done.json["account"]["status"]) == (200, "suspended")
    assert (rows(tenant), len(api.ended)) == (before, ended)


# (status before, status after, event, whether sessions end)
MOVES = [
    ("active", "suspended", "account.suspended", True),
    ("active", "disabled", "account.disabled", True),
    ("suspended", "active", "account.resumed", False),
    ("suspended", "disabled", "account.disabled", False),
    ("disabled", "active", "account.resumed", False),
    ("disabled", "suspended", "account.suspended", False),
]


@pytest.mark.parametrize(("before", "after", "event", "ends"), MOVES)
def test_status(tenant: Tenant, api: ApiServer, before: str, after: str, event: str, ends: bool) -> None:
    id_ = tenant.account("name")["id"]
    tenant.put(PATH.format(id_), {"status": before})
    at, ended, generation = last_event(tenant), len(api.ended), _generation(tenant, id_)
    done = tenant.put(PATH.format(id_), {"status": after})
    assert done.json["account"]["status"] == tenant.full(id_)["status"] == after
    (recorded,) = tenant.events(after=at)
    assert (recorded["type"], recorded["data"]["status"]) == (event, after)
    assert recorded["request_id"] == done.headers["x-request-id"]
    assert api.ended[ended:] == ([(id_, generation)] if ends else [])
    assert _generation(tenant, id_) == generation + ends
    assert (
        _daemons_view(tenant, id_)
        == {
            "active": (None, True, False),
            "suspended": ("Y", False, False),
            "disabled": ("Y", False, True),
        }[after]
    )


def _generation(tenant: Tenant, id_: int) -> int:
    return next(row for row in rows(tenant, "accounts") if row[0] == id_)[9]  # type: ignore[no-any-return]


def _daemons_view(tenant: Tenant, id_: int) -> tuple[str | None, bool, bool]:
    """nologin, whether the account may send, whether its mail is refused. With any status, the
    account keeps its mailbox."""

    def work(tx: Tx) -> tuple[str | None, bool, bool]:
        where = "WHERE local_part = 'name' AND domain = :d"
        login = tx.one(f"SELECT nologin FROM mail_logins {where}", d=tenant.domain)
        sender = tx.one(f"SELECT login FROM mail_senders {where}", d=tenant.domain)
        refusal = tx.one(f"SELECT action FROM mail_refusals {where}", d=tenant.domain)
        assert tx.one(f"SELECT target FROM mail_aliases {where}", d=tenant.domain) == (f"{id_}@acct.internal",)
        assert tx.one("SELECT id FROM mail_recipients WHERE id = :i", i=id_) == (id_,)
        assert login
        return login[0], sender is not None, refusal is not None

    return tenant.api.database.write_sync(work)


def test_back_to_active_has_the_same_password(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    before = rows(tenant, "accounts")[0][8]
    for status in ("suspended", "active", "disabled", "active"):
        tenant.put(PATH.format(id_), {"status": status})
    assert rows(tenant, "accounts")[0][8] == before


def test_several_changes_at_once(tenant: Tenant) -> None:
    tenant.account("first")
    id_, at = tenant.account("second")["id"], last_event(tenant)
    tenant.put(PATH.format(id_), {"display_name": "New", "status": "suspended", "is_default": True})
    found = tenant.full(id_)
    assert (found["display_name"], found["status"], found["is_default"]) == ("New", "suspended", True)
    events = tenant.events(after=at)
    assert [event["type"] for event in events] == ["account.updated", "account.suspended", "account.updated"]
    assert [event["data"].get("changed") for event in events] == [["display_name"], None, ["is_default"]]


def test_the_default_moves(tenant: Tenant) -> None:
    first, second, foreign = tenant.account("a"), tenant.account("b"), tenant.account("c", user_id="u2")
    at = last_event(tenant)
    shown = tenant.put(PATH.format(second["id"]), {"is_default": True}, fields="*").json["account"]
    assert shown == tenant.full(second["id"])
    assert [tenant.full(a["id"])["is_default"] for a in (first, second, foreign)] == [False, True, True]
    assert [(e["account_id"], e["data"]["changed"]) for e in tenant.events(after=at)] == [
        (second["id"], ["is_default"])
    ]


def test_a_disabled_account_does_not_become_the_default(tenant: Tenant) -> None:
    """Otherwise mail to the user's postmaster@ would go to the operator. An account that is already
    the default stays the default."""
    first, second = tenant.account("a"), tenant.account("b")
    path = PATH.format(second["id"])
    tenant.put(path, {"status": "disabled"})
    before = rows(tenant)
    for body in ({"is_default": True}, {"is_default": True, "display_name": "x"}):
        refused = tenant.put(path, body)
        assert (refused.status, refused.code) == (409, "account_disabled")
    assert rows(tenant) == before
    tenant.put(PATH.format(first["id"]), {"status": "disabled"})
    assert tenant.put(PATH.format(first["id"]), {"is_default": True}).status == 200  # nothing to change
    assert tenant.put(path, {"is_default": True, "status": "suspended"}).status == 200
    assert [tenant.full(account["id"])["is_default"] for account in (first, second)] == [False, True]


def test_a_suspended_default_stays_the_default(tenant: Tenant) -> None:
    first = tenant.account("a")
    tenant.account("b")
    tenant.put(PATH.format(first["id"]), {"status": "suspended"})
    assert tenant.full(first["id"])["is_default"]


# The statuses of the other accounts, and which account (0 is the default) is the default after the
# default is disabled.
SUCCESSION = [
    (["active", "active"], 1),
    (["suspended", "active"], 2),
    (["disabled", "active"], 2),
    (["disabled", "suspended"], 2),
    (["disabled", "disabled"], 0),
    ([], 0),
]


@pytest.mark.parametrize(("statuses", "new_default"), SUCCESSION)
def test_a_disabled_default_has_a_successor(tenant: Tenant, statuses: list[str], new_default: int) -> None:
    ids = [tenant.account(f"n{n}")["id"] for n in range(1 + len(statuses))]
    tenant.account("foreign", user_id="another")
    for id_, status in zip(ids[1:], statuses, strict=True):
        tenant.put(PATH.format(id_), {"status": status})
    at = last_event(tenant)
    shown = tenant.put(PATH.format(ids[0]), {"status": "disabled"}, fields="is_default").json["account"]
    assert shown == {"is_default": new_default == 0}
    assert [n for n, id_ in enumerate(ids) if tenant.full(id_)["is_default"]] == [new_default]
    assert new_events(tenant, at) == ["account.disabled"] + ["account.updated"] * (new_default != 0)


def test_updated_at_moves_and_created_at_stays(tenant: Tenant) -> None:
    account = tenant.account()
    shown = tenant.put(PATH.format(account["id"]), {"display_name": "New"}, fields="*").json["account"]
    assert shown == tenant.full(account["id"])
    assert shown["created_at"] == account["created_at"]
    assert shown["updated_at"] >= account["updated_at"]


def test_fields(tenant: Tenant) -> None:
    account = tenant.account()
    path = PATH.format(account["id"])
    assert tenant.put(path, {}, fields="*").json["account"] == account
    assert tenant.put(path, {"status": "disabled"}, fields="zzz").problem("fields") == "unknown_field"
    assert tenant.full(account["id"])["status"] == "active"


def test_it_works_when_the_domain_is_no_longer_active(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.set_domain_status(tenant.domain, "suspended")
    assert tenant.put(PATH.format(id_), {"status": "suspended"}).status == 200


def test_a_deleted_account(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    before = rows(tenant)
    assert tenant.put(PATH.format(id_), {"status": "active"}).status == 404
    assert rows(tenant) == before
