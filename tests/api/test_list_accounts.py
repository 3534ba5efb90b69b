"""GET /v2/email-accounts."""

import re
from typing import Any

import pytest

from tests.harness.server import Response, Tenant

PATH = "/v2/email-accounts"


def ids(answer: Response) -> list[int]:
    assert answer.status == 200, answer.text
    return [item["id"] for item in answer.json["items"]]


def next_of(answer: Response) -> str | None:
    """The target of rel="next"."""
    found = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("link", ""))
    return found.group(1) if found else None


def walk(tenant: Tenant, path: str, **query: Any) -> list[list[int]]:
    """The ids of every page, following the links from the first page."""
    answer = tenant.get(path, **query)
    pages = [ids(answer)]
    while link := next_of(answer):
        answer = tenant.get(link)
        pages.append(ids(answer))
    return pages


def test_it_works(tenant: Tenant) -> None:
    account = tenant.account("billing")
    listed = tenant.get(PATH, user_id="user_123", domain=tenant.domain)
    assert listed.status == 200
    assert list(listed.json) == ["items", "limit", "offset"]
    assert (listed.json["limit"], listed.json["offset"]) == (50, 0)
    assert [list(item.items()) for item in listed.json["items"]] == [
        [
            ("id", account["id"]),
            ("user_id", "user_123"),
            ("domain", tenant.domain),
            ("address", f"billing@{tenant.domain}"),
        ]
    ]


REFUSED = [
    ("limit", "0"),
    ("limit", "-1"),
    ("limit", "+1"),
    ("limit", "1.5"),
    ("limit", "1e2"),
    ("limit", "ten"),
    ("limit", ""),
    ("limit", " 1"),
    ("limit", "0x10"),
    ("limit", "٣"),
    ("limit", "９"),
    ("limit", "²"),
    ("limit", "1_0"),
    ("limit", str(2**63)),
    ("limit", "9" * 5000),
    ("offset", "-1"),
    ("offset", ""),
    ("offset", "٣"),
    ("offset", str(2**63)),
    ("offset", "x"),
    ("after", "-1"),
    ("after", str(2**63)),
    ("after", "x"),
    ("status", ""),
    ("status", "gone"),
    ("status", "Active"),
    ("password_scheme", ""),
    ("password_scheme", "Imported"),
    ("q", ""),
    ("q", "a\0"),
    ("user_id", ""),
    ("user_id", "x" * 129),
    ("user_id", "a\0b"),
    ("domain", ""),
    ("domain", "x"),
    ("domain", "127.0.0.1"),
    ("domain", "a\0.com"),
    ("fields", ""),
    ("fields", "zzz"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=lambda v: ascii(v)[:20])
def test_it_refuses(tenant: Tenant, name: str, value: str) -> None:
    refused = tenant.get(PATH, **{name: value})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert refused.problem("query" if "\0" in value else name)


@pytest.mark.parametrize(
    "name", ["user_id", "domain", "status", "password_scheme", "q", "limit", "offset", "after", "fields"]
)
def test_a_repeated_parameter(tenant: Tenant, name: str) -> None:
    value = "1" if name in ("limit", "offset", "after") else "id" if name == "fields" else "active"
    for second in (name, f"%{ord(name[0]):x}{name[1:]}"):
        refused = tenant.get(f"{PATH}?{name}={value}&{second}={value}")
        assert (refused.status, refused.problem(name)) == (400, "repeated")


def test_unknown_parameters_are_ignored(tenant: Tenant) -> None:
    account = tenant.account()
    assert ids(tenant.get(f"{PATH}?page=7&page=8&x&Limits=0&api_key={tenant.key}")) == [account["id"]]


@pytest.mark.parametrize(
    ("sent", "used"), [("1", 1), ("007", 7), ("499", 499), ("500", 500), ("501", 500), (str(2**63 - 1), 500)]
)
def test_the_limit_in_force_is_answered(tenant: Tenant, sent: str, used: int) -> None:
    listed = tenant.get(PATH, limit=sent)
    assert (listed.status, listed.json["limit"]) == (200, used)


@pytest.mark.parametrize("query", [{"offset": 3}, {"offset": 2**63 - 1}, {"after": 2**63 - 1}, {"offset": 1001}])
def test_past_the_end_is_an_empty_page(tenant: Tenant, query: dict[str, int]) -> None:
    for n in range(3):
        tenant.create(f"n{n}")
    listed = tenant.get(PATH, **query)
    assert (listed.status, listed.json["items"], next_of(listed)) == (200, [], None)
    assert listed.json["offset"] == query.get("offset", 0)


def test_offset_and_limit(tenant: Tenant) -> None:
    made = [tenant.account(f"n{n}")["id"] for n in range(5)]
    assert ids(tenant.get(PATH)) == made
    assert ids(tenant.get(PATH, limit=2)) == made[:2]
    assert ids(tenant.get(PATH, limit=2, offset=2)) == made[2:4]
    assert ids(tenant.get(PATH, limit=2, offset=4)) == made[4:]
    assert ids(tenant.get(PATH, after=made[1], offset=1, limit=2)) == made[3:]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 50])
def test_the_links_lead_through_every_account_once(tenant: Tenant, limit: int) -> None:
    made = [tenant.account(f"n{n}")["id"] for n in range(6)]
    pages = walk(tenant, PATH, limit=limit)
    assert [id_ for page in pages for id_ in page] == made
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


def test_the_walk_is_not_disturbed_by_changes(tenant: Tenant) -> None:
    made = [tenant.account(f"n{n}")["id"] for n in range(5)]
    first = tenant.get(PATH, limit=2)
    tenant.post(f"{PATH}/delete", {"id": made[0]})
    tenant.post(f"{PATH}/delete", {"id": made[3]})
    link = next_of(first)
    assert link
    assert ids(tenant.get(link)) == [made[2], made[4]]


def test_the_link_keeps_the_question(tenant: Tenant) -> None:
    for n in range(5):
        tenant.create(f"n-{n}", user_id="a user&b=ü")
        tenant.create(f"other{n}", user_id="another")
    query = {"user_id": "a user&b=ü", "domain": tenant.domain, "q": "n-", "status": "active", "fields": "id,user_id"}
    first = tenant.get(PATH, limit=2, offset=1, **query)
    link = next_of(first)
    assert link
    assert link.isascii()
    assert "offset" not in link
    second = tenant.get(link)
    assert [list(item) for item in second.json["items"]] == [["id", "user_id"]] * 2
    assert {item["user_id"] for item in second.json["items"]} == {"a user&b=ü"}
    assert next_of(second) is None
    assert second.json["limit"] == 2


def test_filters(tenant: Tenant) -> None:
    other = tenant.new_domain()
    wanted = {
        (user, domain, status): tenant.account(f"{user}-{status}", user_id=user, domain=domain)["id"]
        for user in ("u1", "u2")
        for domain in (tenant.domain, other)
        for status in ("active", "suspended", "disabled")
    }
    for (_, _, state), id_ in wanted.items():
        tenant.put(f"{PATH}/{id_}", {"status": state})
    for user in (None, "u1", "u2", "U1"):
        for domain in (None, tenant.domain, other):
            for status in (None, "active", "suspended", "disabled"):
                for q in (None, "u1-", "u2-s", "U", "zzz"):
                    sent = {"user_id": user, "domain": domain, "status": status, "q": q}
                    query = {name: value for name, value in sent.items() if value}
                    start = (q or "").lower()
                    expected = [
                        id_
                        for (u, d, s), id_ in wanted.items()
                        if user in (None, u)
                        and domain in (None, d)
                        and status in (None, s)
                        and f"{u}-{s}".startswith(start)
                    ]
                    assert ids(tenant.get(PATH, **query)) == expected, query


def test_q_is_a_prefix_of_the_address_and_nothing_more(tenant: Tenant) -> None:
    made = {name: tenant.account(name)["id"] for name in ("a_b", "a-b", "axb", "a", "b.a")}
    expected = {
        "a_b": ["a_b"],
        "a%": [],
        "a*": [],
        "A": ["a_b", "a-b", "axb", "a"],
        f"a@{tenant.domain}": ["a"],
        f"a@{tenant.domain}x": [],
        "'": [],
        "ü": [],
        "\x7f": [],
        "\U0010ffff": [],
        "a" * 5000: [],
    }
    for sent, names in expected.items():
        assert ids(tenant.get(PATH, q=sent)) == sorted(made[name] for name in names), ascii(sent)[:20]


def test_search_is_paged_in_the_order_of_ids(tenant: Tenant) -> None:
    made = [tenant.account(f"n{9 - n}")["id"] for n in range(5)]
    tenant.create("m")
    assert walk(tenant, PATH, q="n", limit=2) == [made[:2], made[2:4], made[4:]]
    assert ids(tenant.get(PATH, q="n", limit=2, offset=3)) == made[3:]


def test_a_domain_in_any_spelling(tenant: Tenant) -> None:
    number = tenant.domain.removesuffix(".test")
    name = tenant.new_domain(f"bücher{number}.test".encode("idna").decode())
    account = tenant.account(domain=name)
    for spelling in (name, name.upper(), f"BÜCHER{number}.test", f"bu\u0308cher{number}.test"):
        assert ids(tenant.get(PATH, domain=spelling)) == [account["id"]], spelling


def test_an_unknown_domain_has_no_accounts(tenant: Tenant, stranger: Tenant) -> None:
    tenant.create()
    stranger.create()
    assert ids(tenant.get(PATH, domain="nobody-has-this.test")) == []
    assert ids(tenant.get(PATH, domain=stranger.domain)) == []


def test_deleted_accounts_are_not_listed(tenant: Tenant) -> None:
    first, second = tenant.account("a"), tenant.account("b")
    tenant.post(f"{PATH}/delete", {"id": first["id"]})
    for query in ({}, {"q": "a"}, {"domain": tenant.domain}, {"user_id": "user_123"}, {"status": "active"}):
        assert first["id"] not in ids(tenant.get(PATH, **query))
    assert ids(tenant.get(PATH)) == [second["id"]]


def test_it_works_when_the_domain_is_no_longer_active(tenant: Tenant) -> None:
    account = tenant.account()
    tenant.set_domain_status(tenant.domain, "suspended")
    assert ids(tenant.get(PATH, domain=tenant.domain)) == [account["id"]]


def test_a_key_of_one_user_lists_that_users_accounts(tenant: Tenant) -> None:
    account, _ = tenant.account("a", user_id="bound"), tenant.account("b", user_id="other")
    key = tenant.new_key(user_id="bound")
    for query in ({}, {"user_id": "bound"}, {"domain": tenant.domain}, {"q": "a"}):
        assert ids(tenant.get(PATH, key=key, **query)) == [account["id"]]
    assert ids(tenant.get(PATH, key=key, q="b")) == []
    assert tenant.get(PATH, key=key, user_id="other").status == 404
    assert tenant.get(PATH, key=key, user_id="other", domain="nobody-has-this.test").status == 404


def test_fields(tenant: Tenant) -> None:
    account = tenant.account()
    assert tenant.get(PATH, fields="*").json["items"] == [account]
    assert tenant.get(PATH, fields="status,address").json["items"] == [
        {"status": "active", "address": account["address"]}
    ]


def test_head(tenant: Tenant) -> None:
    tenant.create("a")
    tenant.create("b")
    got, head = tenant.get(PATH, limit=1), tenant.request("HEAD", PATH, limit=1)
    assert (head.status, head.text) == (200, "")
    assert head.headers["link"] == got.headers["link"]


def test_newest_first(tenant: Tenant) -> None:
    ids = [tenant.account(name)["id"] for name in ("one", "two", "three", "twelve")]
    first = tenant.get(PATH, order="newest", limit=3)
    assert [item["id"] for item in first.json["items"]] == ids[:0:-1]
    path = first.headers["link"].partition(">")[0].removeprefix("<")
    assert [item["id"] for item in tenant.get(path).json["items"]] == ids[:1]
    assert [item["id"] for item in tenant.get(PATH, order="newest", q="tw").json["items"]] == [ids[3], ids[1]]
    found = tenant.get(f"/v2/domains/{tenant.domain}/email-accounts", order="newest", offset=1, limit=1)
    assert [item["id"] for item in found.json["items"]] == [ids[2]]
    assert tenant.get(PATH, order="other").problem("order") == "invalid"


def test_the_total_of_a_list(tenant: Tenant) -> None:
    """With ?fields= alone: without it, an answer has the keys of the specification and no other."""
    second = tenant.new_domain()
    for number in range(5):
        tenant.account(f"a{number}", domain=second if number < 2 else tenant.domain, user_id=f"u{number % 2}")
    gone = tenant.account("gone")["id"]
    tenant.post("/v2/email-accounts/delete", {"id": gone})
    first = ids(tenant.get(PATH))[0]
    tenant.put(f"{PATH}/{first}", {"status": "suspended"})
    for query, total in (
        ({}, 5),
        ({"user_id": "u0"}, 3),
        ({"domain": second}, 2),
        ({"domain": second, "user_id": "u0", "status": "suspended"}, 1),
        ({"domain": second, "status": "active"}, 1),
        ({"status": "suspended"}, 1),
        ({"status": "disabled"}, 0),
        ({"user_id": "nobody"}, 0),
        ({"domain": "nobody-has-this.test"}, 0),
    ):
        listed = tenant.get(PATH, fields="id", limit=500, **query)
        assert (listed.json["total"], len(listed.json["items"])) == (total, total), query
        assert list(tenant.get(PATH, **query).json) == ["items", "limit", "offset"]
    assert tenant.get(PATH, fields="id", limit=1, offset=2).json["total"] == 5
    of_domain = tenant.get(f"/v2/domains/{second}/email-accounts", fields="id", limit=1, user_id="u1").json
    assert of_domain["total"] == 1
    assert "total" not in tenant.get(f"/v2/domains/{second}/email-accounts").json
    for query in ({"q": "a"}, {"deleted": "true"}):
        assert "total" not in tenant.get(PATH, fields="*", **query).json
    bound = tenant.new_key(domains=[second])
    assert tenant.get(PATH, fields="id", key=bound).json["total"] == 2


def test_an_unknown_domain_has_no_total_where_a_search_has_none(tenant: Tenant) -> None:
    assert "total" not in tenant.get(PATH, domain="unknown.example", q="n", fields="*").json
    assert tenant.get(PATH, domain="unknown.example", fields="*").json["total"] == 0
