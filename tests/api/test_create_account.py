"""POST /v2/email-accounts/create."""

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from postroom.db import Tx
from tests.api.rows import opens, rows, stored_password
from tests.api.test_get_account import ALL_FIELDS
from tests.harness.server import ApiServer, Tenant

PATH = "/v2/email-accounts/create"
NOTE = "Save this password now. It will not be shown again."
GOOD = "a horse beside the lake"


def test_it_works(tenant: Tenant) -> None:
    made = tenant.create("billing", display_name="Billing")
    assert made.status == 201
    account = made.json["account"]
    assert made.headers["location"] == f"/v2/email-accounts/{account['id']}"
    assert list(made.json) == ["account", "password", "note"]
    assert list(account.items()) == [
        ("id", account["id"]),
        ("userId", "user_123"),
        ("domain", tenant.domain),
        ("local_part", "billing"),
        ("address", f"billing@{tenant.domain}"),
        ("display_name", "Billing"),
        ("status", "active"),
        ("isDefault", True),
    ]
    assert type(account["id"]) is int
    assert made.json["note"] == NOTE
    assert made.headers["cache-control"] == "no-store"
    assert opens(tenant, account["id"], made.json["password"])
    assert tenant.get(made.headers["location"]).status == 200


def test_the_request_of_the_specification(tenant: Tenant) -> None:
    name = tenant.new_domain(user_id="user_123")
    body = {"domain": name, "local_part": "billing", "display_name": "Billing", "user_id": "user_123"}
    assert tenant.post(PATH, body | {"password": GOOD}).json["password"] == GOOD
    assert tenant.post(PATH, body | {"local_part": "two"}).status == 201


REFUSED: list[tuple[str, Any, str]] = [
    ("domain", ..., "required"),
    ("domain", None, "invalid"),
    ("domain", 7, "invalid"),
    ("domain", "", "invalid_domain"),
    ("domain", "customer", "invalid_domain"),
    ("domain", "co.uk", "invalid_domain"),
    ("domain", "127.0.0.1", "invalid_domain"),
    ("domain", "[::1]", "invalid_domain"),
    ("domain", "customer.com.", "invalid_domain"),
    ("domain", "a b.com", "invalid_domain"),
    ("domain", "a\0.com", "invalid_domain"),
    ("domain", "x" * 64 + ".com", "invalid_domain"),
    ("domain", ".".join(["x" * 60] * 5), "invalid_domain"),
    ("local_part", ..., "required"),
    ("local_part", None, "invalid"),
    ("local_part", ["x"], "invalid"),
    ("local_part", "", "invalid_local_part"),
    ("local_part", " billing", "invalid_local_part"),
    ("local_part", "billing ", "invalid_local_part"),
    ("local_part", "bil ling", "invalid_local_part"),
    ("local_part", "a..b", "invalid_local_part"),
    ("local_part", "a.", "invalid_local_part"),
    ("local_part", ".a", "invalid_local_part"),
    ("local_part", "-a", "invalid_local_part"),
    ("local_part", "a+b", "invalid_local_part"),
    ("local_part", "a@b", "invalid_local_part"),
    ("local_part", "büro", "invalid_local_part"),
    ("local_part", "\N{KELVIN SIGN}ey", "invalid_local_part"),
    ("local_part", "a\0b", "invalid_local_part"),
    ("local_part", "../etc", "invalid_local_part"),
    ("local_part", "x" * 65, "invalid_local_part"),
    ("user_id", ..., "required"),
    ("user_id", None, "invalid"),
    ("user_id", 123, "invalid"),
    ("user_id", "", "invalid"),
    ("user_id", "x" * 129, "invalid"),
    ("user_id", "a\nb", "invalid"),
    ("user_id", "a\0b", "invalid"),
    ("user_id", "a\u200bb", "invalid"),
    ("display_name", 7, "invalid"),
    ("display_name", "x" * 256, "too_long"),
    ("display_name", "a\nb", "control_character"),
    ("display_name", "a\0b", "control_character"),
    ("display_name", "a\x85b", "control_character"),
    ("display_name", "a\u2028b", "control_character"),
    ("password", None, "invalid"),
    ("password", 123456789012345, "invalid"),
    ("password", "", "too_short"),
    ("password", "x-fourteen-chr", "too_short"),
    ("password", "abcdefg hij " * 22, "too_long"),
    ("password", "a horse\tbeside the lake", "control_character"),
    ("password", "a horse\0beside the lake", "control_character"),
    ("password", "passwordpassword", "common"),
    ("password", "kite47kite47kite47", "repeated"),
    ("password", "abababbbaabbabab", "few_characters"),
    ("password", "qwertyuiopasdfgh", "keyboard_run"),
    ("password", "12345678901234567890", "common"),
    ("password", "my billing is secret", "contains_address"),
    ("allow_reserved", None, "invalid"),
    ("allow_reserved", "true", "invalid"),
    ("password_hash", "{PLAIN}x", "unknown_scheme"),
    ("status", "active", "unknown_field"),
    ("id", 1, "unknown_field"),
    ("is_default", True, "unknown_field"),
    ("organization_id", 1, "unknown_field"),
    ("userId", "user_123", "unknown_field"),
]


@pytest.mark.parametrize(("field", "value", "code"), REFUSED, ids=lambda v: ascii(v)[:24])
def test_it_refuses(tenant: Tenant, field: str, value: Any, code: str) -> None:
    before = rows(tenant)
    refused = tenant.create(**{field: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem(field) == code
    assert rows(tenant) == before


def test_it_refuses_lone_surrogates(tenant: Tenant) -> None:
    for field in ("domain", "local_part", "user_id", "display_name", "password"):
        body = {"domain": tenant.domain, "local_part": "a", "user_id": "u", field: "a horse beside \ud800 lake"}
        assert tenant.post(PATH, body).status == 400, field


def test_one_answer_names_every_field_at_fault(tenant: Tenant) -> None:
    body = {"domain": "x", "local_part": "a+b", "display_name": "\n", "password": "short"}
    errors = tenant.post(PATH, body).json["errors"]
    assert {error["field"] for error in errors} == {"domain", "local_part", "user_id", "display_name", "password"}


@pytest.mark.parametrize("status", ["pending", "suspended"])
def test_a_domain_that_is_not_active(tenant: Tenant, status: Any) -> None:
    name = tenant.new_domain(status=status)
    before = rows(tenant)
    refused = tenant.create(domain=name)
    assert (refused.status, refused.code) == (409, "domain_not_active")
    assert rows(tenant) == before


def test_an_unknown_domain(tenant: Tenant) -> None:
    before = rows(tenant)
    refused = tenant.create(domain="nobody-has-this.test")
    assert (refused.status, refused.code) == (404, "not_found")
    assert rows(tenant) == before


def test_another_users_domain_looks_unknown(tenant: Tenant) -> None:
    theirs = tenant.new_domain(user_id="user_9")
    assert tenant.create(domain=theirs).status == 404
    assert tenant.create(domain=theirs, user_id="User_9").status == 404
    assert tenant.create(domain=theirs, user_id="user_9").status == 201


def test_another_organizations_domain_looks_unknown(tenant: Tenant, stranger: Tenant) -> None:
    assert tenant.create(domain=stranger.domain).status == 404


def test_a_claim_disturbs_neither_owner_nor_claimant(tenant: Tenant, stranger: Tenant) -> None:
    stranger.new_domain(tenant.domain, status="pending")
    assert stranger.create(domain=tenant.domain).code == "domain_not_active"
    assert tenant.create().status == 201


def test_a_users_first_accounts_at_once_have_one_default(tenant: Tenant, api: ApiServer, database_url: str) -> None:
    with ApiServer.start(database_url) as other, ThreadPoolExecutor(12) as pool:
        apis = itertools.cycle([api, other])
        body = {"domain": tenant.domain, "user_id": "many"}
        jobs = [
            pool.submit(next(apis).request, "POST", PATH, body | {"local_part": f"n{n}"}, key=tenant.key)
            for n in range(24)
        ]
        answers = [job.result() for job in jobs]
    assert {answer.status for answer in answers} == {201}, [a.text for a in answers if a.status != 201]
    assert sum(answer.json["account"]["isDefault"] for answer in answers) == 1


def test_the_first_account_of_each_user_is_the_default(tenant: Tenant) -> None:
    made = [tenant.create(name, user_id=user) for name, user in [("a", "u1"), ("b", "u1"), ("c", "u2")]]
    assert [answer.json["account"]["isDefault"] for answer in made] == [True, False, True]


def test_the_same_user_id_of_another_organization_is_another_user(tenant: Tenant, stranger: Tenant) -> None:
    assert tenant.create().json["account"]["isDefault"] is True
    assert stranger.create().json["account"]["isDefault"] is True


def test_display_name_is_kept_as_sent(tenant: Tenant) -> None:
    names = ["Zoë  O'Neil ", "", "漢字 👩‍👩‍👧", "e\u0301", "x" * 255, "a\u202eb", None]
    made = [tenant.create(f"n{n}", display_name=name).json["account"] for n, name in enumerate(names)]
    assert [account["display_name"] for account in made] == names
    assert [tenant.full(account["id"])["display_name"] for account in made] == names
    assert tenant.create("absent").json["account"]["display_name"] is None


def test_user_id_is_exact(tenant: Tenant) -> None:
    users = ["user", "User", " user", "usér", "use\u0301r", "x" * 128, "'; --", "漢"]
    made = [tenant.create(f"n{n}", user_id=user).json["account"] for n, user in enumerate(users)]
    assert [account["userId"] for account in made] == users
    assert all(account["isDefault"] for account in made)


def test_user_id_may_come_in_the_query(tenant: Tenant) -> None:
    body = {"domain": tenant.domain, "local_part": "a"}
    made = tenant.post(PATH, body, user_id="user_q")
    assert made.json["account"]["userId"] == "user_q"
    assert tenant.post(PATH, body | {"local_part": "b", "user_id": "user_q"}, user_id="user_q").status == 201
    assert tenant.post(PATH, body | {"local_part": "c", "user_id": "user_9"}, user_id="user_q").status == 404


def test_a_generated_password(tenant: Tenant) -> None:
    made = [tenant.create(f"n{n}").json["password"] for n in range(5)]
    assert len(set(made)) == 5
    assert all(re.fullmatch(r"[bcdfghjkmnpqrstvwxyz]{5}(-[bcdfghjkmnpqrstvwxyz]{5}){5}", p) for p in made)
    assert stored_password(tenant, tenant.account("x")["id"]).startswith("{SSHA512}")


@pytest.mark.parametrize(
    "password",
    [
        "exactly 15 char",
        "  two spaces before and after  ",
        "{PLAIN}it-is-only-text",
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "пароль из нескольких слов",
        "correct horse battery staple " * 8 + "0123456789abcdefghijklmn",
        "e\u0301tude pour un piano seul",
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_a_chosen_password(tenant: Tenant, password: str) -> None:
    made = tenant.create(password=password)
    assert made.status == 201, made.text
    assert made.json["password"] == password
    id_ = made.json["account"]["id"]
    assert opens(tenant, id_, password)
    assert not opens(tenant, id_, password[:-1])
    assert not opens(tenant, id_, password[:72] + "x")


def test_a_password_is_shown_once_and_never_stored(tenant: Tenant, log_lines: list[str]) -> None:
    chosen, line = "the lake beside a grey horse", len(log_lines)
    made = [tenant.create("a", password=chosen).json, tenant.create("b").json]
    tenant.create("a", password=chosen)
    tenant.create("+", password=chosen)
    later = tenant.get("/v2/email-accounts", fields="*").text + tenant.get("/v2/events", limit=500).text
    later += "".join(tenant.get(f"/v2/email-accounts/{answer['account']['id']}", fields="*").text for answer in made)
    logged = "".join(log_lines[line:])
    assert PATH in logged
    for answer in made:
        assert answer["password"] not in later + logged + repr(rows(tenant))
        assert tenant.key not in later + logged


def test_ids_ascend(tenant: Tenant) -> None:
    ids = [tenant.account(f"n{n}")["id"] for n in range(3)]
    tenant.post("/v2/email-accounts/delete", {"id": ids[-1]})
    tenant.create("n0")
    ids.append(tenant.account("later")["id"])
    assert ids == sorted(set(ids))


def test_fields(tenant: Tenant) -> None:
    body = {"domain": tenant.domain, "local_part": "a", "user_id": "u"}
    made = tenant.post(PATH, body, fields="*").json
    assert list(made) == ["account", "password", "note"]
    assert list(made["account"]) == ALL_FIELDS
    assert made["account"] == tenant.full(made["account"]["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", made["account"]["created_at"])
    made = tenant.post(PATH, body | {"local_part": "b"}, fields="status,id").json
    assert list(made["account"]) == ["status", "id"]


def test_an_unknown_field_name_creates_nothing(tenant: Tenant) -> None:
    before = rows(tenant)
    refused = tenant.post(PATH, {"domain": tenant.domain, "local_part": "a", "user_id": "u"}, fields="id,zzz")
    assert refused.status == 400
    assert refused.problem("fields") == "unknown_field"
    message = refused.json["errors"][0]["message"]
    assert "is_default" in message
    assert "zzz" not in message
    assert rows(tenant) == before


def test_a_key_of_one_user_fills_it_in(tenant: Tenant) -> None:
    key = tenant.new_key(user_id="bound")
    body = {"domain": tenant.domain, "local_part": "a"}
    assert tenant.post(PATH, body, key=key).json["account"]["userId"] == "bound"
    assert tenant.post(PATH, body | {"local_part": "b", "user_id": "bound"}, key=key).status == 201
    assert tenant.post(PATH, body | {"local_part": "c", "user_id": "other"}, key=key).status == 404
    assert tenant.post(PATH, body | {"local_part": "c"}, key=key, user_id="other").status == 404


def test_its_event(tenant: Tenant) -> None:
    made = tenant.create()
    event = tenant.events()[-1]
    account = made.json["account"]
    assert (event["type"], event["account_id"], event["user_id"]) == ("account.created", account["id"], "user_123")
    assert event["data"] == {"address": account["address"], "status": "active"}
    assert event["request_id"] == made.headers["x-request-id"]
    assert event["client_address"] == "127.0.0.1"
    key_ids = tenant.api.database.write_sync(
        lambda tx: tx.all("SELECT id FROM api_keys WHERE organization_id = :o", o=tenant.organization_id)
    )
    assert [(event["key_id"],)] == key_ids


def test_the_mailbox_is_there_with_the_answer(tenant: Tenant) -> None:
    made = tenant.create("billing").json["account"]

    def views(tx: Tx) -> list[Any]:
        where = "local_part = 'billing' AND domain = :d"
        shown = {"mail_aliases": "target", "mail_senders": "login", "mail_logins": "login, nologin, home"}
        return [tx.one(f"SELECT {names} FROM {view} WHERE {where}", d=tenant.domain) for view, names in shown.items()]

    alias, sender, login = tenant.api.database.write_sync(views)
    assert alias == (f"{made['id']}@acct.internal",)
    assert sender == (f"{made['id']}@1.acct.internal",)
    assert login == (*sender, None, f"{made['id'] % 256:02x}/{made['id']}")
