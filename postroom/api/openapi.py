"""The OpenAPI 3.1 document, made from the table of routes and the types in it."""

from collections.abc import Sequence
from typing import Any, get_type_hints

import msgspec

from postroom import parameters
from postroom.api.endpoints.account_views import FullAccount
from postroom.api.endpoints.domain_views import FullDomain, ShownDomain
from postroom.api.idempotency import HEADER, LONGEST
from postroom.api.problems import MEDIA_TYPE, PROBLEMS, Problem
from postroom.api.route import PUBLIC, Route

REFERENCE = "#/components/schemas/{name}"
# What any route under /v2 may answer.
COMMON = ("invalid_request", "unauthorized", "forbidden", "too_many_requests", "internal_error", "busy")
WITH_BODY = ("payload_too_large", "unsupported_media_type")
WRITES = ("idempotency_conflict", "idempotency_key_reused", "outcome_unknown")
HEADERS = {"x-request-id": {"schema": {"type": "string"}}}
REPLAYED = {
    "Idempotent-Replayed": {
        "description": "Only where this answer is that of an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "const": "true"},
    }
}
IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": parameters.words_of(parameters.IdempotencyKey),
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST},
}

IN_PATH: dict[str, dict[str, Any]] = {
    "id": {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "description": parameters.words_of(parameters.Id),
    },
    "domain": {"type": "string", "description": parameters.words_of(parameters.DomainName)},
}


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document as plain data."""
    types = {kind for route in routes for kind in (route.gives, route.body, route.shows) if kind and kind is not str}
    types |= {FullAccount, ShownDomain, FullDomain, Problem}
    _, schemas = msgspec.json.schema_components(types, ref_template=REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = "/".join(f"{{{part[1:]}}}" if part.startswith(":") else part for part in route.path.split("/"))
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Postroom",
            "version": version,
            "summary": "A real mailbox for every user of a platform, with one HTTP call.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"apiKey": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": (route.handler.__doc__ or "").strip(),
        "tags": [route.name.partition(".")[0]],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *([IDEMPOTENCY_KEY] * route.writes)],
        "responses": _responses(route),
    }
    if route.scope == PUBLIC:
        operation["security"] = []
    else:
        operation["description"] += f" Scope: `{route.scope}`."
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(route.body)}},
        }
    if route.takes_xml:
        operation["requestBody"] = {"required": True, "content": {"text/xml": {"schema": {"type": "string"}}}}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:] for part in route.path.split("/") if part.startswith(":")]
    return [{"name": name, "in": "path", "required": True, "schema": IN_PATH[name]} for name in names]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([route.query], ref_template=REFERENCE)
    properties = components[route.query.__name__].get("properties", {})
    return [
        {"name": name, "in": "query", "required": False, "schema": properties[name]}
        for name in get_type_hints(route.query)
    ]


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(route.status): {
            "description": "Success",
            "headers": HEADERS | (REPLAYED if route.writes else {}),
            "content": {
                route.media.partition(";")[0] if route.gives is str else "application/json": {"schema": _success(route)}
            },
        }
    }
    common = () if route.scope == PUBLIC else COMMON + WITH_BODY * bool(route.body) + WRITES * route.writes
    by_status: dict[int, list[str]] = {}
    for code in (*common, *route.refuses):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        content = {MEDIA_TYPE: {"schema": _ref(Problem)}}
        responses[str(status)] = {"description": ", ".join(f"`{code}`" for code in codes), "content": content}
    if route.path == "/readyz":
        responses["503"] = {**responses["200"], "description": "Not ready: `parts` says why."}
    return responses


def _success(route: Route) -> dict[str, Any]:
    """The success body; where it shows accounts, the default shape or, with `?fields=`, part of
    the full one."""
    if route.shows is None:
        return _ref(route.gives)
    _, components = msgspec.json.schema_components([route.gives], ref_template=REFERENCE)
    schema: dict[str, Any] = components[route.gives.__name__]
    shown = {"anyOf": [_ref(route.shows), {**_ref(FullAccount), "description": "With ?fields=, those named."}]}
    for name in ("account", "deleted"):
        if name in schema["properties"]:
            schema["properties"][name] = shown
    if "items" in schema["properties"]:
        schema["properties"]["items"] = {"type": "array", "items": shown}
    return schema


def _ref(kind: type[msgspec.Struct] | type[str]) -> dict[str, Any]:
    if kind is str:
        return {"type": "string"}
    return {"$ref": REFERENCE.format(name=kind.__name__)}
