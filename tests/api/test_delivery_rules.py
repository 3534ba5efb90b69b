"""GET and PUT /v2/email-accounts/:id/forwarding and /vacation."""

from typing import Any

import pytest

from postroom.accounts import purges
from tests.api.rows import age_deletions, last_event, new_events, rows
from tests.harness.server import Response, Tenant

FORWARDING = "/v2/email-accounts/{}/forwarding"
VACATION = "/v2/email-accounts/{}/vacation"
NOW = "2026-03-01T09:30:00Z"
SCRIPT = "SELECT script FROM mail_scripts WHERE name = 'postroom' AND username = :username"


def scripts(tenant: Tenant, id_: int) -> list[str]:
    """What Dovecot finds for an account."""
    found = tenant.api.database.write_sync(lambda tx: tx.all(SCRIPT, username=f"{id_}@acct.internal"))
    return [row[0] for row in found]


def forward(tenant: Tenant, id_: int, *to: str, **fields: Any) -> Response:
    done = tenant.put(FORWARDING.format(id_), {"enabled": True, "to": list(to or ["ann@else.example"]), **fields})
    assert done.status == 200, done.text
    return done


def test_it_works(tenant: Tenant) -> None:
    id_ = tenant.account("billing")["id"]
    account = {"id": id_, "domain": tenant.domain, "address": f"billing@{tenant.domain}"}
    none = {"enabled": False, "to": [], "keep_copy": True, "updated_at": None}
    assert tenant.get(FORWARDING.format(id_)).json == {"account": account, "forwarding": none}
    before = last_event(tenant)
    done = forward(tenant, id_, "Ann.O'Neil+x@ELSE.example", "ann.o'neil+x@else.example", "bob@bücher.example")
    rule = done.json["forwarding"]
    to = ["Ann.O'Neil+x@else.example", "bob@xn--bcher-kva.example"]
    assert rule == {"enabled": True, "to": to, "keep_copy": True, "updated_at": rule["updated_at"]}
    assert tenant.get(FORWARDING.format(id_)).json == done.json
    (event,) = tenant.events(after=before)
    assert event["type"] == "account.forwarding_changed"
    assert event["account_id"] == id_
    assert event["data"]["old"] == {"enabled": False, "to": [], "keep_copy": True}
    assert event["data"]["new"] == {"enabled": True, "to": to, "keep_copy": True}
    (script,) = scripts(tenant, id_)
    assert 'redirect :copy "bob@xn--bcher-kva.example";' in script


def test_the_same_rule_again_changes_nothing(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    first = forward(tenant, id_)
    away = {"enabled": True, "text": "away", "from_at": "2026-01-01T00:00:00.500+01:00"}
    second = tenant.put(VACATION.format(id_), away)
    before = rows(tenant)
    assert forward(tenant, id_).json == first.json
    assert tenant.put(VACATION.format(id_), away).json == second.json
    assert second.json["vacation"]["from_at"] == "2025-12-31T23:00:00.000Z"
    assert rows(tenant) == before


def test_a_vacation_is_replaced(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    none = {
        **{"enabled": False, "subject": None, "text": "", "from_at": None, "until_at": None, "days": 7},
        **{"active_now": False, "updated_at": None},
    }
    assert tenant.get(VACATION.format(id_)).json["vacation"] == none
    before = last_event(tenant)
    full = {"enabled": True, "subject": "Away", "text": "Not here.\n", "days": 3, "until_at": "2199-01-01T00:00:00Z"}
    done = tenant.put(VACATION.format(id_), full).json["vacation"]
    shown = {**none, **full, "until_at": "2199-01-01T00:00:00.000Z", "active_now": True}
    assert done == {**shown, "updated_at": done["updated_at"]}
    assert new_events(tenant, before) == ["account.vacation_changed"]
    assert tenant.events(after=before)[0]["data"]["changed"] == ["enabled", "subject", "text", "until_at", "days"]
    assert "Not here." not in str(tenant.events())
    bare = tenant.put(VACATION.format(id_), {"enabled": False}).json["vacation"]
    assert bare == {**none, "updated_at": bare["updated_at"]}
    assert scripts(tenant, id_) == []


REFUSED: list[tuple[str, Any, str, str]] = [
    (FORWARDING, {}, "enabled", "required"),
    (FORWARDING, {"enabled": True}, "to", "required"),
    (FORWARDING, {"enabled": "yes"}, "enabled", "invalid"),
    (FORWARDING, {"enabled": True, "to": [f"a{n}@else.example" for n in range(11)]}, "to", "invalid"),
    (FORWARDING, {"enabled": True, "to": ["{own}"]}, "to", "invalid"),
    (FORWARDING, {"enabled": False, "to": ["Billing+Tag@{domain}"]}, "to", "invalid"),
    (FORWARDING, {"enabled": True, "to": ["7@acct.internal"]}, "to", "invalid_domain"),
    (FORWARDING, {"enabled": True, "to": ["7@inbox.acct.internal"]}, "to", "invalid_domain"),
    (FORWARDING, {"enabled": True, "to": ["root@localhost"]}, "to", "invalid_domain"),
    (FORWARDING, {"enabled": True, "to": ["ann@127.0.0.1"]}, "to", "invalid_domain"),
    (FORWARDING, {"enabled": True, "to": ["ann"]}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": ['"a b"@else.example']}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": ['a"; discard; #@else.example']}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": ["a\n@else.example"]}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": ["ü@else.example"]}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": [f"{'a' * 65}@else.example"]}, "to", "invalid_address"),
    (FORWARDING, {"enabled": True, "to": ["a@else.example"], "copy": True}, "copy", "unknown_field"),
    (VACATION, {}, "enabled", "required"),
    (VACATION, {"enabled": True}, "text", "required"),
    (VACATION, {"enabled": True, "text": " \n"}, "text", "required"),
    (VACATION, {"enabled": True, "text": "ü" * 8193}, "text", "too_long"),
    (VACATION, {"enabled": True, "text": "a\u0000b"}, "text", "control_character"),
    (VACATION, {"enabled": True, "text": "a", "subject": "a\r\nBcc: x"}, "subject", "control_character"),
    (VACATION, {"enabled": True, "text": "a", "days": 0}, "days", "invalid"),
    (VACATION, {"enabled": True, "text": "a", "days": 366}, "days", "invalid"),
    (VACATION, {"enabled": True, "text": "a", "from_at": "2026-01-01"}, "from_at", "invalid"),
    (VACATION, {"enabled": True, "text": "a", "from_at": "0001-01-01T00:00:00Z"}, "from_at", "invalid"),
    (VACATION, {"enabled": True, "text": "a", "until_at": "9999-12-31T23:59:59-12:00"}, "until_at", "invalid"),
    (VACATION, {"enabled": True, "text": "a", "from_at": NOW, "until_at": NOW}, "until_at", "invalid"),
]


@pytest.mark.parametrize(("path", "body", "field", "code"), REFUSED, ids=lambda v: ascii(v)[:40])
def test_it_refuses(tenant: Tenant, path: str, body: Any, field: str, code: str) -> None:
    account = tenant.account("billing")
    if "to" in body:
        filled = [text.replace("{own}", account["address"]).replace("{domain}", tenant.domain) for text in body["to"]]
        body = {**body, "to": filled}
    before = rows(tenant)
    refused = tenant.put(path.format(account["id"]), body)
    assert (refused.status, refused.problem(field)) == (400, code), refused.text
    assert rows(tenant) == before


@pytest.mark.parametrize("status", ["suspended", "disabled"])
def test_the_script_of_a_stopped_account_is_hidden(tenant: Tenant, status: str) -> None:
    id_ = tenant.account()["id"]
    forward(tenant, id_)
    tenant.put(f"/v2/email-accounts/{id_}", {"status": status})
    assert scripts(tenant, id_) == []
    rule = {"enabled": True, "text": "away"}
    assert tenant.put(VACATION.format(id_), rule).json["vacation"]["active_now"] is False
    assert scripts(tenant, id_) == []
    tenant.put(f"/v2/email-accounts/{id_}", {"status": "active"})
    assert tenant.get(VACATION.format(id_)).json["vacation"]["active_now"] is True
    assert len(scripts(tenant, id_)) == 1


def test_the_script_of_a_lost_domain_is_hidden(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    forward(tenant, id_)
    lose = "UPDATE domains SET status = 'pending' WHERE name = :name"
    tenant.api.database.write_sync(lambda tx: tx.run(lose, name=tenant.domain))
    assert scripts(tenant, id_) == []


def test_a_restore_keeps_the_rules_and_a_purge_erases_them(tenant: Tenant) -> None:
    id_ = tenant.account()["id"]
    shown = forward(tenant, id_).json
    tenant.put(VACATION.format(id_), {"enabled": True, "text": "away"})
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    assert scripts(tenant, id_) == []
    assert tenant.get(FORWARDING.format(id_)).status == 404
    tenant.post(f"/v2/email-accounts/{id_}/restore", {})
    assert tenant.get(FORWARDING.format(id_)).json == shown
    assert len(scripts(tenant, id_)) == 1
    tenant.post("/v2/email-accounts/delete", {"id": id_})
    age_deletions(tenant, 400 * 24 * 3600 * 1000)
    assert tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, id_))
    assert [rows(tenant, table) for table in ("forwardings", "vacations", "delivery_scripts")] == [[], [], []]
