"""The app password endpoints on both engines (tests/mail/test_app_passwords.py logs in)."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postroom.accounts import app_passwords, purges
from postroom.actor import ALL_SCOPES, DEFAULT_SCOPES
from postroom.cluster import digest_keys
from postroom.db import Tx
from postroom.instance import digest_key
from tests.api.rows import rows
from tests.harness.server import KEY, Response, Tenant

BODY = {"name": "Ann's phone", "scopes": ["smtp", "imap"]}
LATER = (datetime.now(UTC) + timedelta(days=300)).strftime("%Y-%m-%dT%H:00:00Z")


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.account("ann", user_id="u")["id"])


def path(account_id: int, verb: str = "") -> str:
    return f"/v2/email-accounts/{account_id}/app-passwords{verb}"


def make(tenant: Tenant, account_id: int, **more: Any) -> Response:
    return tenant.post(path(account_id, "/create"), BODY | more)


def listed(tenant: Tenant, account_id: int) -> list[Any]:
    found: list[Any] = tenant.get(path(account_id)).json["app_passwords"]
    return found


def told(tenant: Tenant) -> list[Any]:
    return [(event["type"], event["data"]) for event in tenant.events() if event["type"].startswith("credential.")]


def test_it_works(tenant: Tenant, ann: int) -> None:
    answer = make(tenant, ann, networks=["192.0.2.7", "2001:db8::/32"], expires_at=LATER, user_id="u")
    assert answer.status == 201, answer.text
    made = answer.json["app_password"]
    assert made | {"created_at": ""} == {
        "id": made["id"],
        "name": "Ann's phone",
        "scopes": ["imap", "smtp"],
        "networks": ["192.0.2.7/32", "2001:db8::/32"],
        "created_at": "",
        "expires_at": LATER.replace("Z", ".000Z"),
        "last_used_at": None,
        "last_used_protocol": None,
    }
    assert answer.json["note"] == "Save this password now. It will not be shown again."
    assert tenant.get(path(ann)).json == {"id": ann, "address": f"ann@{tenant.domain}", "app_passwords": [made]}
    deleted = tenant.post(path(ann, "/delete"), {"id": made["id"]})
    assert deleted.json == {"ok": True, "deleted": {"id": made["id"], "name": made["name"], "sessions_ended": True}}
    assert made["id"] in tenant.api.ended_credentials
    assert listed(tenant, ann) == []
    facts = {"credential_id": made["id"], "name": made["name"], "scopes": made["scopes"], "networks": made["networks"]}
    facts |= {"address": f"ann@{tenant.domain}", "status": "active"}
    assert told(tenant) == [("credential.created", facts), ("credential.deleted", facts)]
    assert tenant.post(path(ann, "/delete"), {"id": made["id"]}).code == "not_found"


def test_only_the_hash_and_the_digest_are_kept(tenant: Tenant, ann: int) -> None:
    password = make(tenant, ann).json["password"]
    (row,) = rows(tenant, "app_passwords")
    assert digest_key.digest("0" * 64, password) in row
    assert any(str(value).startswith("{SSHA512}") for value in row)
    assert password not in str(rows(tenant))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["imap", "lmtp"]}, "scopes"),
        ({"networks": []}, "networks"),
        ({"networks": ["192.0.2.1/24"]}, "networks"),
        ({"networks": ["192.0.2.1' OR 1=1"]}, "networks"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "expires_at"),
        ({"password": "violet-harbor-sings-42"}, "password"),
    ],
)
def test_it_refuses(tenant: Tenant, ann: int, body: dict[str, Any], field: str) -> None:
    answer = make(tenant, ann, **body)
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.text
    assert field in [error["field"] for error in answer.json["errors"]]
    assert rows(tenant, "app_passwords") == []


def test_a_deleted_account_has_none(tenant: Tenant, ann: int) -> None:
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    assert make(tenant, ann).code == "not_found"
    assert tenant.get(path(ann)).code == "not_found"


def test_at_most_25(tenant: Tenant, ann: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: make(tenant, ann, name=f"n{number}").status, range(27)))
    assert sorted(answers) == [201] * 25 + [409] * 2
    assert make(tenant, ann).code == "limit_reached"
    one = listed(tenant, ann)[0]["id"]
    tenant.post(path(ann, "/delete"), {"id": one})
    assert make(tenant, ann).status == 201


def test_one_of_another_account_is_not_found(tenant: Tenant, ann: int) -> None:
    ben = int(tenant.account("ben", user_id="v")["id"])
    of_ben = make(tenant, ben).json["app_password"]["id"]
    before = rows(tenant)
    assert tenant.post(path(ann, "/delete"), {"id": of_ben}).code == "not_found"
    assert tenant.post(path(ben, "/delete"), {"id": of_ben, "user_id": "u"}).code == "not_found"
    assert rows(tenant) == before


def test_a_reset_keeps_them_unless_it_is_told_to_delete_them(tenant: Tenant, ann: int) -> None:
    first, second = (make(tenant, ann, name=name).json["app_password"]["id"] for name in ("a", "b"))
    reset = f"/v2/email-accounts/{ann}/password/reset"
    assert tenant.post(reset, {}).status == 200
    assert [one["id"] for one in listed(tenant, ann)] == [first, second]
    assert tenant.post(reset, {"revoke_app_passwords": True}).status == 200
    assert listed(tenant, ann) == []
    gone = [(data["credential_id"], data["reason"]) for type_, data in told(tenant) if type_ == "credential.deleted"]
    assert gone == [(first, "password_reset"), (second, "password_reset")]


def test_sessions_that_could_not_be_ended(tenant: Tenant, ann: int) -> None:
    made = make(tenant, ann).json["app_password"]["id"]
    tenant.api.ends = False
    try:
        answer = tenant.post(path(ann, "/delete"), {"id": made})
    finally:
        tenant.api.ends = True
    assert answer.json["deleted"]["sessions_ended"] is False
    assert [event["type"] for event in tenant.events()][-1] == "account.sessions_pending"
    (row,) = rows(tenant, "session_endings")
    assert made in row


def test_the_purge_erases_them(tenant: Tenant, ann: int) -> None:
    make(tenant, ann)
    tenant.post("/v2/email-accounts/delete", {"id": ann, "purge": True})
    assert len(rows(tenant, "app_passwords")) == 1
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, ann))
    assert rows(tenant, "app_passwords") == []


def expire(tenant: Tenant, id_: int) -> None:
    def work(tx: Tx) -> None:
        tx.run("UPDATE app_passwords SET expires_at = 1 WHERE id = :id", id=id_)
        assert id_ in app_passwords.expired(tx)
        app_passwords.expire(tx, id_)

    tenant.api.database.write_sync(work)


def test_an_expired_one_goes(tenant: Tenant, ann: int) -> None:
    made = make(tenant, ann).json["app_password"]["id"]
    expire(tenant, made)
    assert listed(tenant, ann) == []
    assert told(tenant)[-1][1]["reason"] == "expired"
    assert [made in row for row in rows(tenant, "session_endings")] == [True, True]
    again = make(tenant, ann).json["app_password"]["id"]
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    expire(tenant, again)
    assert rows(tenant, "app_passwords") == []
    assert [type_ for type_, _ in told(tenant)].count("credential.deleted") == 1


def test_a_login_that_was_refused_is_no_use(tenant: Tenant, ann: int) -> None:
    """Dovecot logs the right password for a suspended account as a login."""
    made = make(tenant, ann).json["app_password"]["id"]
    uses = {made: app_passwords.Use(ann, 10**12, "imap")}
    for status in ("suspended", "active"):
        tenant.put(f"/v2/email-accounts/{ann}", {"status": status})
        assert bool(tenant.api.database.write_sync(lambda tx: app_passwords.new_uses(tx, uses))) == (status == "active")
        tenant.api.database.write_sync(lambda tx: app_passwords.use(tx, uses))
        assert [one["last_used_protocol"] for one in listed(tenant, ann)] == [None if status != "active" else "imap"]


def test_a_key_has_the_scope_only_by_name(tenant: Tenant, ann: int) -> None:
    assert tenant.post("/v2/keys", {}).json["key"]["scopes"] == list(DEFAULT_SCOPES)
    named = tenant.post("/v2/keys", {"scopes": ["credentials:write"]})
    assert named.json["key"]["scopes"] == ["credentials:write"]
    support = tenant.post("/v2/keys", {}).json["api_key"]
    assert tenant.api.request("POST", path(ann, "/create"), BODY, key=support).code == "forbidden"
    wider = tenant.api.request("POST", "/v2/keys", {"scopes": list(ALL_SCOPES)}, key=support)
    assert wider.problem("scopes") == "too_wide"


def test_a_retry_gets_the_same_password(tenant: Tenant, ann: int) -> None:
    headers = {"idempotency-key": "once"}
    first, second = (tenant.request("POST", path(ann, "/create"), BODY, headers=headers) for _ in range(2))
    assert (first.status, first.text) == (201, second.text)
    assert len(listed(tenant, ann)) == 1


def test_a_host_with_another_key_makes_none(tenant: Tenant, ann: int) -> None:
    """It would work nowhere. A whole host brings its key only where there is no app password."""
    own = digest_key.fingerprint(KEY)

    def known(other: str | None = None) -> str:
        def work(tx: Tx) -> str:
            if other:
                digest_keys.claim(tx, other)
            return str((tx.one(digest_keys.GET) or [""])[0])

        return tenant.api.database.write_sync(work)

    make(tenant, ann)
    assert known("another") == own
    set_key = "UPDATE digest_keys SET fingerprint = :other"
    tenant.api.database.write_sync(lambda tx: tx.run(set_key, other="another"))
    try:
        answer = make(tenant, ann)
        assert (answer.code, len(listed(tenant, ann))) == ("not_available", 1)
    finally:
        tenant.api.database.write_sync(lambda tx: tx.run(set_key, other=own))
