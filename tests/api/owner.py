"""The owner of an account in a browser, on the owner's page, without a Dovecot: the test says which
password is right."""

from dataclasses import dataclass, field
from typing import Any

from postroom.mailboxes.interface import SignIn
from tests.harness.server import Response, Tenant

PASSWORD = "a horse beside the lake"


def knows(tenant: Tenant, id_: int, password: str = PASSWORD, refusal: str | None = None) -> str:
    """Makes this the right password of an account, of its present generation. Returns the
    address."""
    sql = "SELECT address, generation FROM accounts WHERE id = :id"
    row = tenant.api.database.write_sync(lambda tx: tx.one(sql, id=id_))
    assert row
    tenant.api.mailboxes.right = {
        pair: found for pair, found in tenant.api.mailboxes.right.items() if found.account_id != id_
    } | {(row[0], password): SignIn(id_, row[1], refusal)}
    return str(row[0])


def sign_in(tenant: Tenant, address: str, password: str = PASSWORD, **headers: str) -> Response:
    body = {"address": address, "password": password}
    return tenant.api.request("POST", "/v2/me/session", body, headers=headers)


@dataclass
class Owner:
    """A browser with a session of the owner's page."""

    tenant: Tenant
    id: int
    cookie: str = ""
    told: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tenant: Tenant, id_: int, **headers: str) -> "Owner":
        """Signs in."""
        owner = cls(tenant, id_)
        owner.take(sign_in(tenant, knows(tenant, id_), **headers), 201)
        return owner

    def take(self, answer: Response, status: int = 200) -> Response:
        """Keeps what an answer gives the browser."""
        assert answer.status == status, answer.text
        self.cookie = answer.headers["set-cookie"].partition(";")[0]
        self.told = answer.json
        return answer

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        sent = {"cookie": self.cookie}
        if method != "GET":
            sent["x-csrf-token"] = self.told["csrf_token"]
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.tenant.api.request(method, path, body, headers=sent)
        return self.take(answer) if "csrf_token" in answer.text and "set-cookie" in answer.headers else answer

    def get(self, path: str = "/v2/me", **headers: str) -> Response:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Response:
        return self.request("POST", path, body, **headers)
