"""The schemas of the OpenAPI document: msgspec's, completed for people and for generated clients.

* A request's field that may be left out is not required, and its default stands in no schema:
  generators take a field with a default for one that is always there.
* An answer's field is required, because it is always sent, unless its struct leaves out defaults.
* An account or a domain in an answer has optional fields only, because `?fields=` chooses them
  (decision 0213).
* Every field has a description and an example: of parameters.py in a request, of answer_words.py in
  an answer.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from postroom.actor import ALL_SCOPES
from postroom.api.answer_words import WORDS
from postroom.api.endpoints.account_views import CreatedAccount, FullAccount
from postroom.api.endpoints.domain_views import FullDomain
from postroom.api.problems import PROBLEMS, Problem
from postroom.api.projections import TIMES
from postroom.api.route import NOT_JSON, Route
from postroom.events import TYPES
from postroom.messages.interface import Content

Schema = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"
# The structs whose fields are left out of an answer where they have their default value.
SPARSE = {
    *("BodyPart", "CheckedRecord", "InboundRoute", "MailSyncAnswer", "Problem", "Record", "RouteAnswer"),
    "WholeMessage",
}
ENUMS: dict[str, Sequence[str | None]] = {
    "AvailableAnswer.reason": ["address_exists", "domain_not_active", "reserved_local_part", None],
    "Problem.code": sorted(PROBLEMS),
    "ShownEvent.type": sorted(TYPES),
}


def components(routes: Sequence[Route]) -> dict[str, Schema]:
    """The schemas that the routes refer to, by name."""
    bodies = _schemas(route.body for route in routes if route.body)
    answers = _schemas([Problem, *(route.gives for route in routes if route.gives not in NOT_JSON)])
    chosen = {route.gives.__name__ for route in routes if route.shows}  # stand in their routes: see success()
    found = {name: _request(schema) for name, schema in bodies.items()}
    found |= {name: _answer(name, schema) for name, schema in answers.items() if name not in chosen}
    return found | _chosen_by_fields()


def success(route: Route) -> Schema:
    """The schema of the success body."""
    if route.gives in NOT_JSON:
        return {"type": "string"} | ({"format": "binary"} if route.gives is Content else {})
    name = route.gives.__name__
    if route.shows is None:
        return {"$ref": REFERENCE.format(name=name)}
    schema = _answer(name, _schemas([route.gives])[name])
    shown = _shown(route.shows)
    for field in {"account", "deleted"} & schema["properties"].keys():
        schema["properties"][field] |= shown
    if "items" in schema["properties"]:
        schema["properties"]["items"] |= {"type": "array", "items": shown}
    return schema


def query_parameters(route: Route) -> list[Schema]:
    """The parameters of the query string."""
    (schema,) = _schemas([route.query]).values()
    found = []
    for name, declared in schema.get("properties", {}).items():
        field = _flat(declared)
        if name == "fields":
            field["pattern"] = _pattern_of_fields(FullAccount if route.shows else FullDomain)
        about = {"description": field.pop("description"), "example": field.pop("examples")[0]}
        found.append(
            {"name": name, "in": "query", "required": name in schema.get("required", ()), **about, "schema": field}
        )
    return found


def _schemas(kinds: Iterable[Any]) -> dict[str, Schema]:
    return msgspec.json.schema_components(list(kinds), ref_template=REFERENCE)[1]


def _request(schema: Schema) -> Schema:
    fields = {name: _flat(field) for name, field in schema.get("properties", {}).items()}
    for field in fields.values():
        field.pop("default", None)
    return schema | {"properties": fields}


def _answer(name: str, schema: Schema) -> Schema:
    fields = {field: _described(name, field, _flat(kind)) for field, kind in schema.get("properties", {}).items()}
    required = list(schema.get("required", ()))
    if name not in SPARSE:  # a field that is left out when it is UNSET has no default in the schema
        required += [field for field, kind in schema["properties"].items() if "default" in kind]
    return schema | {"properties": fields, "required": required}


def _described(struct: str, field: str, schema: Schema) -> Schema:
    schema.pop("default", None)
    words, example = WORDS.get(f"{struct}.{field}") or WORDS[field]
    schema.setdefault("description", words)
    if "enum" not in schema and f"{struct}.{field}" in ENUMS:
        schema["enum"] = ENUMS[f"{struct}.{field}"]
    if field.endswith(TIMES) or field == "remove_after":
        schema["format"] = "date-time"
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        schema["additionalProperties"] = True
    if field == "scopes" and "enum" not in schema.get("items", {}):
        schema["items"] = {"type": "string", "enum": list(ALL_SCOPES)}
    if example is not None:
        schema.setdefault("examples", [example])
    return schema


def _flat(schema: Schema) -> Schema:
    """A field that may be null as one schema with two types; enumerations with their type."""
    schema = dict(schema)
    kinds = schema.get("anyOf", ())
    inner = [kind for kind in kinds if kind != {"type": "null"}]
    if len(inner) == 1 and len(kinds) == 2 and "$ref" not in inner[0]:
        del schema["anyOf"]
        schema = _flat(inner[0]) | schema
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    elif "enum" in schema:
        schema.setdefault("type", "string")
    return schema


def _chosen_by_fields() -> dict[str, Schema]:
    full = _schemas([FullAccount, CreatedAccount, FullDomain])
    account, created, domain = (_answer(name, full[name]) for name in ("FullAccount", "CreatedAccount", "FullDomain"))
    return {
        "Protocols": _answer("Protocols", full["Protocols"]),
        "Account": _optional("Account", "An account: the fields that the request chose.", account),
        "CreatedAccount": _optional(
            "CreatedAccount",
            "A new account: `userId` and `isDefault` without `fields`, `user_id` and `is_default` with it.",
            {**created, "properties": account["properties"] | created["properties"]},
        ),
        "Domain": _optional("Domain", "A domain: `domain` and `status`, or what `fields` names.", domain),
    }


def _optional(title: str, description: str, schema: Schema) -> Schema:
    return {"title": title, "description": description, "type": "object", "properties": schema["properties"]}


def _shown(kind: type[msgspec.Struct]) -> Schema:
    names = ", ".join(f"`{name}`" for name in kind.__struct_encode_fields__)
    name = "CreatedAccount" if kind is CreatedAccount else "Account"
    words = f"Without `fields` exactly {names}. With it, the fields that it names; `*` names all."
    return {"$ref": REFERENCE.format(name=name), "description": words}


def _pattern_of_fields(kind: type[msgspec.Struct]) -> str:
    names = "|".join(kind.__struct_encode_fields__)
    return rf"^(\*|({names})(,({names}))*)$"
