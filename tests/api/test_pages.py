"""Pages of every list: the Link header is present exactly while more items follow, and following
the links shows each item once."""

from collections.abc import Callable
from typing import Any

import pytest

from postroom.api.routes import ROUTES
from tests.api.test_list_accounts import next_of
from tests.api.test_sent_mail import queue_id, record, told
from tests.harness.server import Tenant

COUNT = 4


def accounts(tenant: Tenant) -> str:
    for number in range(COUNT):
        tenant.account(f"a{number}")
    return "/v2/email-accounts"


def aliases(tenant: Tenant) -> str:
    account = tenant.account()
    for number in range(COUNT):
        alias = {"domain": tenant.domain, "local_part": f"x{number}", "user_id": account["user_id"]}
        made = tenant.post("/v2/email-aliases/create", {**alias, "account_ids": [account["id"]]})
        assert made.status == 201, made.text
    return "/v2/email-aliases"


def deleted_accounts(tenant: Tenant) -> str:
    for number in range(COUNT):
        assert tenant.post("/v2/email-accounts/delete", {"id": tenant.account(f"a{number}")["id"]}).status == 200
    return "/v2/email-accounts?deleted=true"


def accounts_of_a_domain(tenant: Tenant) -> str:
    accounts(tenant)
    return f"/v2/domains/{tenant.domain}/email-accounts"


def domains(tenant: Tenant) -> str:
    for _ in range(COUNT):
        tenant.new_domain(user_id="u", status="pending")
    return "/v2/domains?user_id=u&status=pending"


def domains_of_all(tenant: Tenant) -> str:
    for number in range(COUNT - 1):  # with the tenant's own
        tenant.new_domain(user_id=f"u{number}")
    return "/v2/domains?every_user=true"


def keys(tenant: Tenant) -> str:
    for _ in range(COUNT - 1):  # with the tenant's own
        tenant.new_key()
    return "/v2/keys"


def events(tenant: Tenant) -> str:
    id_ = tenant.account()["id"]
    for number in range(COUNT - 1):  # the creation is an event too
        assert tenant.put(f"/v2/email-accounts/{id_}", {"display_name": str(number)}).status == 200
    return f"/v2/events?account_id={id_}"


def sent(tenant: Tenant) -> str:
    id_ = tenant.account()["id"]
    for _ in range(COUNT):
        record(tenant, id_, told(queue_id()))
    return f"/v2/email-accounts/{id_}/sent"


def webhooks(tenant: Tenant) -> str:
    for _ in range(COUNT):
        made = tenant.post("/v2/webhooks/create", {"url": "https://platform.example/hook", "events": ["key.*"]})
        assert made.status == 201, made.text
    return "/v2/webhooks"


def deliveries(tenant: Tenant) -> str:
    webhooks(tenant)
    id_ = tenant.get("/v2/webhooks").json["items"][0]["id"]
    for number in range(COUNT):
        values = {"organization": tenant.organization_id, "webhook_id": id_, "source_id": number}
        tenant.api.database.write_sync(lambda tx, values=values: tx.run(DELIVER, **values))  # type: ignore[misc]
    return f"/v2/webhooks/{id_}/deliveries"


DELIVER = """
INSERT INTO webhook_deliveries (organization_id, webhook_id, source_kind, source_id, type, status, created_at)
VALUES (:organization, :webhook_id, 'event', :source_id, 'key.created', 'failed', 1)"""
# Functions that create COUNT items and return the path of their list, by route.
LISTS: dict[str, tuple[Callable[[Tenant], str], ...]] = {
    "/v2/email-accounts": (accounts, deleted_accounts),
    "/v2/email-aliases": (aliases,),
    "/v2/domains/:domain/email-accounts": (accounts_of_a_domain,),
    "/v2/domains": (domains, domains_of_all),
    "/v2/keys": (keys,),
    "/v2/events": (events,),
    "/v2/email-accounts/:id/sent": (sent,),
    "/v2/webhooks": (webhooks,),
    "/v2/webhooks/:id/deliveries": (deliveries,),
}
ASKED: list[tuple[Callable[[Tenant], str], dict[str, str]]] = [(made, {}) for each in LISTS.values() for made in each]
ASKED += [(made, {"order": "newest"}) for made in (accounts, accounts_of_a_domain, events)]
ASKED += [(made, {"q": "a"}) for made in (accounts, deleted_accounts, accounts_of_a_domain)]


def test_it_asks_every_list() -> None:
    """Every route with a cursor has a row in LISTS, and every route with an order is tested in
    it."""
    taking = {name: {route.path for route in ROUTES if hasattr(route.query, name)} for name in ("after", "order")}
    assert taking["after"] == LISTS.keys()
    assert taking["order"] == {path for path, made in LISTS.items() if made[0] in [m for m, q in ASKED if "order" in q]}


def walk(tenant: Tenant, path: str, **query: Any) -> list[list[int]]:
    """The ids of every page, following the links from the first page."""
    joined = "&".join(f"{name}={value}" for name, value in query.items())
    link: str | None = f"{path}{'&' if '?' in path else '?'}{joined}"
    found = []
    while link:
        answer = tenant.get(link)
        assert answer.status == 200, answer.text
        found.append([item["id"] if "id" in item else item["domain"] for item in answer.json["items"]])
        link = next_of(answer)
    return found


@pytest.mark.parametrize(("made", "query"), ASKED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_link_leads_on_while_more_follows(
    tenant: Tenant, made: Callable[[Tenant], str], query: dict[str, str]
) -> None:
    """A full last page has no link, so no link leads to an empty page."""
    path = made(tenant)
    (every,) = walk(tenant, path, limit=COUNT + 1, **query)
    assert len(set(every)) == COUNT
    for limit in range(1, COUNT + 1):
        expected = [every[start : start + limit] for start in range(0, COUNT, limit)]
        assert walk(tenant, path, limit=limit, **query) == expected, limit
    if made not in (events, sent, deliveries):  # these have a cursor only
        assert walk(tenant, path, limit=COUNT - 1, offset=1, **query) == [every[1:]]
