"""Each method with a real server, blocking and async. Also the errors and the pages of the
client."""

import asyncio
import pickle
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from postroom.client import (
    AsyncClient,
    Client,
    Conflict,
    Denied,
    Failed,
    Invalid,
    NotFound,
    PostroomError,
    Unreachable,
)
from tests.client.conftest import url_of
from tests.harness.server import ApiServer, Tenant


def test_it_works(client: Client, tenant: Tenant) -> None:
    made = client.create_account(tenant.domain, "billing", user_id="user_123", display_name="Billing")
    assert made.account.address == f"billing@{tenant.domain}"
    assert made.account.created_at.tzinfo is not None
    assert client.get_account(made.account.id) == made.account
    assert [*client.list_accounts()] == [made.account]


def test_the_life_of_an_account(client: Client, tenant: Tenant) -> None:
    made = client.create_account(tenant.domain, "billing", user_id="user_123", display_name="Billing")
    id_ = made.account.id
    assert client.update_account(id_, status="suspended").status == "suspended"
    assert client.update_account(id_, is_default=True).display_name == "Billing"
    assert client.update_account(id_, display_name=None).display_name is None
    assert client.reset_password(id_).password != made.password
    assert client.reset_password(id_, password="tangerine-lamp-on-the-roof").password == "tangerine-lamp-on-the-roof"
    assert client.delete_account(id_).purge_at is not None
    assert [account.id for account in client.list_accounts(deleted=True)] == [id_]
    assert client.restore_account(id_).status == "suspended"
    assert [*client.list_domain_accounts(tenant.domain, status="active")] == []
    assert [account.id for account in client.list_domain_accounts(tenant.domain, q="bill", order="newest")] == [id_]
    assert client.get_stats().accounts.suspended == 1
    assert [event.type for event in client.list_events(account_id=id_)][-1] == "account.restored"


def test_the_life_of_a_domain(client: Client, tenant: Tenant) -> None:
    info = client.create_domain("claimed-by-client.test", user_id="user_123")
    assert info.domain.status == "pending"
    assert {"ownership", "mx", "spf", "dkim"} <= {record.purpose for record in info.dns}
    name = info.domain.domain
    assert client.get_domain(name, user_id="user_123").dns == info.dns
    assert {record.status for record in client.verify_domain(name, user_id="user_123").dns if record.required}
    assert client.set_route(name, "store", user_id="user_123").route.forward_mode == "store"
    assert [domain.domain for domain in client.list_domains(every_user=True, status="pending")] == [name]
    assert client.delete_domain(name, user_id="user_123") == name
    own = tenant.new_domain(user_id="user_123")
    assert client.consent_subdomain(own, f"mail.{own}", user_id="user_123") == f"mail.{own}"
    assert [key.state for key in client.rotate_dkim(own, user_id="user_123").dkim]
    assert client.get_mta_sts_policy(own).startswith("version: STSv1")


def test_keys_limits_and_health(client: Client, api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    made = client.create_key(name="child", scopes=["accounts:read"], networks=["127.0.0.0/8"], expires_at=until)
    assert made.key in [*client.list_keys()]
    assert client.delete_key(made.key.id).prefix == made.key.prefix
    assert client.set_limits(user_id="user_123", accounts=5).limits.accounts == 5
    assert client.set_limits(user_id="user_123", domains=1).limits.accounts == 5
    assert client.set_limits(user_id="user_123", accounts=None).limits.accounts is None
    assert client.get_limits().user_id is None
    assert client.get_health() == "ok"
    assert client.get_readiness().status == "ready"
    monkeypatch.setitem(api.reasons, "mail", "Dovecot does not answer.")
    assert client.get_readiness().parts["mail"] == "Dovecot does not answer."


def test_awaited_it_is_the_same(tenant: Tenant) -> None:
    async def use() -> None:
        async with AsyncClient(url_of(tenant), tenant.key) as client:
            names = [f"a{number}" for number in range(5)]
            made = await asyncio.gather(*(client.create_account(tenant.domain, n, user_id="u") for n in names))
            assert await client.get_account(made[0].account.id) == made[0].account
            assert {a.local_part async for a in client.list_accounts(limit=2)} == set(names)
            assert [len(page) async for page in client.list_accounts(limit=2).pages()] == [2, 2, 1]
            with pytest.raises(NotFound):
                await client.get_account(10**15)

    asyncio.run(use())


def test_pages_are_followed(client: Client, tenant: Tenant) -> None:
    made = [client.create_account(tenant.domain, f"a{n}", user_id=f"user {n % 2}+é&").account for n in range(7)]
    assert [*client.list_accounts(limit=2)] == made
    assert [*client.list_accounts(limit=2, order="newest")] == made[::-1]
    assert [*client.list_accounts(limit=2, after=made[2].id)] == made[3:]
    assert [*client.list_accounts(limit=2, offset=1)] == made[1:]
    assert [*client.list_domain_accounts(tenant.domain, limit=1, user_id="user 1+é&")] == made[1::2]
    assert [len(page) for page in client.list_accounts(limit=3).pages()] == [3, 3, 1]
    assert [*client.list_accounts(user_id="nobody")] == []
    lists = client.list_events(limit=3)
    assert [event.id for event in lists] == [event.id for event in lists] != []


FOREIGN = 10**15
REFUSED: list[tuple[Any, type[PostroomError], str, int]] = [
    (lambda c, d: c.create_account(d, "a+b", user_id="u"), Invalid, "invalid_request", 400),
    (lambda c, d: c.get_account(FOREIGN), NotFound, "not_found", 404),
    (lambda c, d: [*c.list_domain_accounts("missing.test")], NotFound, "not_found", 404),
    (lambda c, d: c.get_domain("a/../b?c", user_id="u"), NotFound, "not_found", 404),
    (lambda c, d: c.create_account(d, "admin", user_id="u"), Conflict, "reserved_local_part", 409),
    (lambda c, d: c.set_route(d, "webhook", user_id="u"), Invalid, "invalid_request", 400),
]


@pytest.mark.parametrize(("ask", "kind", "code", "status"), REFUSED)
def test_a_refusal_is_an_exception(
    client: Client, tenant: Tenant, ask: Any, kind: type[PostroomError], code: str, status: int
) -> None:
    with pytest.raises(kind) as refused:
        ask(client, tenant.domain)
    error = refused.value
    assert (error.code, error.status) == (code, status)
    assert error.detail
    assert error.request_id in str(error)
    assert code in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.errors) == (kind, code, error.errors)


@pytest.mark.parametrize("domain", [".", "..", "", "../email-accounts?x=", "a/b", "%2e%2e"])
def test_a_domain_leads_to_no_other_route(client: Client, tenant: Tenant, domain: str) -> None:
    tenant.account("billing")
    with pytest.raises(NotFound):
        list(client.list_domain_accounts(domain))


def test_it_says_which_field_is_wrong(client: Client, tenant: Tenant) -> None:
    with pytest.raises(Invalid) as refused:
        client.create_account(tenant.domain, "a+b", password="hunter2")
    found = {error.field: error.code for error in refused.value.errors}
    assert found == {"local_part": "invalid_local_part", "password": "too_short", "user_id": "required"}
    assert "hunter2" not in str(refused.value)


def test_the_error_of_a_limit_has_the_limit(client: Client, tenant: Tenant) -> None:
    client.set_limits(user_id="user_123", accounts=0)
    with pytest.raises(Conflict) as refused:
        client.create_account(tenant.domain, "billing", user_id="user_123")
    assert (refused.value.code, refused.value.limit) == ("limit_reached", 0)


def test_a_wrong_key_is_denied(tenant: Tenant) -> None:
    with Client(url_of(tenant), "pr_" + "x" * 43) as client:
        assert client.get_health() == "ok"
        with pytest.raises(Denied) as refused:
            client.get_stats()
    assert refused.value.code == "unauthorized"


def test_address_and_key_come_from_the_environment(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROOM_URL", url_of(tenant))
    monkeypatch.setenv("POSTROOM_API_KEY", tenant.key)
    with Client() as client:
        assert client.get_stats().accounts.total == 0
    with Client(api_key=tenant.api.new_tenant().key) as other:
        assert other.get_stats().accounts.total == 0


@pytest.mark.parametrize("url", [None, "", "localhost:3000", "ftp://localhost", "http://"])
def test_an_invalid_address_is_refused(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTROOM_URL", raising=False)
    with pytest.raises(ValueError, match="POSTROOM_URL"):
        Client(url, "pr_key")


@pytest.mark.parametrize("key", ["pr_ä", "pr_x\n", " pr_x"])
def test_a_key_that_cannot_be_a_header_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        AsyncClient("http://localhost", key)
    assert key not in str(refused.value)


class Website(BaseHTTPRequestHandler):
    """A web server that is not Postroom: every path is a page, except `/v2/stats`, which is
    missing."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path.startswith("/v2/stats") else 200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


def test_another_server_is_not_mistaken_for_postroom() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Website) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        with Client(f"http://127.0.0.1:{server.server_port}", "pr_key") as client:
            with pytest.raises(Failed) as failed:
                client.get_stats()
            assert failed.value.code == "http_404"
            for ask in (client.get_health, client.get_limits, lambda: [*client.list_accounts()]):
                with pytest.raises(Failed) as failed:
                    ask()
                assert failed.value.code == "unknown_answer"
        server.shutdown()


def test_no_server(tenant: Tenant) -> None:
    with Client("http://127.0.0.1:1", tenant.key, retries=1) as client, pytest.raises(Unreachable) as failed:
        client.get_stats()
    assert (failed.value.code, failed.value.status) == ("unreachable", 0)
    assert "from http://127.0.0.1:1: " in failed.value.detail
    assert tenant.key not in repr(failed.value)


def test_the_import_is_light() -> None:
    """Importing the client loads no module of the server except postroom.parameters."""
    code = "import postroom.client, sys; print(*sorted(name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    ours = {name for name in loaded if name.startswith("postroom.")}
    assert {name for name in ours if not name.startswith("postroom.client")} == {"postroom.parameters"}
    assert not {"uvicorn", "starlette", "psycopg", "argon2", "dns", "typer", "sqlite3"} & set(loaded)
