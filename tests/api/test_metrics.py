"""GET /metrics: the Prometheus text format, correct over several processes, and without any name of
a tenant."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from postroom.api.context import Measured
from postroom.api.request_metrics import BOUNDS, ProcessSlot, RequestMetrics
from postroom.api.routes import ROUTES
from postroom.auth.keys import CreateKey
from postroom.cluster import moves, nodes
from postroom.cluster.nodes import Ports
from postroom.db import Tx
from postroom.service import bootstrap
from postroom.settings import Settings
from tests.harness.server import ApiServer, Response, Tenant
from tests.harness.service import LONG, wait_for

PATH = "/metrics"
DOCS = Path(__file__).parents[2] / "docs"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(answer: Response) -> Samples:
    """Every sample by its name and labels, as parsed by prometheus_client."""
    assert answer.status == 200, answer.text
    found = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found.get((f"postroom_{name}", frozenset(labels.items())), 0.0)


@pytest.fixture
def operators_key(tenant: Tenant) -> str:
    """A key of the operator's own organization, as `postroom keys create --organization operator`
    creates."""
    command = CreateKey(scopes=("metrics:read",))
    return tenant.api.database.write_sync(lambda tx: bootstrap.create_key(tx, bootstrap.ORGANIZATION, command))


def test_it_works(tenant: Tenant, operators_key: str) -> None:
    account = tenant.account()
    tenant.account("second")
    suspended = tenant.put(f"/v2/email-accounts/{account['id']}", {"status": "suspended"})
    assert suspended.status == 200
    answer = tenant.get(PATH)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer)
    for status, number in (("active", 1), ("suspended", 1), ("disabled", 0)):
        assert value(found, "accounts", status=status) == number
    assert value(found, "part_up", part="database") == 1
    found = samples(tenant.get(PATH, key=operators_key))
    assert value(found, "part_up", part="database") == 1
    assert value(found, "database_size_bytes") > 10_000
    works = {work for (name, labels) in found if name == "postroom_worker_lag_seconds" for _, work in labels}
    assert works == {"sessions", "purges", "checks", "webhooks"}
    assert ("postroom_writes_waiting", frozenset({("process", "api")})) in found


def test_a_tenant_sees_nothing_of_what_others_do(tenant: Tenant, stranger: Tenant, everything: Samples) -> None:
    """A tenant's key gets the same text whatever is measured and whichever tenants are busy."""
    names = {name for name, _ in samples(tenant.get(PATH))}
    assert names == {"postroom_accounts", "postroom_part_up", "postroom_build_info"}
    assert names < {name for name, _ in everything}
    before = tenant.get(PATH).text
    stranger.account()
    for _ in range(3):
        stranger.get("/v2/email-accounts")
        stranger.get("/v2/no-such-thing")
    tenant.api.measured = Measured(logins={("imap", "failure"): 3000}, mail_queue={"deferred": 90})
    assert tenant.get(PATH).text == before


def test_an_organization_that_is_called_alike_is_not_the_operator(tenant: Tenant, operators_key: str) -> None:
    command = CreateKey(scopes=("metrics:read",))
    for name in ("Operator", "operator ", "operators"):
        key = tenant.api.database.write_sync(partial(bootstrap.create_key, organization=name, command=command))
        assert "postroom_requests_total" not in tenant.get(PATH, key=key).text
    assert "postroom_requests_total" in tenant.get(PATH, key=operators_key).text


def test_requests_are_counted_by_route_and_status(tenant: Tenant, operators_key: str) -> None:
    before = samples(tenant.get(PATH, key=operators_key))
    for _ in range(3):
        tenant.get("/v2/email-accounts")
    tenant.get("/v2/email-accounts", limit="x")
    tenant.get("/v2/no-such-thing")
    tenant.request("PURGE", "/v2/email-accounts")
    after = samples(tenant.get(PATH, key=operators_key))

    def more(name: str, **labels: str) -> float:
        return value(after, name, process="api", **labels) - value(before, name, process="api", **labels)

    listing = {"method": "GET", "route": "/v2/email-accounts"}
    assert more("requests_total", **listing, status="200") == 3
    assert more("requests_total", **listing, status="400") == 1
    assert more("requests_total", method="GET", route="none", status="404") == 1
    assert more("requests_total", method="other", route="none", status="405") == 1
    assert more("request_duration_seconds_count", **listing) == 4
    assert more("request_duration_seconds_bucket", **listing, le="+Inf") == 4
    assert more("request_duration_seconds_sum", **listing) > 0
    buckets = [more("request_duration_seconds_bucket", **listing, le=str(bound)) for bound in BOUNDS]
    assert buckets == sorted(buckets)


def test_it_names_nobody(tenant: Tenant, operators_key: str) -> None:
    """Whatever clients send, every label is one of ours: no personal data, and a bounded number of
    series."""
    account = tenant.account("private", display_name="hidden")
    tenant.get(f"/v2/email-accounts/{account['id']}")
    tenant.get(f"/v2/domains/{tenant.domain}/info", user_id="user_123")
    tenant.get("/v2/no-such-path")
    text = tenant.get(PATH, key=operators_key).text
    assert not re.search(f"private|hidden|user_123|no-such|{re.escape(tenant.domain)}", text)
    assert tenant.organization not in text
    routes = set(re.findall(r'route="([^"]*)"', text))
    assert routes <= {route.path for route in ROUTES} | {"none", "/console/session"}


def test_a_key_counts_its_organization_alone(tenant: Tenant, stranger: Tenant) -> None:
    stranger.account()
    assert value(samples(tenant.get(PATH)), "accounts", status="active") == 0
    assert value(samples(stranger.get(PATH)), "accounts", status="active") == 1


def test_a_bound_key_sees_nothing(tenant: Tenant) -> None:
    for key in (tenant.new_key(user_id="u"), tenant.new_key(domains=[tenant.domain])):
        refused = tenant.get(PATH, key=key)
        assert (refused.status, refused.code) == (403, "forbidden")


@pytest.fixture
def open_api(database_url: str) -> Iterator[ApiServer]:
    with ApiServer.start(database_url, Settings(rate_limit="off", metrics="loopback")) as api:
        yield api


@pytest.fixture
def everything(tenant: Tenant, operators_key: str) -> Iterator[Samples]:
    """The operator's scrape of an instance that can measure everything."""
    api = tenant.api
    before, reasons = api.measured, dict(api.reasons)
    api.measured = Measured(
        logins={("imap", "success"): 7, ("imap", "failure"): 2},
        mail_queue={"deferred": 3, "active": 0},
        certificate_ends=1_900_000_000.0,
        worker_silence=0.5,
        has_filter=False,
    )
    api.reasons = {"dovecot": None, "postfix": "It does not answer."}
    account = tenant.account()
    api.database.write_sync(partial(_join, account_id=account["id"]))
    try:
        yield samples(tenant.get(PATH, key=operators_key))
    finally:
        api.measured, api.reasons = before, reasons
        api.database.write_sync(_part)


def _join(tx: Tx, account_id: int) -> None:
    """Adds two running nodes, one node that was never started, an account that moves, and the
    leftovers of a cancelled move."""
    for name in ("a", "b", "c"):
        nodes.add(tx, name, "192.0.2.1", 1700)
    for name in ("a", "b"):
        nodes.begin(tx, name, None, Ports(1993, 1995, 4190))
    a, b, _ = (node.id for node in nodes.everything(tx))
    tx.run("UPDATE nodes SET seen_at = seen_at - 90000 WHERE name = 'b'")
    moves.request(tx, account_id, "b")
    moves.freeze(tx, account_id)
    for node in (a, b):
        tx.run("INSERT INTO node_leftovers (account_id, node_id) VALUES (:id, :node)", id=account_id, node=node)


def _part(tx: Tx) -> None:
    """Removes the nodes, because other tests expect a single machine."""
    for table in ("node_leftovers", "account_moves", "account_homes", "node_loads", "nodes"):
        tx.run(f"DELETE FROM {table}")


def test_several_machines(tenant: Tenant, everything: Samples, operators_key: str) -> None:
    """For each node: its silence and its number of accounts; and the moves by phase. A single
    machine has none of these metrics."""
    assert 90 <= value(everything, "node_silence_seconds", node="b") < 90 + LONG
    assert value(everything, "node_silence_seconds", node="a") < LONG
    assert ("postroom_node_silence_seconds", frozenset({("node", "c")})) not in everything
    assert value(everything, "node_accounts", node="a") >= 1
    assert {node: value(everything, "node_accounts", node=node) for node in "bc"} == {"b": 0, "c": 0}
    found = {phase: value(everything, "moves", phase=phase) for phase in ("copy", "frozen", "clean", "cancelled")}
    assert found == {"copy": 0, "frozen": 1, "clean": 0, "cancelled": 2}
    of_nodes = {"postroom_node_silence_seconds", "postroom_node_accounts", "postroom_moves"}
    assert not {name for name, _ in samples(tenant.get(PATH))} & of_nodes
    tenant.api.database.write_sync(_part)
    names = {name for name, _ in samples(tenant.get(PATH, key=operators_key))}
    assert not names & of_nodes


def test_measurements_of_other_parts(tenant: Tenant, everything: Samples, operators_key: str) -> None:
    found = everything
    assert value(found, "logins_total", service="imap", result="success") == 7
    assert value(found, "logins_total", service="imap", result="failure") == 2
    assert value(found, "mail_queue_messages", queue="deferred") == 3
    assert value(found, "certificate_expiry_timestamp_seconds") == 1_900_000_000
    assert value(found, "worker_silence_seconds") == 0.5
    assert value(found, "filter_up") == 0
    assert (value(found, "part_up", part="dovecot"), value(found, "part_up", part="postfix")) == (1, 0)
    tenant.api.measured = Measured()
    names = {name for name, _ in samples(tenant.get(PATH, key=operators_key))}
    assert not names & {
        f"postroom_{name}" for name in ("logins_total", "mail_queue_messages", "worker_silence_seconds", "filter_up")
    }


def test_work_that_is_late(tenant: Tenant, operators_key: str) -> None:
    """The lag of each kind of work is the age of its oldest due row. The rows here are older than
    rows of other tests."""
    things = []
    for local_part in ("late", "due"):
        id_ = tenant.account(local_part)["id"]
        assert tenant.post("/v2/email-accounts/delete", {"id": id_, "purge": True}).status == 200
        things.append((id_, tenant.new_domain(user_id="u", status="pending")))
    lane = "INSERT INTO webhook_lanes (webhook_id) VALUES (:id)"
    tenant.api.database.write_sync(lambda tx: [tx.run(lane, id=-id_) for id_, _ in things])
    year, late = 365 * 24 * 3600, {"purges": 3, "sessions": 5, "checks": 7, "webhooks": 2}
    sql = {
        "purges": "UPDATE accounts SET purge_at = :at WHERE id = :id",
        "sessions": "UPDATE session_endings SET due_at = :at WHERE account_id = :id",
        "checks": "UPDATE domain_checks SET due_at = :at WHERE domain_id = (SELECT id FROM domains WHERE name = :name)",
        "webhooks": "UPDATE webhook_lanes SET due_at = :at WHERE webhook_id = -:id",
    }

    def work(tx: Tx) -> None:
        for (id_, name), share in zip(things, (1000, 900), strict=True):
            for kind, statement in sql.items():
                tx.run(statement, at=tx.now - late[kind] * year * share, id=id_, name=name)

    tenant.api.database.write_sync(work)
    found = samples(tenant.get(PATH, key=operators_key))
    for kind, years in late.items():
        assert years * year <= value(found, "worker_lag_seconds", work=kind) < years * year + LONG
    for table in ("domain_checks", "webhook_lanes"):
        sql_ = f"DELETE FROM {table} WHERE due_at < :at"
        tenant.api.database.write_sync(lambda tx, sql_=sql_: tx.run(sql_, at=tx.now - year))


def test_webhooks_that_fail(tenant: Tenant, operators_key: str) -> None:
    """How many deliveries wait, and how many webhooks have them because they fail."""
    before = samples(tenant.get(PATH, key=operators_key))

    def work(tx: Tx) -> None:
        sql = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, created_at)
VALUES (:organization, -1, 'event', :event, 'account.created', :status, 1)"""
        for event, status in enumerate(("pending", "pending", "failed", "delivered")):
            tx.run(sql, organization=tenant.organization_id, event=event, status=status)
        for id_, failing, due_at in ((-1, 1, 2**50), (-2, 1, None), (-3, 0, 2**50)):
            sql = "INSERT INTO webhook_lanes (webhook_id, failing, due_at) VALUES (:id, :failing, :due_at)"
            tx.run(sql, id=id_, failing=failing, due_at=due_at)

    def clear(tx: Tx) -> None:
        tx.run("DELETE FROM webhook_lanes WHERE webhook_id < 0")
        tx.run("DELETE FROM webhook_deliveries WHERE webhook_id < 0")

    tenant.api.database.write_sync(work)
    try:
        found = samples(tenant.get(PATH, key=operators_key))
    finally:
        tenant.api.database.write_sync(clear)
    grown = [value(found, name) - value(before, name) for name in ("webhook_deliveries_pending", "webhooks_failing")]
    assert grown == [2, 1]


def test_from_this_host_without_a_key(open_api: ApiServer, tenant: Tenant, stranger: Tenant) -> None:
    tenant.account()
    stranger.account()
    found = samples(open_api.request("GET", PATH))
    assert value(found, "accounts", status="active") >= 2
    proxied = [{name: "192.0.2.1"} for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via")]
    for headers in ({"x-api-key": "wrong"}, {"cookie": "postroom=x"}, *proxied):
        assert open_api.request("GET", PATH, headers=headers).status == 401
    assert open_api.request("GET", "/v2/email-accounts").status == 401
    assert open_api.request("POST", PATH, {}).status == 405
    assert tenant.get(PATH, key=None).status == 401


def test_several_processes(database_url: str, tenant: Tenant, tmp_path: Path, operators_key: str) -> None:
    """Any process answers for all processes, each under its own name."""
    names, quiet = ("api", "api-2"), Settings(rate_limit="off")
    for name in names:
        (tmp_path / f"{name}.counts").write_text("what another version has left")
    first, second = (ProcessSlot(name, names, tmp_path) for name in names)
    listing = {"method": "GET", "route": "/v2/email-accounts", "status": "200"}
    with (
        ApiServer.start(database_url, quiet, place=first) as one,
        ApiServer.start(database_url, quiet, place=second) as two,
    ):
        # The first process has written no counts yet.
        assert two.request("GET", PATH, key=operators_key).status == 200
        for api, times in ((one, 5), (two, 2)):
            for _ in range(times):
                assert api.request("GET", "/v2/email-accounts", key=tenant.key).status == 200

        def told(api: ApiServer) -> list[float]:
            found = samples(api.request("GET", PATH, key=operators_key))
            return [value(found, "requests_total", process=name, **listing) for name in names]

        for api in (one, two):
            assert wait_for("the counts of both", lambda api=api: told(api) == [5, 2])  # type: ignore[misc]


def test_one_process_leaves_no_file(database_url: str, tenant: Tenant, tmp_path: Path) -> None:
    with ApiServer.start(database_url, Settings(), place=ProcessSlot("api", ("api",), tmp_path)) as api:
        assert api.request("GET", "/healthz").status == 200
    assert list(tmp_path.iterdir()) == []


def test_a_tally_is_cumulated_in_its_bucket(tenant: Tenant) -> None:
    metrics = RequestMetrics(tenant.api.database, ProcessSlot())
    for seconds in (0.0, 0.001, 0.0011, 10.0, 10.1, 99.0):
        metrics.count("GET", "/healthz", 200, seconds)
    (process,) = metrics.processes()
    (counter,) = process.routes
    assert counter.count == sum(counter.buckets) == 6
    assert (counter.buckets[0], counter.buckets[1], counter.buckets[-2], counter.buckets[-1]) == (2, 1, 1, 2)


def test_invented_methods_are_one(tenant: Tenant) -> None:
    metrics = RequestMetrics(tenant.api.database, ProcessSlot())
    for number in range(50):
        metrics.count(f"M{number}", None, 401, 0.1)
    (process,) = metrics.processes()
    assert [(counter.method, counter.route, counter.count) for counter in process.routes] == [("other", "none", 50)]


# --- the documents that name metrics


def expressions() -> list[str]:
    """The expressions of the dashboard and of the alert rules."""
    board = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    rules = re.findall(r"^ +expr: (.*)$", (DOCS / "monitoring.md").read_text(encoding="utf-8"), re.M)
    assert len(shown) > 10
    assert len(rules) > 5
    return [*shown, *rules]


def test_every_expression_is_of_metrics_and_labels_that_exist(everything: Samples) -> None:
    labels: dict[str, set[str]] = {}
    for name, pairs in everything:
        labels.setdefault(name, {"instance", "job"}).update(label for label, _ in pairs)
    for expression in expressions():
        used = re.findall(r"(postroom_\w+)(?:\{([^}]*)\})?", expression)
        assert used or "up{" in expression, expression
        for name, matchers in used:
            assert name in labels, expression
            assert set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", matchers)) <= labels[name], expression
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        assert grouped <= set().union(*(labels[name] for name, _ in used)), expression


def test_every_metric_is_documented_and_shown(everything: Samples) -> None:
    rows = re.findall(r"^\| `(postroom_\w+)` \| (.*?) \|", (DOCS / "monitoring.md").read_text(encoding="utf-8"), re.M)
    documented = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    found: dict[str, set[str]] = {}
    for name, pairs in everything:
        plain = re.sub(r"(?<=duration_seconds)_(bucket|count|sum)$", "", name)
        found.setdefault(plain, set()).update({label for label, _ in pairs} - {"le"})
    assert documented == found
    board = " ".join(expressions())
    assert [name for name in found if name not in board] == []
