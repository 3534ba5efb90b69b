"""The own addresses of an account in its delivery script: every change of them is in the script by
the answer."""

import re
import threading
from functools import partial
from typing import Any

import pytest

from postroom.accounts import alias_rests, delivery_scripts
from tests.api.test_aliases import make
from tests.api.test_delivery_rules import VACATION, scripts
from tests.harness.server import Tenant


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return away(tenant, "ann")


@pytest.fixture
def ben(tenant: Tenant) -> int:
    return away(tenant, "ben")


def away(tenant: Tenant, local_part: str) -> int:
    id_ = int(tenant.account(local_part, user_id="u")["id"])
    assert tenant.put(VACATION.format(id_), {"enabled": True, "text": "away"}).status == 200
    return id_


def named(tenant: Tenant, id_: int) -> list[str]:
    """The addresses to which mail is answered: those on the tenant's domain without the domain."""
    (script,) = scripts(tenant, id_)
    (found,) = re.findall(r":addresses \[(.*?)\]", script)
    return [text.strip('"').removesuffix(f"@{tenant.domain}") for text in found.split(", ")]


def put(tenant: Tenant, alias: Any, **body: Any) -> None:
    assert tenant.put(f"/v2/email-aliases/{alias['id']}", body).status == 200


def test_it_works(tenant: Tenant, ann: int, ben: int) -> None:
    assert named(tenant, ann) == ["ann"]
    one, two = (make(tenant, name, ann).json["alias"] for name in ("one", "two"))
    make(tenant, "*", ann)
    make(tenant, "team", ann, ben)
    assert named(tenant, ann) == ["ann", "one", "two"]
    put(tenant, one, account_ids=[ben])
    assert [named(tenant, id_) for id_ in (ann, ben)] == [["ann", "two"], ["ben", "one"]]
    put(tenant, one, account_ids=[ann, ben])  # a group from now on
    assert [named(tenant, id_) for id_ in (ann, ben)] == [["ann", "two"], ["ben"]]
    put(tenant, one, account_ids=[ann])
    assert named(tenant, ann) == ["ann", "one", "two"]
    tenant.post("/v2/email-aliases/delete", {"id": two["id"]})
    assert named(tenant, ann) == ["ann", "one"]


def test_an_alias_that_may_not_send_is_not_answered(tenant: Tenant, ann: int) -> None:
    alias = make(tenant, "one", ann, may_send=False).json["alias"]
    for may_send, addresses in ((False, ["ann"]), (True, ["ann", "one"]), (False, ["ann"])):
        put(tenant, alias, may_send=may_send)
        assert named(tenant, ann) == addresses


def test_former_addresses(tenant: Tenant, ann: int) -> None:
    path = f"/v2/email-accounts/{ann}"
    for local_part, addresses in (("anna", ["anna", "ann"]), ("ann", ["ann", "anna"])):
        assert tenant.put(path, {"local_part": local_part}).status == 200
        assert named(tenant, ann) == addresses
    assert tenant.put(path, {"local_part": "annb", "keep_former": False}).status == 200
    assert named(tenant, ann) == ["annb", "anna"]


def test_an_expired_alias(tenant: Tenant, ann: int) -> None:
    alias = make(tenant, "short", ann, expires_at="2099-01-01T00:00:00Z").json["alias"]
    database = tenant.api.database
    sql = "UPDATE aliases SET expires_at = 1 WHERE id = :id RETURNING id"
    database.write_sync(lambda tx: tx.all(sql, id=alias["id"]))
    assert named(tenant, ann) == ["ann", "short"]
    database.write_sync(partial(alias_rests.expire, id_=alias["id"]))
    assert named(tenant, ann) == ["ann"]


def test_a_restored_account(tenant: Tenant, ann: int) -> None:
    """One alias comes back, the address of the other one was taken meanwhile."""
    for name in ("kept", "lost"):
        make(tenant, name, ann)
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    tenant.account("lost", user_id="u")
    assert tenant.post(f"/v2/email-accounts/{ann}/restore", {}).status == 200
    assert named(tenant, ann) == ["ann", "kept"]


def test_a_script_has_a_bound(tenant: Tenant, ann: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two", "three"):
        make(tenant, name, ann)
    monkeypatch.setattr(delivery_scripts, "MOST_ADDRESSES", len(f"annonetwo{tenant.domain * 3}@@@"))
    assert tenant.put(VACATION.format(ann), {"enabled": True, "text": "still away"}).status == 200
    assert named(tenant, ann) == ["ann", "one", "two"]


def test_an_account_does_not_forward_to_its_own_addresses(tenant: Tenant, ann: int) -> None:
    make(tenant, "sales", ann)
    tenant.put(f"/v2/email-accounts/{ann}", {"local_part": "anna"})
    for name in ("anna", "ann", "sales", "Sales+x"):
        body = {"enabled": True, "to": [f"{name}@{tenant.domain}"]}
        assert tenant.put(f"/v2/email-accounts/{ann}/forwarding", body).status == 400, name


def test_changes_at_once(tenant: Tenant, ann: int, ben: int) -> None:
    """The script of the last change knows the others."""
    aliases = [make(tenant, f"x{number}", ann).json["alias"] for number in range(4)]

    def run(number: int) -> None:
        for step in range(4):
            make(tenant, f"y{number}{step}", ann)
            put(tenant, aliases[number], account_ids=[ben] if step % 2 else [ann, ben])
            tenant.put(f"/v2/email-accounts/{ann}", {"local_part": f"ann{number}{step}", "keep_former": False})

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    items = tenant.get("/v2/email-aliases", limit=500).json["items"]
    for id_ in (ann, ben):
        own = {item["local_part"] for item in items if item["kind"] == "alias" and item["account_ids"] == [id_]}
        present, *others = named(tenant, id_)
        address = tenant.get(f"/v2/email-accounts/{id_}", fields="local_part").json["account"]["local_part"]
        assert (present, set(others)) == (address, own)
    assert len(items) == 4 + 16
