"""POST /v2/domain: a claim, pending, with the DNS records that prove it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.actor import Actor
from postroom.domains import dkim
from postroom.domains.commands import CLAIM_DAYS
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from tests.api.rows import DAY_MS, rows
from tests.harness.server import Tenant

PATH = "/v2/domain"
ALL_FIELDS = [
    *("id", "domain", "user_id", "status", "activated_by", "degraded_at", "degraded_reason"),
    *("expires_at", "created_at", "updated_at"),
]
HOST = "mail.postroom.test"


def claim(tenant: Tenant, domain: str, **options: Any) -> Any:
    return tenant.post(PATH, {"domain": domain, "user_id": "user_123"}, **options)


def test_it_works(tenant: Tenant) -> None:
    name = f"customer.{tenant.domain}"
    made = claim(tenant, name.upper())
    assert made.status == 201, made.text
    assert made.headers["location"] == f"/v2/domains/{name}/info"
    assert list(made.json) == ["message", "domain"]
    assert made.json["message"] == "Domain created"
    shown = made.json["domain"]
    assert list(shown) == ["domain", "dns", "route", "mx"]
    assert shown["domain"] == {"domain": name, "status": "pending"}
    assert shown["route"] == {"domain": name, "forward_mode": "store"}
    assert shown["mx"] == {"host": HOST, "priority": 10}
    for record in shown["dns"]:
        assert set(record) - {"priority"} == {"record_type", "host", "expected_value", "required", "purpose"}
        assert ("priority" in record) == (record["record_type"] in ("MX", "SRV"))
    required = [record["purpose"] for record in shown["dns"] if record["required"]]
    assert required[:3] == ["ownership", "mx", "spf"]
    assert tenant.get(made.headers["location"], user_id="user_123").json == shown


def test_it_is_pending_and_ends(tenant: Tenant) -> None:
    name = f"claim.{tenant.domain}"
    made = claim(tenant, name, fields="*").json["domain"]["domain"]
    assert list(made) == ALL_FIELDS
    assert (made["user_id"], made["status"], made["activated_by"]) == ("user_123", "pending", None)
    (row,) = [row for row in rows(tenant, "domains") if name in row]
    assert made["id"] in row
    (ends, made_at) = (
        tenant.api.database.write_sync(
            lambda tx: tx.one("SELECT expires_at, created_at FROM domains WHERE id = :id", id=made["id"])
        )
        or ()
    )
    assert ends - made_at == CLAIM_DAYS * DAY_MS
    assert tenant.create(domain=name).code == "domain_not_active"
    event = tenant.events()[-1]
    assert (event["type"], event["domain_id"], event["user_id"]) == ("domain.created", made["id"], "user_123")
    assert event["data"] == {"domain": name, "status": "pending"}


def test_fields(tenant: Tenant) -> None:
    made = claim(tenant, f"f.{tenant.domain}", fields="status,domain").json["domain"]["domain"]
    assert made == {"status": "pending", "domain": f"f.{tenant.domain}"}
    refused = claim(tenant, f"g.{tenant.domain}", fields="domain,token")
    assert (refused.status, refused.problem("fields")) == (400, "unknown_field")
    assert all(name in refused.text for name in ALL_FIELDS)


REFUSED: list[tuple[Any, str, str]] = [
    ({}, "domain", "required"),
    ({"domain": "customer.test"}, "user_id", "required"),
    ({"domain": "customer.test", "user_id": None}, "user_id", "invalid"),
    ({"domain": "customer.test", "user_id": ""}, "user_id", "invalid"),
    ({"domain": 7, "user_id": "u"}, "domain", "invalid"),
    ({"domain": "customer", "user_id": "u"}, "domain", "invalid_domain"),
    ({"domain": "co.uk", "user_id": "u"}, "domain", "invalid_domain"),
    ({"domain": "192.0.2.1", "user_id": "u"}, "domain", "invalid_domain"),
    ({"domain": "a.internal", "user_id": "u"}, "domain", "refused_domain"),
    ({"domain": "1.acct.internal", "user_id": "u"}, "domain", "refused_domain"),
    ({"domain": "a.local", "user_id": "u"}, "domain", "refused_domain"),
    ({"domain": "a.localhost", "user_id": "u"}, "domain", "refused_domain"),
    ({"domain": "customer.test", "user_id": "u", "status": "active"}, "status", "unknown_field"),
    ({"domain": "customer.test", "user_id": "u", "organization_id": None}, "organization_id", "invalid"),
    ({"domain": "customer.test", "user_id": "u", "organization_id": 1.5}, "organization_id", "invalid"),
]


@pytest.mark.parametrize(("body", "field", "code"), REFUSED)
def test_it_refuses(tenant: Tenant, body: Any, field: str, code: str) -> None:
    before = rows(tenant)
    refused = tenant.post(PATH, body)
    assert (refused.status, refused.problem(field)) == (400, code)
    assert rows(tenant) == before


def test_the_servers_own_name(tenant: Tenant) -> None:
    """The name in the database counts, because the daemons accept mail for that name."""

    def rename(name: str) -> None:
        sql = "INSERT INTO mail_host (id, name) VALUES (1, :name) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
        tenant.api.database.write_sync(lambda tx: tx.run(sql, name=name))

    rename(f"mx.{tenant.domain}")
    assert claim(tenant, f"mx.{tenant.domain}").problem("domain") == "refused_domain"
    rename(HOST)
    assert claim(tenant, f"mx.{tenant.domain}").status == 201


def test_the_same_name(tenant: Tenant, stranger: Tenant) -> None:
    """A user can claim a name once. Others may claim the same name and see nothing of the first
    claim. A user cannot claim a platform domain of the own organization."""
    name = f"same.{tenant.domain}"
    assert claim(tenant, name).status == 201
    again = claim(tenant, name)
    assert (again.status, again.code) == (409, "domain_exists")
    other = tenant.post(PATH, {"domain": name, "user_id": "other"})
    foreign = claim(stranger, name)
    tokens = {made.json["domain"]["dns"][0]["expected_value"] for made in (other, foreign)}
    assert (other.status, foreign.status, len(tokens)) == (201, 201, 2)
    assert claim(tenant, tenant.domain).code == "domain_exists"
    assert claim(stranger, tenant.domain).status == 201


def test_the_organization(tenant: Tenant, stranger: Tenant) -> None:
    own = [tenant.organization_id, str(tenant.organization_id), tenant.organization]
    for number, organization in enumerate(own):
        body = {"domain": f"o{number}.{tenant.domain}", "user_id": "u", "organization_id": organization}
        assert tenant.post(PATH, body).status == 201
    before = rows(tenant)
    for organization in (stranger.organization_id, stranger.organization, 9**18, "nobody", ""):
        body = {"domain": f"p.{tenant.domain}", "user_id": "u", "organization_id": organization}
        refused = tenant.post(PATH, body)
        assert (refused.status, refused.code) == (404, "not_found")
    assert rows(tenant) == before


def test_keys(tenant: Tenant) -> None:
    """A key bound to a user fills in user_id. A key bound to domains cannot claim another."""
    bound = tenant.new_key(user_id="shop")
    made = tenant.post(PATH, {"domain": f"k.{tenant.domain}"}, key=bound, fields="user_id")
    assert made.json["domain"]["domain"] == {"user_id": "shop"}
    assert claim(tenant, f"l.{tenant.domain}", key=bound).status == 404
    narrow = tenant.new_key(domains=[tenant.domain])
    assert (claim(tenant, f"m.{tenant.domain}", key=narrow).code) == "forbidden"


def test_a_limit(tenant: Tenant) -> None:
    assert tenant.put("/v2/limits", {"user_id": "user_123", "domains": 1}).status == 200
    assert claim(tenant, f"a.{tenant.domain}").status == 201
    refused = claim(tenant, f"b.{tenant.domain}")
    assert (refused.status, refused.code, refused.json["limit"]) == (409, "limit_reached", 1)


PENDING = """
INSERT INTO domains (organization_id, user_id, name, status, created_at, updated_at)
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
SELECT :organization, :user_id, :user_id || '-' || n || '.waiting.test', 'pending', 1, 1 FROM numbers"""
END_ONE = """
UPDATE domains SET deleted_at = 1
WHERE id = (SELECT MIN(id) FROM domains WHERE organization_id = :organization AND user_id = :user_id)"""


def test_pending_claims_are_limited(tenant: Tenant, stranger: Tenant) -> None:
    """Without a limit of domains, a user may have 500 claims and an organization 5,000."""

    def run(sql: str, user: str, **more: int) -> None:
        given = {"organization": tenant.organization_id, "user_id": user, **more}
        tenant.api.database.write_sync(lambda tx: tx.run(sql, **given))

    def refused(user: str, limit: int) -> bool:
        before = rows(tenant, "domains"), rows(tenant, "events")
        answer = tenant.post(PATH, {"domain": f"one-more.{tenant.domain}", "user_id": user})
        assert (answer.status, answer.code, answer.json["limit"]) == (409, "limit_reached", limit)
        assert answer.problem("pending_domains") == "limit_reached"
        return (rows(tenant, "domains"), rows(tenant, "events")) == before

    run(PENDING, "many", count=500)
    assert refused("many", 500)
    assert tenant.post(PATH, {"domain": f"few.{tenant.domain}", "user_id": "few"}).status == 201
    run(END_ONE, "many")
    assert tenant.post(PATH, {"domain": f"room.{tenant.domain}", "user_id": "many"}).status == 201
    tenant.put("/v2/limits", {"user_id": "many", "domains": 502})
    assert tenant.post(PATH, {"domain": f"capped.{tenant.domain}", "user_id": "many"}).status == 201
    run(PENDING, "crowd", count=4998)
    assert refused("few", 5000)
    assert tenant.create("inbox").status == 201
    assert claim(stranger, f"theirs.{tenant.domain}").status == 201
    actor = Actor(tenant.organization_id)
    tenant.api.database.write_sync(lambda tx: limits.change(tx, actor, None, SetLimits(domains=10_000)))
    assert tenant.post(PATH, {"domain": f"raised.{tenant.domain}", "user_id": "few"}).status == 201


def test_many_at_once(tenant: Tenant) -> None:
    name = f"race.{tenant.domain}"
    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda _: claim(tenant, name), range(24)))
    assert sorted(answer.status for answer in made) == [201] + [409] * 23
    assert len([row for row in rows(tenant, "domains") if name in row]) == 1


def test_no_key_is_made_for_a_refused_claim(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating a DKIM key costs as much as a thousand reads, so a refused claim creates none."""
    body = {"domain": f"once.{tenant.domain}", "user_id": "u"}
    assert tenant.post("/v2/domain", body).status == 201
    made: list[dkim.NewKey] = []

    def counted() -> dkim.NewKey:
        made.append(generate())
        return made[-1]

    generate = dkim.generate
    monkeypatch.setattr(dkim, "generate", counted)
    bound = tenant.new_key(domains=[tenant.domain])
    assert tenant.post("/v2/domain", body).code == "domain_exists"
    assert tenant.post("/v2/domain", {"domain": "a.internal", "user_id": "u"}).code == "invalid_request"
    assert tenant.post("/v2/domain", {"domain": "free.example", "user_id": "u"}, key=bound).code == "forbidden"
    assert made == []
