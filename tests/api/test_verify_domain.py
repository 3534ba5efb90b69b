"""POST /v2/domains/:domain/verify with a real DNS server: how a claim becomes an active domain, and
what prevents it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from postroom.domains import verification
from postroom.settings import Settings
from tests.api.rows import rows
from tests.harness.dns_server import DnsServer
from tests.harness.server import ApiServer, Response, Tenant
from tests.harness.service import wait_for

USER = "user_123"
_numbers = count(1)


@dataclass
class World:
    """An API that resolves names with a DNS server of the test."""

    api: ApiServer
    dns: DnsServer

    def claim(self, tenant: Tenant, name: str, user_id: str = USER) -> str:
        assert tenant.post("/v2/domain", {"domain": name, "user_id": user_id}).status == 201
        return name

    def new_claim(self, tenant: Tenant) -> str:
        return self.claim(tenant, f"claim{next(_numbers)}-{tenant.organization_id}.example")

    def allow_checks(self) -> None:
        """Makes every domain ready for its next check at once."""
        self.api.database.write_sync(lambda tx: tx.run("UPDATE domain_checks SET free_at = 0"))

    def verify(self, tenant: Tenant, name: str, **options: Any) -> Response:
        self.allow_checks()
        return tenant.post(f"/v2/domains/{name}/verify", {"user_id": USER}, **options)

    def proven(self, tenant: Tenant, name: str) -> Response:
        """Publishes the records that the answer lists, and verifies again."""
        self.dns.publish_all(name, self.verify(tenant, name).json["dns"])
        return self.verify(tenant, name)

    def looked_at_after(self, event: dict[str, Any]) -> int:
        """The milliseconds from this event to the next scheduled check of its domain."""
        sql = """
        SELECT due_at - (SELECT created_at FROM events WHERE id = :event) FROM domain_checks
        WHERE domain_id = (SELECT domain_id FROM events WHERE id = :event)"""
        row = self.api.database.write_sync(lambda tx: tx.one(sql, event=event["id"]))
        assert row
        return int(row[0])


@pytest.fixture(scope="module")
def world(database_url: str) -> Iterator[World]:
    with DnsServer.start() as dns:
        settings = Settings(rate_limit="off", resolver=dns.address, hostname="mx.host.example")
        with ApiServer.start(database_url, settings) as api:
            yield World(api, dns)


@pytest.fixture
def ours(world: World) -> Tenant:
    return world.api.new_tenant()


@pytest.fixture
def theirs(world: World) -> Tenant:
    return world.api.new_tenant()


def statuses(answer: Response) -> dict[str, str]:
    return {record["purpose"]: record["status"] for record in answer.json["dns"]}


def told(tenant: Tenant, name: str) -> list[str]:
    """The types of the events about a domain."""
    return [event["type"] for event in tenant.events() if event["data"].get("domain") == name]


def test_it_works(world: World, ours: Tenant) -> None:
    name = world.new_claim(ours)
    answer = world.verify(ours, name)
    assert answer.status == 200, answer.text
    assert list(answer.json) == ["domain", "dns", "route", "mx"]
    assert answer.json["domain"] == {"domain": name, "status": "pending"}
    assert answer.json["route"] == {"domain": name, "forward_mode": "store"}
    assert answer.json["mx"] == {"host": "mx.host.example", "priority": 10}
    assert set(statuses(answer).values()) == {"missing"}
    first = answer.json["dns"][0]
    assert list(first) == ["record_type", "host", "expected_value", "required", "purpose", "status", "found", "fix"]
    assert (first["host"], first["found"]) == ("_postroom-challenge", [])
    assert f"_postroom-challenge.{name}" in first["fix"]

    world.dns.publish_all(name, answer.json["dns"])
    answer = world.verify(ours, name)
    assert answer.json["domain"] == {"domain": name, "status": "active"}
    assert set(statuses(answer).values()) == {"ok"}
    assert answer.json["dns"][0]["found"] == [first["expected_value"]]
    (event,) = (event for event in ours.events() if event["type"] == "domain.activated" and event["user_id"] == USER)
    assert event["data"] == {"domain": name, "from": "pending", "to": "active"}
    assert event["request_id"] == answer.headers["x-request-id"]
    assert ours.account("billing", domain=name)["address"] == f"billing@{name}"
    assert world.verify(ours, name).json == answer.json, "a second check must change nothing"
    assert told(ours, name) == ["domain.created", "domain.activated"]


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "user_id"), ({"user_id": None}, "user_id"), ({"user_id": ""}, "user_id"), ({"user_id": USER, "x": 1}, "x")],
)
def test_it_refuses(world: World, ours: Tenant, body: dict[str, object], field: str) -> None:
    name = world.new_claim(ours)
    before = rows(ours)
    answer = ours.post(f"/v2/domains/{name}/verify", body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.problem(field)
    assert rows(ours) == before


@pytest.mark.parametrize("name", ["nobody.example", "not%20a%20name", "com"])
def test_not_found(world: World, ours: Tenant, name: str) -> None:
    assert ours.post(f"/v2/domains/{name}/verify", {"user_id": USER}).code == "not_found"


def test_foreign_is_missing_and_asks_nothing(world: World, ours: Tenant, theirs: Tenant) -> None:
    name = world.new_claim(ours)
    asked = len(world.dns.asked)
    assert theirs.post(f"/v2/domains/{name}/verify", {"user_id": USER}).code == "not_found"
    assert ours.post(f"/v2/domains/{name}/verify", {"user_id": "another"}).code == "not_found"
    assert len(world.dns.asked) == asked


@pytest.mark.parametrize("purpose", ["ownership", "mx", "spf"])
def test_each_required_record_is_required(world: World, ours: Tenant, purpose: str) -> None:
    name = world.new_claim(ours)
    listed = world.verify(ours, name).json["dns"]
    world.dns.publish_all(name, [record for record in listed if record["purpose"] != purpose])
    answer = world.verify(ours, name)
    assert answer.json["domain"]["status"] == "pending"
    assert statuses(answer)[purpose] == "missing"
    assert "domain.activated" not in told(ours, name)


def test_the_required_records_are_enough(world: World, ours: Tenant) -> None:
    name = world.new_claim(ours)
    listed = world.verify(ours, name).json["dns"]
    world.dns.publish_all(name, [record for record in listed if record["required"]])
    assert world.verify(ours, name).json["domain"]["status"] == "active"


def test_the_token_of_another_claim_proves_nothing(world: World, ours: Tenant, theirs: Tenant) -> None:
    name = world.new_claim(ours)
    world.claim(theirs, name)
    world.dns.publish_all(name, world.verify(theirs, name).json["dns"])
    answer = world.verify(ours, name)
    assert statuses(answer)["ownership"] == "differs"
    assert answer.json["domain"]["status"] == "pending"


def test_silence_changes_nothing(world: World, ours: Tenant) -> None:
    name = world.new_claim(ours)
    world.dns.publish_all(name, world.verify(ours, name).json["dns"])
    world.dns.rcodes[name] = "SERVFAIL"
    answer = world.verify(ours, name)
    assert {statuses(answer)[purpose] for purpose in ("mx", "spf")} == {"unanswered"}
    assert answer.json["domain"]["status"] == "pending"
    del world.dns.rcodes[name]
    assert world.verify(ours, name).json["domain"]["status"] == "active"
    world.dns.rcodes[name] = "SERVFAIL"
    assert world.verify(ours, name).json["domain"]["status"] == "active"
    assert "domain.degraded" not in told(ours, name)


def test_a_check_at_a_time(world: World, ours: Tenant) -> None:
    """During a check and shortly after it, another check is refused with the time to wait."""
    name = world.new_claim(ours)
    answers: list[Response] = []
    call = lambda: answers.append(ours.post(f"/v2/domains/{name}/verify", {"user_id": USER}))  # noqa: E731
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200, 429, 429]
    later = ours.post(f"/v2/domains/{name}/verify", {"user_id": USER})
    assert later.code == "too_many_requests"
    assert 1 <= int(later.headers["retry-after"]) <= 30
    assert world.verify(ours, name).status == 200


def test_taking_over(world: World, ours: Tenant, theirs: Tenant) -> None:
    """A new proof takes the domain from its previous owner. The previous owner gets a new token, so
    the old records prove nothing."""
    name = world.new_claim(ours)
    assert world.proven(ours, name).json["domain"]["status"] == "active"
    account = ours.account("billing", domain=name)
    world.claim(theirs, name)
    answer = world.verify(theirs, name)
    assert (statuses(answer)["ownership"], answer.json["domain"]["status"]) == ("differs", "pending")

    before = ours.events()[-1]["id"]
    both = [answer.json["dns"][0]["expected_value"], world.verify(ours, name).json["dns"][0]["expected_value"]]
    world.dns.publish_all(name, answer.json["dns"])
    world.dns.publish(f"_postroom-challenge.{name}", "TXT", *both)
    assert world.verify(theirs, name).json["domain"]["status"] == "active"
    (lost,) = ours.events(after=before)
    assert (lost["type"], lost["data"]) == ("domain.lost", {"domain": name, "from": "active", "to": "pending"})
    assert world.looked_at_after(lost) == 30_000, "the previous owner's claim must be checked soon, not tomorrow"
    assert (lost["user_id"], lost["key_id"], lost["request_id"], lost["client_address"]) == (USER, None, None, None)
    assert {row[1:3] for row in rows(ours, "session_endings")} == {(account["id"], 1)}
    views = {
        "mail_sessions": "id = :id",
        "mail_logins": "domain = :name AND local_part = 'billing'",
        "mail_senders": "domain = :name AND local_part = 'billing'",
    }
    for view, where in views.items():
        sql = f"SELECT * FROM {view} WHERE {where}"
        params = {"id": account["id"]} if "id =" in where else {"name": name}
        assert world.api.database.write_sync(lambda tx, s=sql, p=params: tx.all(s, **p)) == [], view
    assert ours.create("more", domain=name).code == "domain_not_active"
    assert ours.get(f"/v2/email-accounts/{account['id']}").status == 200

    answer = world.verify(ours, name)
    assert answer.json["domain"]["status"] == "pending"
    assert answer.json["dns"][0]["expected_value"] not in both
    assert statuses(answer)["ownership"] == "differs"
    assert theirs.account("billing", domain=name)["id"] != account["id"]

    world.dns.publish_all(name, answer.json["dns"])
    assert world.verify(ours, name).json["domain"]["status"] == "active", "a new proof returns the domain"
    assert told(theirs, name)[-1] == "domain.lost"
    assert theirs.organization not in ours.get("/v2/events", limit=500).text


def test_a_name_below_another_organizations_domain_waits_for_its_consent(
    world: World, ours: Tenant, theirs: Tenant
) -> None:
    parent = world.new_claim(ours)
    assert world.proven(ours, parent).json["domain"]["status"] == "active"
    below = world.claim(theirs, f"shop.{parent}")
    answer = world.proven(theirs, below)
    assert set(statuses(answer).values()) == {"ok"}
    assert answer.json["domain"]["status"] == "pending"
    assert ours.organization not in answer.text
    consent = {"user_id": USER, "subdomain": below}
    assert ours.post(f"/v2/domains/{parent}/consent", consent).status == 200
    assert world.verify(theirs, below).json["domain"]["status"] == "active"


def test_one_organization_does_not_take_every_check(world: World, ours: Tenant, theirs: Tenant) -> None:
    """Running checks are counted per organization. With a silent DNS server, the organization's
    next check must wait, but another organization's check need not."""
    names = [world.new_claim(ours) for _ in range(verification.CHECKS_OF_ONE + 1)]
    free = world.new_claim(theirs)
    world.allow_checks()
    world.dns.silent |= set(names)
    answers: list[Response] = []
    call = lambda name: answers.append(ours.post(f"/v2/domains/{name}/verify", {"user_id": USER}))  # noqa: E731
    threads = [threading.Thread(target=call, args=(name,)) for name in names[:-1]]
    for thread in threads:
        thread.start()
    wait_for("the checks to reach the DNS", lambda: set(names[:-1]) <= {question[0] for question in world.dns.asked})
    refused = ours.post(f"/v2/domains/{names[-1]}/verify", {"user_id": USER})
    assert (refused.status, refused.code) == (429, "too_many_requests")
    assert theirs.post(f"/v2/domains/{free}/verify", {"user_id": USER}).status == 200
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}


def test_what_the_operator_has_given_is_not_taken_over(world: World, ours: Tenant, theirs: Tenant) -> None:
    name = ours.new_domain(user_id=USER)
    world.claim(theirs, name)
    for status in ("active", "suspended"):
        ours.set_domain_status(name, status)
        answer = world.proven(theirs, name)
        assert set(statuses(answer).values()) == {"ok"}
        assert answer.json["domain"]["status"] == "pending"
        assert world.verify(ours, name).json["domain"]["status"] == status
    assert "domain.lost" not in told(ours, name)


def test_what_the_operator_has_taken_back_stays_so(world: World, ours: Tenant) -> None:
    name = world.new_claim(ours)
    assert world.proven(ours, name).json["domain"]["status"] == "active"
    ours.set_domain_status(name, "pending")
    assert world.verify(ours, name).json["domain"]["status"] == "pending"


def test_two_claims_at_once(world: World, ours: Tenant, theirs: Tenant) -> None:
    """Two claims are proven at the same moment. Exactly one row becomes active, and the other claim
    stays consistent."""
    name = world.new_claim(ours)
    world.claim(theirs, name)
    listed = world.verify(ours, name).json["dns"]
    others = world.verify(theirs, name).json["dns"]
    for records in (listed, others):  # each claim has its own DKIM key
        world.dns.publish_all(name, records)
    tokens = [records[0]["expected_value"] for records in (listed, others)]
    world.dns.publish(f"_postroom-challenge.{name}", "TXT", *tokens)
    world.allow_checks()
    answers: list[Response] = []

    def call(tenant: Tenant) -> None:
        answers.append(tenant.post(f"/v2/domains/{name}/verify", {"user_id": USER}))

    threads = [threading.Thread(target=call, args=(tenant,)) for tenant in (ours, theirs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert {status for answer in answers for status in statuses(answer).values()} == {"ok"}
    sql = "SELECT status FROM domains WHERE name = :name ORDER BY status"
    found = world.api.database.write_sync(lambda tx: tx.all(sql, name=name))
    assert [row[0] for row in found] == ["active", "pending"]
    happened = told(ours, name) + told(theirs, name)
    assert happened.count("domain.activated") == happened.count("domain.lost") + 1


def test_the_token_is_in_no_event_and_no_log(world: World, ours: Tenant, log_lines: list[str]) -> None:
    name = world.new_claim(ours)
    token = world.proven(ours, name).json["dns"][0]["expected_value"]
    assert token not in ours.get("/v2/events", limit=500).text
    assert not [line for line in log_lines if token in line]
