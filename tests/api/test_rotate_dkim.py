"""POST /v2/domains/:domain/dkim/rotate."""

from datetime import datetime, timedelta

import pytest

from postroom.domains import dkim
from tests.api.rows import rows
from tests.harness.server import Tenant


def signing(tenant: Tenant, name: str) -> str:
    """Creates the domain's first key, as the worker would. Returns its selector."""
    key, id_ = dkim.generate(), domain_id(tenant, name)
    assert tenant.api.database.write_sync(lambda tx: dkim.fill(tx, id_, key))
    return key.selector


def domain_id(tenant: Tenant, name: str) -> int:
    sql = "SELECT id FROM domains WHERE name = :name"
    row = tenant.api.database.write_sync(lambda tx: tx.one(sql, name=name))
    assert row
    return int(row[0])


def path(name: str) -> str:
    return f"/v2/domains/{name}/dkim/rotate"


def test_it_works(tenant: Tenant) -> None:
    old = signing(tenant, tenant.domain)
    answer = tenant.post(path(tenant.domain), {"user_id": "u"})
    assert answer.status == 200, answer.text
    assert answer.json["domain"] == tenant.domain
    first, second = answer.json["dkim"]
    new = second["selector"]
    assert first == {
        "host": f"{old}._domainkey",
        "expected_value": first["expected_value"],
        "required": True,
        "selector": old,
        "state": "signing",
        "remove_after": None,
        "record_type": "TXT",
        "purpose": "dkim",
    }
    assert first["expected_value"].startswith("v=DKIM1; k=rsa; p=MIIB")
    assert (second["state"], second["required"], new != old) == ("next", False, True)
    assert [(e["type"], e["data"]) for e in tenant.events()][-1] == (
        "domain.dkim_rotated",
        {"domain": tenant.domain, "selector": new},
    )


def test_a_second_rotation_is_the_first(tenant: Tenant) -> None:
    signing(tenant, tenant.domain)
    first = tenant.post(path(tenant.domain), {"user_id": "u"}).json
    before = rows(tenant)
    assert tenant.post(path(tenant.domain), {"user_id": "u"}).json == first
    assert rows(tenant) == before


def test_a_domain_whose_key_is_still_to_be_made_gets_it(tenant: Tenant) -> None:
    (key,) = tenant.post(path(tenant.domain), {"user_id": "u"}).json["dkim"]
    assert key["state"] == "signing"


def test_the_old_record_stays_for_a_week(tenant: Tenant) -> None:
    old = signing(tenant, tenant.domain)
    new = tenant.post(path(tenant.domain), {"user_id": "u"}).json["dkim"][1]["selector"]
    id_ = domain_id(tenant, tenant.domain)
    assert tenant.api.database.write_sync(lambda tx: dkim.switch(tx, id_, new))
    shown = tenant.post(path(tenant.domain), {"user_id": "u"}).json["dkim"]
    assert [(key["selector"], key["state"]) for key in shown[:2]] == [(old, "retiring"), (new, "signing")]
    (switched,) = (event for event in tenant.events() if event["type"] == "domain.dkim_switched")
    ends, began = (datetime.fromisoformat(text) for text in (shown[0]["remove_after"], switched["created_at"]))
    assert ends - began == timedelta(days=7)
    assert shown[1]["remove_after"] is None


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("nobody-has-this.test", {"user_id": "u"}, "not_found"),
        ("no domain", {"user_id": "u"}, "not_found"),
        (None, {}, "invalid_request"),
        (None, {"user_id": "somebody", "what": 1}, "invalid_request"),
        (None, {"user_id": ""}, "invalid_request"),
        (None, {"user_id": 1}, "invalid_request"),
        (None, [], "invalid_request"),
    ],
)
def test_it_refuses(tenant: Tenant, name: str | None, body: object, code: str) -> None:
    before = rows(tenant)
    answer = tenant.post(path((name or tenant.domain).replace(" ", "%20")), body)
    assert answer.code == code
    assert rows(tenant) == before


def test_a_user_does_not_change_the_platforms_domain(tenant: Tenant) -> None:
    own = tenant.new_domain(user_id="u1")
    key = tenant.new_key(user_id="u1")
    assert tenant.post(path(own), {"user_id": "u1"}, key=key).status == 200
    assert tenant.post(path(tenant.domain), {"user_id": "u1"}, key=key).code == "forbidden"


def test_the_private_key_is_in_no_answer_event_or_log(tenant: Tenant, log_lines: list[str]) -> None:
    signing(tenant, tenant.domain)
    answer = tenant.post(path(tenant.domain), {"user_id": "u"})
    sql = "SELECT private_key FROM dkim_keys WHERE domain_id = :id"
    id_ = domain_id(tenant, tenant.domain)
    keys = [key for (key,) in tenant.api.database.write_sync(lambda tx: tx.all(sql, id=id_))]
    said = answer.text + str(answer.headers) + str(tenant.events()) + str(log_lines)
    assert len(keys) == 2
    assert not [line for key in keys for line in key.splitlines() if line in said]
