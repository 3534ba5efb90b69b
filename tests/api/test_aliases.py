"""The alias endpoints on both engines."""

import threading
from functools import partial
from typing import Any

import pytest

from postroom.accounts import alias_pages, purges
from postroom.db import Tx
from tests.api.rows import rows
from tests.harness.server import Response, Tenant

CREATE = "/v2/email-aliases/create"


def make(tenant: Tenant, local_part: str, *ids: int, **more: Any) -> Response:
    body = {"domain": tenant.domain, "local_part": local_part, "user_id": "u", "account_ids": list(ids)}
    return tenant.post(CREATE, body | more)


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.account("ann", user_id="u")["id"])


@pytest.fixture
def ben(tenant: Tenant) -> int:
    return int(tenant.account("ben", user_id="u")["id"])


def test_it_works(tenant: Tenant, ann: int, ben: int) -> None:
    answer = make(tenant, "Sales", ann, name="For customers")
    assert answer.status == 201, answer.text
    made = answer.json["alias"]
    assert answer.headers["location"] == f"/v2/email-aliases/{made['id']}"
    assert made | {"created_at": "", "updated_at": ""} == {
        "id": made["id"],
        "address": f"sales@{tenant.domain}",
        "domain": tenant.domain,
        "local_part": "sales",
        "kind": "alias",
        "user_id": "u",
        "account_ids": [ann],
        "may_send": True,
        "expires_at": None,
        "name": "For customers",
        "created_at": "",
        "updated_at": "",
    }
    assert tenant.get(answer.headers["location"]).json["alias"] == made
    changed = tenant.request("PUT", answer.headers["location"], {"account_ids": [ben, ann], "may_send": False})
    assert (changed.json["alias"]["kind"], changed.json["alias"]["account_ids"]) == ("group", [ann, ben])
    assert tenant.get("/v2/email-aliases").json["items"] == [changed.json["alias"]]
    deleted = tenant.post("/v2/email-aliases/delete", {"id": made["id"]})
    assert deleted.json == {"ok": True, "deleted": {"id": made["id"], "address": made["address"]}}
    assert tenant.get(answer.headers["location"]).status == 404
    types = [event["type"] for event in tenant.events() if event["type"].startswith("alias.")]
    assert types == ["alias.created", "alias.updated", "alias.deleted"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"local_part": "a+b"}, 400, "invalid_request"),
        ({"local_part": "a*"}, 400, "invalid_request"),
        ({"local_part": ".*"}, 400, "invalid_request"),
        ({"local_part": ""}, 400, "invalid_request"),
        ({"account_ids": []}, 400, "invalid_request"),
        ({"account_ids": list(range(1, 102))}, 400, "invalid_request"),
        ({"account_ids": [9**18]}, 404, "not_found"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "invalid_request"),
        ({"local_part": "*", "may_send": True}, 400, "invalid_request"),
        ({"local_part": "ann"}, 409, "address_exists"),
        ({"local_part": "admin"}, 409, "reserved_local_part"),
        ({"local_part": "admin", "allow_reserved": True}, 409, "reserved_local_part"),
        ({"domain": "nobody-has-this.test"}, 404, "not_found"),
        ({"user_id": "other"}, 404, "not_found"),
    ],
)
def test_refusals(tenant: Tenant, ann: int, body: dict[str, Any], status: int, code: str) -> None:
    answer = make(tenant, **{"local_part": "x", "account_ids": [ann]} | body)
    assert (answer.status, answer.code) == (status, code), answer.text
    assert tenant.get("/v2/email-aliases").json["items"] == []


def test_one_name_space_with_accounts(tenant: Tenant, ann: int) -> None:
    assert make(tenant, "sales", ann).status == 201
    assert make(tenant, "sales", ann).code == "address_exists"
    body = {"domain": tenant.domain, "local_part": "sales", "user_id": "u"}
    assert tenant.post("/v2/email-accounts/create", body).code == "address_exists"
    assert make(tenant, "*", ann).status == 201
    assert make(tenant, "*", ann).code == "address_exists"


def test_the_address_of_an_alias_is_not_available(tenant: Tenant, ann: int) -> None:
    """Not for its own user either."""
    make(tenant, "sales", ann)
    for user in ({}, {"user_id": "u"}):
        found = tenant.get("/v2/email-accounts/available", domain=tenant.domain, local_part="sales", **user).json
        assert found == {"available": False, "reason": "address_exists"}


def test_an_address_has_one_winner(tenant: Tenant, ann: int) -> None:
    """Accounts and aliases race for one address."""
    answers: list[Response] = []

    def run(number: int) -> None:
        body = {"domain": tenant.domain, "local_part": "race", "user_id": "u"}
        answers.append(make(tenant, "race", ann) if number % 2 else tenant.post("/v2/email-accounts/create", body))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [201] + [409] * 7


def test_the_limit_of_an_account(tenant: Tenant, ann: int, ben: int) -> None:
    assert tenant.request("PUT", "/v2/limits", {"user_id": "u", "aliases_per_account": 2}).status == 200
    assert make(tenant, "one", ann).status == make(tenant, "two", ann, ben).status == 201
    answer = make(tenant, "three", ben, ann)
    assert (answer.status, answer.code, answer.json["errors"][0]["field"]) == (
        409,
        "limit_reached",
        "aliases_per_account",
    )
    assert make(tenant, "three", ben).status == 201


def test_delete_and_restore_of_accounts(tenant: Tenant, ann: int, ben: int) -> None:
    alone, team, catch_all = (
        make(tenant, *who).json["alias"] for who in (("one", ann), ("team", ann, ben), ("*", ann))
    )
    lost = make(tenant, "lost", ann).json["alias"]
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    assert [item["id"] for item in tenant.get("/v2/email-aliases").json["items"]] == [team["id"]]
    assert tenant.get(f"/v2/email-aliases/{alone['id']}").status == 404
    tenant.post("/v2/email-accounts/delete", {"id": ben})
    assert tenant.get(f"/v2/email-aliases/{team['id']}").json["alias"]["account_ids"] == []
    assert [event["data"]["address"] for event in tenant.events() if event["type"] == "alias.orphaned"] == [
        team["address"]
    ]
    tenant.account("lost", user_id="u")
    assert tenant.post(f"/v2/email-accounts/{ann}/restore", {}).status == 200
    items = tenant.get("/v2/email-aliases").json["items"]
    assert [item["id"] for item in items] == [alone["id"], team["id"], catch_all["id"]]
    gone = [event["data"] for event in tenant.events() if event["type"] == "alias.deleted"]
    assert [(data["alias_id"], data["reason"]) for data in gone] == [(lost["id"], "address_exists")]


def test_a_group_whose_accounts_are_purged_is_still_listed(tenant: Tenant, ann: int, ben: int) -> None:
    """A platform finds the group and deletes it, so that its address and domain are free."""
    team = make(tenant, "team", ann, ben).json["alias"]
    make(tenant, "one", ann)
    for id_ in (ann, ben):
        tenant.post("/v2/email-accounts/delete", {"id": id_, "purge": True})
        begun = tenant.api.database.write_sync(partial(purges.begin_purge, id_=id_))
        assert begun
        tenant.api.database.write_sync(partial(purges.finish_purge, id_=id_))
    assert rows(tenant, "alias_members") == []
    assert tenant.get("/v2/email-aliases").json["items"] == [team | {"account_ids": []}]
    assert tenant.post("/v2/email-aliases/delete", {"id": team["id"]}).status == 200


def test_the_address_of_a_resting_alias_is_in_quarantine(tenant: Tenant, ann: int) -> None:
    make(tenant, "mine", ann)
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    other = tenant.account("other", user_id="v")["id"]
    assert make(tenant, "mine", other, user_id="v").code == "address_exists"


def test_a_domain_with_aliases_is_not_deleted(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    made = make(tenant, "x", ann, domain=domain).json["alias"]
    body = {"domain": domain, "user_id": "u"}
    assert tenant.post("/v2/domains/delete", body).code == "domain_not_empty"
    tenant.post("/v2/email-aliases/delete", {"id": made["id"]})
    assert tenant.post("/v2/domains/delete", body).status == 200


def test_filters(tenant: Tenant, ann: int, ben: int) -> None:
    domain = tenant.new_domain(user_id="u")
    made = [make(tenant, "a.one", ann), make(tenant, "a.two", ann, ben), make(tenant, "*", ben, domain=domain)]
    one, two, three = (answer.json["alias"] for answer in made)
    for filters, wanted in (
        ({}, [one, two, three]),
        ({"user_id": "u"}, [one, two, three]),
        ({"domain": domain}, [three]),
        ({"domain": "nobody-has-this.test"}, []),
        ({"account_id": ben}, [two, three]),
        ({"kind": "group"}, [two]),
        ({"q": "A."}, [one, two]),
        ({"q": "a.", "account_id": ben, "user_id": "u"}, [two]),
        ({"user_id": "other"}, []),
        ({"after": two["id"]}, [three]),
        ({"limit": 1, "offset": 1}, [two]),
    ):
        answer = tenant.get("/v2/email-aliases", **filters)
        assert answer.json["items"] == wanted, (filters, answer.text)
    assert tenant.get("/v2/email-aliases", kind="account").status == 400


def test_resolve(tenant: Tenant, ann: int, ben: int) -> None:
    make(tenant, "sales", ann)
    gone = tenant.account("gone", user_id="u")["id"]
    tenant.post("/v2/email-accounts/delete", {"id": gone})
    for local_part, wanted in (
        ("ann+tag", ("account", [ann], True, None)),
        ("Sales", ("alias", [ann], True, None)),
        ("nobody", ("none", [], False, "unknown")),
        ("gone", ("none", [], False, "quarantine")),
    ):
        found = tenant.get("/v2/email-aliases/resolve", address=f"{local_part}@{tenant.domain}").json
        assert (found["kind"], found["account_ids"], found["accepted"], found["reason"]) == wanted, local_part
    make(tenant, "*", ben)
    found = tenant.get("/v2/email-aliases/resolve", address=f"nobody+x@{tenant.domain}").json
    assert (found["kind"], found["account_ids"]) == ("catch_all", [ben])
    full = "UPDATE accounts SET over_quota_at = :since WHERE id = :id RETURNING id"
    for since, reason in ((1, "over_quota"), (None, None)):
        tenant.api.database.write_sync(partial(Tx.all, sql=full, since=since, id=ann))
        for local_part in ("ann", "sales"):
            found = tenant.get("/v2/email-aliases/resolve", address=f"{local_part}@{tenant.domain}").json
            assert (found["account_ids"], found["accepted"], found["reason"]) == ([ann], since is None, reason)
    tenant.request("PUT", f"/v2/email-accounts/{ann}", {"status": "disabled"})
    found = tenant.get("/v2/email-aliases/resolve", address=f"sales@{tenant.domain}").json
    assert (found["kind"], found["accepted"], found["reason"]) == ("alias", False, "disabled")
    assert tenant.get("/v2/email-aliases/resolve", address="x@nobody-has-this.test").status == 404
    assert tenant.get("/v2/email-aliases/resolve").status == 400


def test_postmaster_of_a_platform_domain_is_not_caught(tenant: Tenant, ann: int) -> None:
    """Where its mail leads to nobody, no catch-all takes it: the name could buy a certificate. On a
    user's own domain, the default account gets its mail."""
    own = tenant.new_domain(user_id="u")
    for domain, wanted in ((tenant.domain, (False, "unknown")), (own, (True, None))):
        make(tenant, "*", ann, domain=domain)
        for name in ("postmaster", "abuse"):
            found = tenant.get("/v2/email-aliases/resolve", address=f"{name}@{domain}").json
            assert (found["accepted"], found["reason"]) == wanted
            sql = "SELECT target FROM mail_dead_ends WHERE local_part = :name AND domain = :domain"
            ends = tenant.api.database.write_sync(partial(Tx.all, sql=sql, name=name, domain=domain))
            assert ends == ([] if found["accepted"] else [("0@acct.internal",)])


def test_a_key_that_is_bound_to_domains_must_see_both(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    made = make(tenant, "x", ann, domain=domain).json["alias"]
    key = tenant.new_key(domains=[domain])
    body = {"domain": domain, "local_part": "y", "user_id": "u", "account_ids": [ann]}
    assert tenant.api.request("POST", CREATE, body, key=key).status == 404
    assert tenant.api.request("GET", f"/v2/email-aliases/{made['id']}", None, key=key).status == 404
    assert tenant.api.request("GET", "/v2/email-aliases", None, key=key).json["items"] == []
    for status in ("active", "disabled"):  # the accepted and the refused answer show no foreign id
        tenant.request("PUT", f"/v2/email-accounts/{ann}", {"status": status})
        path = f"/v2/email-aliases/resolve?address=x@{domain}"
        found = tenant.api.request("GET", path, None, key=key).json
        assert (found["kind"], found["account_ids"], found["reason"]) == ("none", [], "unknown")
    both = tenant.new_key(domains=[domain, tenant.domain])
    assert tenant.api.request("POST", CREATE, body, key=both).status == 201


def test_a_repeated_create_is_carried_out_once(tenant: Tenant, ann: int) -> None:
    body = {"domain": tenant.domain, "local_part": "once", "user_id": "u", "account_ids": [ann]}
    answers = [tenant.post(CREATE, body, headers={"idempotency-key": "k"}) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json


def test_the_aliases_of_accounts(tenant: Tenant, ann: int, ben: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `?fields=`: in the answer about one account, in lists and in changes, the first ones."""
    for who in (("one", ann), ("two", ann, ben), ("*", ann)):
        make(tenant, *who)
    tenant.put(f"/v2/email-accounts/{ben}", {"local_part": "benny"})
    wanted = {ann: ["one", "two", "*"], ben: ["two", "ben"]}
    addresses = {id_: [f"{name}@{tenant.domain}" for name in names] for id_, names in wanted.items()}
    path = f"/v2/email-accounts/{ann}"
    monkeypatch.setattr(alias_pages, "MOST_SHOWN", 2)
    alias_pages.of_accounts_sql.cache_clear()
    try:
        for shown in (
            tenant.get(path, fields="aliases,aliases_more").json["account"],
            tenant.put(f"{path}?fields=aliases,aliases_more", {"display_name": "Ann"}).json["account"],
        ):
            assert shown == {"aliases": addresses[ann][:2], "aliases_more": True}
        for more in ({}, {"order": "newest"}, {"offset": 0, "user_id": "u"}, {"q": "a"}, {"limit": 1}):
            for listed in ("/v2/email-accounts", f"/v2/domains/{tenant.domain}/email-accounts"):
                items = tenant.get(listed, fields="*", **more).json["items"]
                assert items
                assert {item["id"]: item["aliases"] for item in items} == {
                    item["id"]: addresses[item["id"]][:2] for item in items
                }
                assert {item["aliases_more"] for item in items} <= {item["id"] == ann for item in items}
        assert tenant.get("/v2/email-accounts", fields="aliases", offset=1).json["items"] == [
            {"aliases": addresses[ben]}
        ]
        gone = tenant.post("/v2/email-accounts/delete?fields=*", {"id": ben}).json["deleted"]
        found = tenant.get("/v2/email-accounts", deleted="true", fields="*").json["items"]
        assert [account["aliases"] for account in (gone, *found)] == [[], []]
    finally:
        alias_pages.of_accounts_sql.cache_clear()


def test_a_restricted_key_sees_the_aliases_of_its_domains(tenant: Tenant, ann: int) -> None:
    domain = tenant.new_domain(user_id="u")
    other = tenant.account("other", domain=domain, user_id="u")["id"]
    for who, more in ((("here", ann), {}), (("there", ann), {"domain": domain}), (("shared", ann, other), {})):
        make(tenant, *who, **more)
    key = tenant.new_key(domains=[tenant.domain])
    for path in (f"/v2/email-accounts/{ann}?fields=aliases", "/v2/email-accounts?fields=aliases"):
        found = tenant.api.request("GET", path, None, key=key).json
        assert (found.get("account") or found["items"][0]) == {"aliases": [f"here@{tenant.domain}"]}
