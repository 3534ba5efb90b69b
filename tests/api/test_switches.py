"""`protocols` and `main_password` of an account, on both engines.

tests/mail/test_switches.py logs in.
"""

from typing import Any

import pytest

from tests.api.rows import rows
from tests.harness.server import Tenant

ON = {"imap": True, "pop3": True, "smtp": True, "sieve": True}
SHOWN = {"fields": "protocols,main_password,sessions_ended"}


@pytest.fixture
def ann(tenant: Tenant) -> int:
    return int(tenant.account("ann", user_id="u")["id"])


def put(tenant: Tenant, account_id: int, **body: Any) -> Any:
    answer = tenant.put(f"/v2/email-accounts/{account_id}", body, **SHOWN)
    assert answer.status == 200, answer.text
    return answer.json["account"]


def changes(tenant: Tenant) -> list[Any]:
    return [event["data"] for event in tenant.events() if event["type"] == "account.updated"]


def test_it_works(tenant: Tenant, ann: int) -> None:
    shown = tenant.get(f"/v2/email-accounts/{ann}", **SHOWN).json["account"]
    assert shown == {"protocols": ON, "main_password": True, "sessions_ended": None}
    off = put(tenant, ann, protocols={"pop3": False})
    assert off == {"protocols": ON | {"pop3": False}, "main_password": True, "sessions_ended": True}
    assert put(tenant, ann, protocols={"pop3": False}) == off | {"sessions_ended": None}
    both = put(tenant, ann, protocols={"smtp": False, "imap": True}, main_password=False)
    assert both["protocols"] == ON | {"pop3": False, "smtp": False}
    back = put(tenant, ann, protocols=ON, main_password=True)
    assert back == {"protocols": ON, "main_password": True, "sessions_ended": None}
    facts = {"address": f"ann@{tenant.domain}", "status": "active"}
    assert changes(tenant) == [
        facts | {"changed": ["protocols"], "protocols": ON | {"pop3": False}},
        facts
        | {
            "changed": ["protocols", "main_password"],
            "protocols": ON | {"pop3": False, "smtp": False},
            "main_password": False,
        },
        facts | {"changed": ["protocols", "main_password"], "protocols": ON, "main_password": True},
    ]


def revoked(tenant: Tenant) -> list[Any]:
    """Generation, app password and protocol of the revocations."""
    return sorted(((row[2], *row[5:]) for row in rows(tenant, "session_endings")), key=str)


def test_what_is_switched_on_again_is_not_ended_a_second_time(tenant: Tenant, ann: int) -> None:
    """Sessions that have begun since go on. Those of another protocol, and of a former password,
    still end."""
    put(tenant, ann, protocols={"imap": False, "pop3": False}, main_password=False)
    tenant.post(f"/v2/email-accounts/{ann}/password/reset", {})
    put(tenant, ann, protocols={"imap": False, "sieve": False})
    before = revoked(tenant)
    assert before == [(1, 0, None), (1, None, "imap"), (1, None, "pop3"), (1, None, None), (2, None, "sieve")]
    put(tenant, ann, protocols={"sieve": True}, main_password=True)
    assert revoked(tenant) == before[:-1]
    put(tenant, ann, main_password=False)
    put(tenant, ann, main_password=True)
    assert revoked(tenant) == before[:-1]


def test_create(tenant: Tenant) -> None:
    body = {"protocols": {"sieve": False, "imap": True}, "main_password": False, "user_id": "u"}
    made = tenant.account("ann", **body)
    full = tenant.full(made["id"])
    assert (full["protocols"], full["main_password"]) == (ON | {"sieve": False}, False)
    assert set(made) == set(tenant.account("ben")), "the answer has the keys of the specification alone"


def test_it_ends_what_is_switched_off_and_nothing_else(tenant: Tenant, ann: int) -> None:
    tenant.api.ended_switches.clear()
    tenant.api.ended.clear()
    put(tenant, ann, protocols={"pop3": False, "sieve": False}, main_password=False)
    assert [(one.account_id, one.credential_id, one.protocol) for one in tenant.api.ended_switches] == [
        (ann, None, "pop3"),
        (ann, None, "sieve"),
        (ann, 0, None),
    ]
    (generation,) = {one.generation for one in tenant.api.ended_switches}
    tenant.api.ended_switches.clear()
    assert put(tenant, ann, protocols={"smtp": False})["sessions_ended"] is True  # Postfix ends them
    assert put(tenant, ann, protocols=ON, main_password=True)["sessions_ended"] is None
    assert tenant.api.ended_switches == tenant.api.ended == []
    tenant.post(f"/v2/email-accounts/{ann}/sessions/end", {})
    assert tenant.api.ended == [(ann, generation)]


def test_sessions_that_could_not_be_ended(tenant: Tenant, ann: int) -> None:
    tenant.api.ends = False
    try:
        assert put(tenant, ann, protocols={"imap": False}, main_password=False)["sessions_ended"] is False
    finally:
        tenant.api.ends = True
    assert "account.sessions_pending" in [event["type"] for event in tenant.events()]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"protocols": None}, "protocols"),
        ({"protocols": ["imap"]}, "protocols"),
        ({"protocols": {"imap": None}}, "protocols.imap"),
        ({"protocols": {"imap": 0}}, "protocols.imap"),
        ({"protocols": {"lmtp": False}}, "protocols"),
        ({"main_password": None}, "main_password"),
        ({"main_password": "false"}, "main_password"),
    ],
)
def test_it_refuses(tenant: Tenant, ann: int, body: dict[str, Any], field: str) -> None:
    for answer in (
        tenant.put(f"/v2/email-accounts/{ann}", body),
        tenant.post("/v2/email-accounts/create", body | {"domain": tenant.domain, "local_part": "b", "user_id": "u"}),
    ):
        assert (answer.status, answer.code) == (400, "invalid_request"), answer.text
        assert [error["field"] for error in answer.json["errors"]] == [field]
        assert "lmtp" not in answer.text
    assert changes(tenant) == []


def test_a_suspended_account_has_no_sessions_to_end(tenant: Tenant, ann: int) -> None:
    put(tenant, ann, status="suspended")
    tenant.api.ended_switches.clear()
    off = put(tenant, ann, protocols={"imap": False}, main_password=False)
    assert (off["protocols"]["imap"], off["sessions_ended"], tenant.api.ended_switches) == (False, None, [])
    on = put(tenant, ann, protocols={"imap": True}, status="active")
    assert (on["protocols"], on["main_password"], on["sessions_ended"]) == (ON, False, None)
    tenant.api.ended_switches.clear()
    both = put(tenant, ann, protocols={"imap": False}, status="suspended")
    assert both["sessions_ended"] is True
    assert [one.protocol for one in tenant.api.ended_switches] == ["imap"]
    assert (ann, tenant.api.ended_switches[0].generation) == tenant.api.ended[-1]


def test_the_switches_stay(tenant: Tenant, ann: int) -> None:
    """A reset, a deletion and a restore keep them; the address made again has none."""
    put(tenant, ann, protocols={"imap": False}, main_password=False)
    before = tenant.get(f"/v2/email-accounts/{ann}", fields="protocols,main_password").json
    assert tenant.post(f"/v2/email-accounts/{ann}/password/reset", {}).status == 200
    tenant.post("/v2/email-accounts/delete", {"id": ann})
    tenant.post(f"/v2/email-accounts/{ann}/restore", {})
    assert tenant.get(f"/v2/email-accounts/{ann}", fields="protocols,main_password").json == before
    tenant.post("/v2/email-accounts/delete", {"id": ann, "purge": True})
    again = tenant.account("ann", user_id="u")
    assert tenant.full(again["id"])["protocols"] == ON


def test_client_settings(tenant: Tenant, ann: int) -> None:
    path = f"/v2/email-accounts/{ann}/client-settings"
    put(tenant, ann, protocols={"imap": False, "smtp": False, "sieve": False})
    shown = tenant.get(path).json
    assert (shown["imap"], shown["submission"], shown["managesieve"], len(shown["pop3"])) == ([], [], [], 2)
    assert "EmailTypePOP" in tenant.get(f"{path}.mobileconfig").text
    put(tenant, ann, protocols={"pop3": False})
    answer = tenant.get(f"{path}.mobileconfig")
    assert (answer.status, answer.code) == (409, "protocol_off")
    for host in (f"autoconfig.{tenant.domain}",):  # a stranger learns nothing about an address
        document = tenant.api.request("GET", "/mail/config-v1.1.xml", headers={"host": host})
        assert all(kind in document.text for kind in ('type="imap"', 'type="pop3"', 'type="smtp"'))
