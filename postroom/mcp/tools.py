"""The tools, made from the client's operations: descriptions, the type of each tool's arguments,
and each tool's effects.

An operation that writes counts as destructive, unless its verb only adds something (decision 0080).
"""

from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from mcp.types import Tool, ToolAnnotations
from msgspec import UNSET, Meta, UnsetType

from postroom.client.catalog import Entry, Parameter, catalog

ADDING = ("create", "restore", "consent", "verify")
REPEATABLE = ("delete", "verify")
# Tools that reach beyond the server, to the public DNS.
OPEN_WORLD = ("verify_domain",)
SHOW_ONCE = (
    "The field `{secret}` is a secret and cannot be read again. Show it to the user once, now. Do not repeat it later, "
    "and put it into no file, log, message or other tool unless the user asks for that."
)


def offered(read_only: bool) -> dict[str, Entry]:
    """The operations that are offered as tools, by name."""
    return {name: entry for name, entry in catalog().items() if entry.reads or not read_only}


def tool(entry: Entry) -> Tool:
    description = entry.words
    if entry.secrets:
        description += f" {SHOW_ONCE.format(secret='` or `'.join(entry.secrets))}"
    return Tool(
        name=entry.name,
        title=entry.name.replace("_", " ").capitalize(),
        description=description,
        input_schema=_schema(entry),
        annotations=_annotations(entry),
    )


@cache
def takes(entry: Entry) -> type[msgspec.Struct]:
    """The type of a tool's arguments."""
    fields = [_field(parameter) for parameter in entry.parameters]
    return msgspec.defstruct(entry.name, fields, kw_only=True, forbid_unknown_fields=True)


def arguments(entry: Entry, given: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments of the operation. Raises ValidationError for a wrong type, without any sent
    value in its text."""
    read = msgspec.convert(given or {}, takes(entry))
    return {name: value for name, value in msgspec.structs.asdict(read).items() if value is not UNSET}


def _schema(entry: Entry) -> dict[str, Any]:
    schema = msgspec.json.schema(takes(entry))
    found: dict[str, Any] = schema["$defs"][entry.name]
    return {key: value for key, value in found.items() if key != "title"}


def _field(parameter: Parameter) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind: Any = {"text": str, "number": int, "flag": bool, "list": list[str]}.get(parameter.kind)
    if parameter.kind == "switches":
        names: Any = Literal[parameter.choices]
        kind = dict[names, bool]
    elif parameter.kind == "numbers":
        names = Literal[parameter.choices]
        kind = dict[names, int | None]
    elif parameter.choices:
        kind = Literal[parameter.choices]
    bounds: dict[str, Any] = {"id": {"ge": 1}, "limit": {"ge": 1, "le": 500}}.get(parameter.name, {})
    if bounds:
        kind = Annotated[kind, Meta(**bounds)]
    if parameter.is_nullable:
        kind = kind | None
    if parameter.is_required:
        return parameter.name, _described(kind, parameter)
    return parameter.name, _described(kind | UnsetType, parameter), UNSET


def _described(kind: Any, parameter: Parameter) -> Any:
    nothing = " null: no limit." if parameter.kind == "number" else " null removes it."
    words = parameter.words + nothing * parameter.is_nullable
    more: dict[str, Any] = {"format": "password", "writeOnly": True} if parameter.is_hidden else {}
    if parameter.kind == "switches":
        more = {"properties": {name: {"type": "boolean"} for name in parameter.choices}, "additionalProperties": False}
    if parameter.kind == "numbers":
        number = {"type": ["integer", "null"]}
        more = {"properties": dict.fromkeys(parameter.choices, number), "additionalProperties": False}
    return Annotated[kind, Meta(description=words, extra_json_schema=more)]


def _annotations(entry: Entry) -> ToolAnnotations:
    verb = entry.name.partition("_")[0]
    is_repeatable = entry.reads or entry.operation.method == "PUT" or verb in REPEATABLE
    return ToolAnnotations(
        read_only_hint=entry.reads,
        destructive_hint=not entry.reads and verb not in ADDING,
        idempotent_hint=is_repeatable,
        open_world_hint=entry.name in OPEN_WORLD,
    )
