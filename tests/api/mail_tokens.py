"""Requests with mail tokens."""

from typing import Any

from postroom.accounts import mail_tokens
from postroom.api.route import Route
from postroom.api.routes import ROUTES
from tests.harness.server import Response, Tenant

TOKENS = "/v2/mail-tokens"
USER = "user_123"
WRONG = "mt_" + "x" * 43
OPENED = [route for route in ROUTES if route.takes_mail_token]
CLOSED = [route for route in ROUTES if route.path.startswith("/v2/") and not route.takes_mail_token]
OF_MAIL = [route for route in ROUTES if route.needs_mail_token]
QUERIES: dict[str, dict[str, Any]] = {"/mail/message": {"uid": 1}, "/mail/attachment": {"uid": 1, "part": "2"}}
BODIES: dict[str, dict[str, Any]] = {
    "message_edits.update": {"flags": {"seen": True}},
    "message_edits.delete": {"ids": ["1.1"]},
    "message_sends.send": {"to": ["ann@else.example"], "text": "hi"},
}


def name(route: Route) -> str:
    return route.name


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def make(tenant: Tenant, user_id: str = USER, **fields: Any) -> str:
    key = fields.pop("key", tenant.key)
    made = tenant.post(TOKENS, {"user_id": user_id, **fields}, key=key)
    assert made.status == 201, made.text
    token: str = made.json["token"]
    return token


def whole(tenant: Tenant, **fields: Any) -> str:
    """A token with every scope that a token may have."""
    return make(tenant, scopes=list(mail_tokens.SCOPES), **fields)


def ask(tenant: Tenant, token: str, path: str, method: str = "GET", body: Any = None, **query: Any) -> Response:
    """A request with the token and no key."""
    return tenant.api.request(method, path, body, headers=bearer(token), **query)


def call(tenant: Tenant, token: str, route: Route, id_: int) -> Response:
    """A request to the route of a message of the account."""
    path = route.path.replace(":message_id", "1.1").replace(":id", str(id_)).replace(":part", "2")
    body = BODIES.get(route.name, {}) if route.body else None
    return ask(tenant, token, path, route.method, body, **QUERIES.get(path, {}))


def account(tenant: Tenant, local_part: str = "billing", **fields: Any) -> int:
    id_: int = tenant.account(local_part, **fields)["id"]
    return id_
