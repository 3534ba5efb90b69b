"""The OpenAPI 3.1 document, generated from the table of routes and their types."""

from collections.abc import Sequence
from typing import Any

from postroom import parameters
from postroom.actor import OWNER_SCOPE
from postroom.api import cookies
from postroom.api.idempotency import HEADER, LONGEST
from postroom.api.openapi_schemas import REFERENCE, components, query_parameters, success
from postroom.api.problems import MEDIA_TYPE, PROBLEMS, Problem
from postroom.api.route import NOT_JSON, PUBLIC, Route

# Error codes that any route under /v2 may answer with, and those that any other route may.
COMMON = ("invalid_request", "unauthorized", "forbidden", "too_many_requests", "internal_error", "busy")
COMMON_OF_PUBLIC = ("invalid_request", "internal_error")
WITH_BODY = ("payload_too_large", "unsupported_media_type")
WRITES = ("idempotency_conflict", "idempotency_key_reused", "outcome_unknown")

INFO = {
    "title": "Postroom",
    "summary": "A real mailbox for every user of a platform, with one HTTP call.",
    "description": (
        "Send a key as `x-api-key`. An account or domain in an answer has few fields by default and those that "
        "`?fields=` names otherwise. A list that goes on has a `Link` header with the address of its next page. "
        "Errors are `application/problem+json`: decide by `code`. More: [the API](/docs/api.md) and "
        "[all documents](/llms.txt), as text for people and programs."
    ),
    "contact": {"name": "The operator of this server"},
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
TAGS = {
    "aliases": "Further addresses of accounts: aliases, groups, catch-alls and former addresses.",
    "app_passwords": "Further passwords of an account, each for one program or device.",
    "delivery_rules": "Forwarding and vacation: what happens to mail that comes to an account.",
    "availability": "Whether an address can be taken.",
    "accounts": "Mail accounts: made, listed, changed, deleted and restored.",
    "client_settings": "What a mail client needs to know about an account or a domain.",
    "dkim": "The keys that sign a domain's mail.",
    "domains": "Domains: claimed, listed, shown and deleted.",
    "events": "The audit log.",
    "health": "Whether the server answers, and its parts.",
    "keys": "API keys.",
    "limits": "How many domains, accounts, bytes and recipients a user or the organization may have.",
    "mailboxes": "What only the mailbox knows: its size and its open sessions.",
    "me": "The page of an account's owner, `/me`: for browsers, with a session in place of a key.",
    "mail": "The mail of a mail token's account, by mailbox and UID.",
    "mail_tokens": "Tokens that open a user's mail to a browser or an agent without an API key.",
    "message_changes": "What changes in the mailboxes of an account, as it happens.",
    "message_edits": "Changes of an account's messages, for keys with `messages:write`.",
    "message_sync": "What has changed in a mailbox.",
    "messages": "The messages of an account, for keys with `messages:read`.",
    "message_sends": "Sends messages of an account, for keys with `messages:send`.",
    "metrics": "Measurements for Prometheus.",
    "mta_sts": "The MTA-STS policy of a domain.",
    "sent_mail": "What became of the messages that an account has submitted.",
    "setup_links": "Links with which the owner of an account sets its password.",
    "stats": "Counts of accounts.",
    "users": "All accounts and domains of a user at once.",
    "verification": "Checks of a domain's DNS.",
    "webhook_deliveries": "What became of the events that were sent to a webhook.",
    "webhooks": "URLs that events and mail are sent to.",
}


def _header(description: str, example: Any, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}, "example": example}


HEADERS = {
    "x-request-id": _header("The id of the request, as in the log and the events.", "5d0c1c5f0f7b4c3d9a6e1b2c"),
    "Idempotent-Replayed": _header(
        "`true` where this answer is that of an earlier request with the same Idempotency-Key.", "true"
    ),
    "x-ignored-parameters": _header(
        "The unknown query parameters that were ignored, with the known names that they may mean.",
        "users_id;meant=user_id, #2",
    ),
    "Link": _header(
        "The address of the next page (RFC 8288), relative to this server; absent on the last page.",
        '</v2/email-accounts?limit=50&after=42>; rel="next"',
    ),
    "Location": _header("The path of what was made.", "/v2/email-accounts/42"),
    "Retry-After": _header("Seconds to wait before the next attempt.", 1, "integer"),
}
IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": parameters.words_of(parameters.IdempotencyKey),
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[ -~]+$"},
}
CSRF_TOKEN = {
    "name": "x-csrf-token",
    "in": "header",
    "required": True,
    "description": "The `csrf_token` of the session.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "example": "5d0c1c5f0f7b4c3d9a6e1b2c5d0c1c5f0f7b4c3d9a6e1b2c5d0c1c5f0f7b4c3d",
}
IN_PATH: dict[str, dict[str, Any]] = {
    "id": {
        "description": parameters.words_of(parameters.Id),
        "schema": {"type": "integer", "format": "int64", "minimum": 1},
        "example": 42,
    },
    "account_id": {
        "description": parameters.words_of(parameters.AccountId),
        "schema": {"type": "integer", "format": "int64", "minimum": 1},
        "example": 42,
    },
    "message_id": {
        "description": parameters.words_of(parameters.MessageId),
        "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,9}[.][1-9][0-9]{0,9}$"},
        "example": "1796028450.33",
    },
    "part": {
        "description": parameters.words_of(parameters.AttachmentPart),
        "schema": {"type": "string", "pattern": "^[1-9][0-9]*([.][1-9][0-9]*)*$"},
        "example": "2.1",
    },
    "domain": {
        "description": parameters.words_of(parameters.DomainName),
        "schema": {"type": "string", **parameters.DOMAIN},
        "example": "customer.com",
    },
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document as plain data."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in route.path.split("/"))
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {**INFO, "version": version},
        "servers": [{"url": "/", "description": "The server that answers this document."}],
        "security": [{"apiKey": []}, {"bearer": []}],
        "tags": [
            {"name": name, "description": TAGS[name.replace(" ", "_")]}
            for name in sorted({_tag(route) for route in routes})
        ],
        "paths": paths,
        "components": {
            "schemas": components(routes),
            "headers": HEADERS,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "mailToken": {"type": "http", "scheme": "bearer", "bearerFormat": "mt_ and 43 characters"},
                "ownerSession": {"type": "apiKey", "in": "cookie", "name": cookies.OWNER.plain.decode()},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": " ".join((route.handler.__doc__ or "").split()),
        "tags": [_tag(route)],
        "parameters": [
            *_path_parameters(route),
            *query_parameters(route),
            *([_idempotency_key(route)] * route.writes),
            *([CSRF_TOKEN] * (route.scope == OWNER_SCOPE and route.method != "GET")),
        ],
        "responses": _responses(route),
    }
    if route.scope == PUBLIC:
        operation["security"] = []
    elif route.needs_mail_token:
        operation["security"] = [{"mailToken": []}]
        operation["description"] += f" Takes a mail token with the scope `{route.scope}`, and no key."
    elif route.scope == OWNER_SCOPE:
        operation["security"] = [{"ownerSession": []}]
        operation["description"] += f" Takes a session of the page `/me` (`{route.scope}`) and no key."
    else:
        operation["description"] += f" Scope: `{route.scope}`."
    if route.takes_mail_token and not route.needs_mail_token:
        operation["security"] = [{"apiKey": []}, {"bearer": []}, {"mailToken": []}]
    if route.body:
        schema = {"$ref": REFERENCE.format(name=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if route.takes_xml:
        operation["requestBody"] = {"required": True, "content": {"text/xml": {"schema": {"type": "string"}}}}
    return operation


def _idempotency_key(route: Route) -> dict[str, Any]:
    """With an example of its own for each operation: a key that was used for another is refused."""
    return {**IDEMPOTENCY_KEY, "example": f"{route.name} 9f1c2e64-0a5b-4a0e-8d0f-3f0a1c5b7d21"}


def _tag(route: Route) -> str:
    return route.name.partition(".")[0].replace("_", " ")


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:] for part in route.path.split("/") if part.startswith(":")]
    return [{"name": name, "in": "path", "required": True, **IN_PATH[name]} for name in names]


def _responses(route: Route) -> dict[str, Any]:
    media = route.media.partition(";")[0] if route.gives in NOT_JSON else "application/json"
    responses: dict[str, Any] = {
        str(route.status): {
            "description": "Success",
            "headers": _success_headers(route),
            "content": {media: {"schema": success(route)}},
        }
    }
    common = COMMON_OF_PUBLIC if route.scope == PUBLIC else COMMON
    by_status: dict[int, list[str]] = {}
    for code in (*common, *(WITH_BODY * bool(route.body) + WRITES * route.writes), *route.refuses):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _refusal(status, list(dict.fromkeys(codes)))
    if route.path == "/readyz":
        responses["503"] = {**responses["200"], "description": "Not ready: `parts` says why."}
    return responses


def _success_headers(route: Route) -> dict[str, Any]:
    names = ["x-request-id", *["Idempotent-Replayed"] * route.writes]
    names += ["x-ignored-parameters"] * (route.scope != PUBLIC)
    names += ["Link"] * bool({"after", "before_uid"} & {*route.query.__struct_fields__})
    names += ["Location"] * (route.name in ("accounts.create", "domains.create"))
    return _headers(names)


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    headers = _headers(["x-request-id", *["Retry-After"] * (status in (429, 503))])
    content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(name=Problem.__name__)}}}
    return {"description": ", ".join(f"`{code}`" for code in codes), "headers": headers, "content": content}
