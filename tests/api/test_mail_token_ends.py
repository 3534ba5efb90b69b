"""Mail tokens: what ends them, what is kept of them, and their bounds."""

from collections.abc import Callable
from typing import Any

import pytest

from postroom.accounts import mail_tokens, purges
from postroom.actor import ALL_SCOPES
from postroom.api.rate_limits import WRONG_KEYS
from tests.api import test_rate_limits
from tests.api.mail_tokens import TOKENS, USER, WRONG, account, ask, bearer, make
from tests.api.raw import plain
from tests.api.rows import rows
from tests.api.test_rate_limits import Clock, limited, state
from tests.harness.server import Tenant

clock = test_rate_limits.clock


def _run(tenant: Tenant, sql: str) -> None:
    tenant.api.database.write_sync(lambda tx: tx.run(f"{sql} WHERE organization_id = :o", o=tenant.organization_id))


# What ends the token of an account, at once and for good.
DEADLY: dict[str, Callable[[Tenant, int, int], Any]] = {
    "time": lambda t, id_, key: _run(t, "UPDATE mail_tokens SET expires_at = 1"),
    "its key's time": lambda t, id_, key: _run(t, f"UPDATE api_keys SET expires_at = CASE id WHEN {key} THEN 1 END"),
    "its key's end": lambda t, id_, key: t.post("/v2/keys/delete", {"id": key}),
    "a suspension": lambda t, id_, key: t.put(f"/v2/email-accounts/{id_}", {"status": "suspended"}),
    "a disabling": lambda t, id_, key: t.put(f"/v2/email-accounts/{id_}", {"status": "disabled"}),
    "the user's suspension": lambda t, id_, key: t.post("/v2/users/suspend", {"user_id": USER}),
    "a reset": lambda t, id_, key: t.post(f"/v2/email-accounts/{id_}/password/reset", {}),
    "a sign-out": lambda t, id_, key: t.post(f"/v2/email-accounts/{id_}/sessions/end", {}),
    "a deletion": lambda t, id_, key: t.post("/v2/email-accounts/delete", {"id": id_}),
    "the user's deletion": lambda t, id_, key: t.post("/v2/users/delete", {"user_id": USER}),
    "a lost domain": lambda t, id_, key: t.set_domain_status(t.domain, "pending"),
}


@pytest.mark.parametrize("of_account", [False, True], ids=["of the user", "of an account"])
@pytest.mark.parametrize("deadly", DEADLY)
def test_what_ends_a_token(tenant: Tenant, deadly: str, of_account: bool) -> None:
    id_ = account(tenant)
    child = tenant.post("/v2/keys", {"scopes": list(ALL_SCOPES)}).json
    fields: dict[str, Any] = {"account_id": id_} if of_account else {}
    token, path = make(tenant, key=child["api_key"], **fields), f"/v2/email-accounts/{id_}/mailboxes"
    assert ask(tenant, token, path).status == 200
    done = DEADLY[deadly](tenant, id_, child["key"]["id"])
    assert done is None or done.status == 200, done.text
    refused = [ask(tenant, token, path), ask(tenant, token, "/mail/sync", "POST", {}), ask(tenant, WRONG, path)]
    assert {(one.status, one.code) for one in refused} == {(401, "unauthorized")}
    if deadly.startswith(("a ", "the user's")) and deadly != "a lost domain":
        tenant.post(f"/v2/email-accounts/{id_}/restore", {})
        tenant.put(f"/v2/email-accounts/{id_}", {"status": "active"})
        assert ask(tenant, make(tenant), path).status == 200
        assert ask(tenant, token, path).status == 401


def test_what_ends_one_account_leaves_the_others(tenant: Tenant) -> None:
    first, second = account(tenant), account(tenant, "second")
    token = make(tenant)
    tenant.put(f"/v2/email-accounts/{second}", {"status": "suspended"})
    assert ask(tenant, token, f"/v2/email-accounts/{second}/mailboxes").code == "not_found"
    assert ask(tenant, token, f"/v2/email-accounts/{first}/mailboxes").status == 200
    later = account(tenant, "later")
    assert ask(tenant, token, f"/v2/email-accounts/{later}/mailboxes").code == "not_found"


def test_the_token_is_kept_as_a_hash(tenant: Tenant, log_lines: list[str]) -> None:
    line, once = len(log_lines), {"Idempotency-Key": "once"}
    path = f"/v2/email-accounts/{account(tenant)}/messages"
    made, again = (tenant.post(TOKENS, {"user_id": USER}, headers=once) for _ in range(2))
    token = made.json["token"]
    assert (again.text, again.headers["idempotent-replayed"]) == (made.text, "true")
    assert len(rows(tenant, "mail_tokens")) == len(rows(tenant, "mail_token_accounts")) == 1
    ask(tenant, token, path)
    ask(tenant, token, f"{path}/delete", "POST", {"ids": ["1.1"]})
    assert token not in repr(rows(tenant)) + "".join(log_lines[line:]) + tenant.get("/v2/events", limit=500).text
    assert made.headers["cache-control"] == "no-store"


def test_the_events(tenant: Tenant) -> None:
    id_ = account(tenant)
    make(tenant, scopes=["messages:read"], expires_in=60)
    token = make(tenant, account_id=id_)
    ask(tenant, token, f"/v2/email-accounts/{id_}/messages")
    of_user, of_account, read = tenant.events()[-3:]
    assert (of_user["type"], of_user["user_id"], of_user["account_id"]) == ("mail_token.created", USER, None)
    assert of_user["data"] == {"scopes": ["messages:read"], "expires_in": 60}
    assert (of_account["type"], of_account["account_id"]) == ("mail_token.created", id_)
    assert (read["type"], read["key_id"]) == ("message.read", tenant.key_id(tenant.key))


def test_its_retries_are_those_of_its_user(tenant: Tenant) -> None:
    """An Idempotency-Key of a token is that of the user's next token, of no other user, and not of
    the API key."""
    own, other = account(tenant), account(tenant, "other", user_id="other")
    once, body = {"Idempotency-Key": "once"}, {"ids": ["1.1"]}

    def replayed(id_: int, credential: dict[str, str]) -> str | None:
        path = f"/v2/email-accounts/{id_}/messages/delete"
        return tenant.api.request("POST", path, body, headers=credential | once).headers.get("idempotent-replayed")

    for credential in ({"x-api-key": tenant.key}, bearer(make(tenant))):
        assert [replayed(own, credential) for _ in range(2)] == [None, "true"]
    assert replayed(own, bearer(make(tenant))) == "true"
    assert [replayed(other, bearer(make(tenant, "other"))) for _ in range(2)] == [None, "true"]


def test_a_user_has_a_bounded_number(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_tokens, "MOST", 2)
    path = f"/v2/email-accounts/{account(tenant)}/mailboxes"
    account(tenant, "other", user_id="other")
    other = make(tenant, "other")
    tokens = [make(tenant) for _ in range(4)]
    assert [ask(tenant, token, path).status for token in tokens] == [401, 401, 200, 200]
    assert ask(tenant, other, "/mail/sync", "POST", {}).status == 200
    assert len(rows(tenant, "mail_tokens")) == len(rows(tenant, "mail_token_accounts")) == 3


def test_a_user_with_many_accounts_names_one(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_tokens, "MOST_ACCOUNTS", 1)
    ids = [account(tenant), account(tenant, "second")]
    assert tenant.post(TOKENS, {"user_id": USER}).problem("account_id") == "required"
    for id_ in ids:
        assert ask(tenant, make(tenant, account_id=id_), f"/v2/email-accounts/{id_}/mailboxes").status == 200


def test_the_purge_closes_the_account(tenant: Tenant) -> None:
    id_ = account(tenant)
    make(tenant)
    tenant.post("/v2/email-accounts/delete", {"id": id_, "purge": True})
    assert len(rows(tenant, "mail_token_accounts")) == 1
    tenant.api.database.write_sync(lambda tx: purges.begin_purge(tx, id_))
    assert rows(tenant, "mail_token_accounts") == []


def test_its_calls_count_for_its_key(database_url: str, clock: Clock) -> None:
    with limited(database_url, clock, rate_limit="5/minute") as tenant:
        path = f"/v2/email-accounts/{tenant.create().json['account']['id']}/mailboxes"
        token = make(tenant)
        assert [state(ask(tenant, token, path)) for _ in range(3)] == [(2, 60), (1, 60), (0, 60)]
        assert tenant.get(path).code == ask(tenant, token, path).code == "too_many_requests"


def test_wrong_ones_are_counted_by_address(database_url: str, clock: Clock) -> None:
    """As wrong keys are, and together with them."""
    with limited(database_url, clock, rate_limit="1000/minute") as tenant:
        path = f"/v2/email-accounts/{tenant.account()['id']}/mailboxes"
        token, unused = make(tenant), make(tenant)
        assert ask(tenant, token, path).status == 200
        for number in range(WRONG_KEYS.calls // 2):
            assert ask(tenant, f"{WRONG[:40]}{number:06}", path).status == 401
            assert ask(tenant, f"{WRONG[:40]}{number:06}", "/mail/sync", "POST", {}).status == 401
        for refused in (ask(tenant, WRONG, path), ask(tenant, unused, path), tenant.get(path, key="pr_wrong")):
            assert (refused.status, refused.code) == (429, "too_many_requests")
        assert ask(tenant, token, path).status == 200  # a known token is let in
        clock.now += WRONG_KEYS.seconds
        assert ask(tenant, unused, path).status == 200


def test_two_different_bearers_are_none(tenant: Tenant) -> None:
    account(tenant)
    sent = [f"authorization: Bearer {make(tenant)}" for _ in range(2)]
    head = ("content-type: application/json", "content-length: 2")
    assert plain(tenant, "POST", "/mail/sync", *sent, *head)[0] == 401
