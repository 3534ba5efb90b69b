"""Idempotency-Key: how long an answer is stored, and that only its own request can open it."""

from pathlib import Path
from uuid import uuid4

from postroom import idempotency
from postroom.db import Tx, migrate
from tests.api.raw import CREATE, PATH, body_for
from tests.api.rows import DAY_MS, new_events, rows
from tests.api.test_retries import is_replay
from tests.harness.server import ApiServer, Tenant


def age(tenant: Tenant, milliseconds: int) -> None:
    """Ages the organization's stored answers by this many milliseconds."""
    sql = "UPDATE idempotent_answers SET expires_at = expires_at - :by WHERE organization_id = :o"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, by=milliseconds, o=tenant.organization_id))


def test_it_is_over_after_a_day(tenant: Tenant) -> None:
    account, once = tenant.account(), {"Idempotency-Key": "once"}
    path = f"{PATH}/{account['id']}/password/reset"
    first = tenant.post(path, {}, headers=once)
    age(tenant, DAY_MS - 60_000)
    assert tenant.post(path, {}, headers=once).text == first.text
    age(tenant, 60_000)
    second = tenant.post(path, {}, headers=once)
    assert (is_replay(second), second.status) == (False, 200)
    assert second.json["password"] != first.json["password"]
    assert tenant.post(path, {}, headers=once).text == second.text
    assert len(rows(tenant, "idempotent_answers")) == 1


def test_expired_answers_are_pruned_in_steps(tenant: Tenant) -> None:
    for number in range(3):
        tenant.post(CREATE, raw=body_for(tenant, f"a{number}"), headers={"Idempotency-Key": str(number)})
    database = tenant.api.database
    database.write_sync(lambda tx: idempotency.prune(tx, idempotency.due(tx)))
    assert len(rows(tenant, "idempotent_answers")) == 3
    age(tenant, DAY_MS)
    key_id = tenant.key_id(tenant.key)

    def fill(tx: Tx) -> None:
        many = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
        INSERT INTO idempotent_answers (organization_id, key_id, name, request, answer, expires_at)
        SELECT :o, :key, 'n' || i, 'r', 'a', 1 FROM n"""
        tx.run(many, o=tenant.organization_id, key=key_id)

    database.write_sync(fill)
    left = []
    while due := database.write_sync(idempotency.due):
        database.write_sync(lambda tx, due=due: idempotency.prune(tx, due))  # type: ignore[misc]
        left.append(len(rows(tenant, "idempotent_answers")))
    assert left[-1] == 0
    assert len(left) >= 2


def test_a_key_that_is_used_again_is_not_pruned(tenant: Tenant) -> None:
    """The key is used again after the worker has selected it for pruning."""
    once = {"Idempotency-Key": "once"}
    tenant.post(CREATE, raw=body_for(tenant, "a"), headers=once)
    age(tenant, DAY_MS)
    due = tenant.api.database.write_sync(idempotency.due)
    assert tenant.post(CREATE, raw=body_for(tenant, "b"), headers=once).status == 201
    tenant.api.database.write_sync(lambda tx: idempotency.prune(tx, due))
    assert is_replay(tenant.post(CREATE, raw=body_for(tenant, "b"), headers=once))


def test_a_kept_answer_opens_in_its_own_row_only(tenant: Tenant) -> None:
    once, body = {"Idempotency-Key": "once"}, body_for(tenant, "a")
    tenant.post(CREATE, raw=body, headers=once)
    sql = "UPDATE idempotent_answers SET answer = :answer WHERE organization_id = :o"
    answer = rows(tenant, "idempotent_answers")[0][5]
    forged = ("A" if answer[0] != "A" else "B") + answer[1:]
    tenant.api.database.write_sync(lambda tx: tx.run(sql, answer=forged, o=tenant.organization_id))
    assert tenant.post(CREATE, raw=body, headers=once).status == 500
    assert new_events(tenant) == ["account.created"]


def test_the_files_hold_no_secret(tmp_path: Path) -> None:
    """The files of the database contain neither the answers nor the keys that open them."""
    url = f"sqlite:///{tmp_path / 'postroom.db'}"
    migrate(url)
    secrets: list[str] = []
    with ApiServer.start(url) as api:
        tenant = api.new_tenant()
        for number in range(20):
            once = f"idempotency-{uuid4()}"
            made = tenant.create(f"a{number}", password=... if number % 2 else f"correct horse {uuid4()}")
            assert made.status == 201
            reset = tenant.post(
                f"{PATH}/{made.json['account']['id']}/password/reset", {}, headers={"Idempotency-Key": once}
            )
            key = tenant.post("/v2/keys", {}, headers={"Idempotency-Key": f"{once}-key"})
            chosen = f"horse battery {uuid4()}"
            raw = body_for(tenant, f"b{number}", password=chosen)
            assert tenant.post(CREATE, raw=raw, headers={"Idempotency-Key": f"{once}-create"}).status == 201
            secrets += [once, reset.json["password"], key.json["api_key"], chosen]
        secrets.append(tenant.key)
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert f"a1@{tenant.domain}".encode() in files
        assert b"wal" in b"".join(path.name.encode() for path in tmp_path.iterdir())
        assert [secret for secret in secrets if secret.encode() in files] == []
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [secret for secret in secrets if secret.encode() in files] == []
