"""The operations as data, from which the commands of `postroom api` and the tools of `postroom mcp`
are made.

An operation that is called through the catalog returns the API's own JSON, not a shape.
"""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import UnsetType

from postroom.client.methods import Listing, Operation, Stream
from postroom.client.new_attachment import NewAttachment
from postroom.client.operations import Operations
from postroom.client.request import Listed, Plan, Request, RetryPolicy, call, call_page
from postroom.client.shape import SECRETS, Page, secrets_of
from postroom.parameters import SyncToken, words_of

Method = Operation[..., Any] | Listing[..., Any] | Stream[..., Any]
Kind = Literal["text", "number", "flag", "list", "switches", "numbers", "texts", "files"]
# Parameters that may not appear on a command line or be repeated.
HIDDEN = (*SECRETS, "password_hash", "token", "webhook_secret")
# The token of a mailbox says nothing.
NO_SECRET = words_of(SyncToken)
# The parameters that lead to the next page of a list.
CURSORS = ("after", "before_uid", "after_uid")
PUBLIC = ("/.well-known/", "/setup/", "/healthz", "/readyz")


@dataclass(frozen=True)
class Parameter:
    """One parameter. A nullable parameter may be null, which is not the same as not sent. `name` is
    that of the method's argument, `sent_name` that of the API."""

    name: str
    kind: Kind
    words: str
    is_required: bool
    is_positional: bool
    is_nullable: bool
    choices: tuple[str, ...] = ()

    @property
    def sent_name(self) -> str:
        return self.name.rstrip("_")  # `from` is a word of Python

    @property
    def is_hidden(self) -> bool:
        return self.name in HIDDEN and self.words != NO_SECRET


@dataclass(frozen=True)
class Entry:
    """One operation. `secrets` are the fields of its answer that are shown only once; an answer has
    at most one of them."""

    name: str
    operation: Method
    parameters: tuple[Parameter, ...]

    @property
    def words(self) -> str:
        return " ".join((self.operation.__doc__ or "").split())

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return " ".join(self.words.partition(".")[0].replace("`", "").split())

    @property
    def path(self) -> str:
        return self.operation.path

    @property
    def is_list(self) -> bool:
        return isinstance(self.operation, Listing)

    @property
    def is_stream(self) -> bool:
        """Whether the answer has no end."""
        return isinstance(self.operation, Stream)

    @property
    def reads(self) -> bool:
        """Whether the operation changes nothing."""
        return self.operation.method == "GET"

    @property
    def gives_bytes(self) -> bool:
        """Whether the answer is no JSON or text, but bytes to be saved."""
        return bool(get_type_hints(self.operation.describe)["return"] == Request[bytes])

    @property
    def is_of_strangers(self) -> bool:
        """Whether the answer has text that anybody on the internet may have written to the
        account."""
        return self.reads and "/messages" in self.path

    @property
    def is_public(self) -> bool:
        """Whether the operation needs no key."""
        return self.path.startswith(PUBLIC)

    @property
    def secrets(self) -> tuple[str, ...]:
        answer = get_type_hints(self.operation.describe)["return"]
        (shape,) = get_args(answer)
        return secrets_of(shape)

    def ask(self, retry_policy: RetryPolicy, arguments: dict[str, Any]) -> Plan[bytes]:
        """The plan of one call; its result is the body of the answer."""
        request = dataclasses.replace(self.operation.describe(None, **arguments), decode=bytes)
        return call(self.operation.method, self.path, request, retry_policy)

    def ask_page(
        self, retry_policy: RetryPolicy, arguments: dict[str, Any], next_: str | None = None
    ) -> Plan[Listed[bytes]]:
        """The plan of one page; its only item is the body of the answer."""
        request = dataclasses.replace(
            self.operation.describe(None, **arguments), decode=lambda body: Page(items=[bytes(body)])
        )
        return call_page(self.operation.method, self.path, request, next_, retry_policy)


@cache
def catalog() -> dict[str, Entry]:
    """Every operation by name."""
    return {name: Entry(name, value, tuple(_parameters(value))) for name, value in operations().items()}


def operations() -> dict[str, Method]:
    """Every method of the clients by name."""
    every = (vars(kind).items() for kind in Operations.__mro__)
    return {name: value for items in every for name, value in items if isinstance(value, Operation | Listing | Stream)}


def _parameters(operation: Method) -> list[Parameter]:
    hints, described = (get_type_hints(operation.describe, include_extras=extras) for extras in (False, True))
    parameters = [one for name, one in inspect.signature(operation.describe).parameters.items() if name != "self"]
    return [_parameter(one, hints[one.name], words_of(described[one.name])) for one in parameters]


def _parameter(parameter: inspect.Parameter, hint: Any, words: str) -> Parameter:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found = [kind for kind in kinds if kind not in (NoneType, UnsetType)]
    values = [*found, *(name for kind in found if _is_mapping(kind) for name in get_args(kind)[:1])]
    choices = next((get_args(kind) for kind in values if get_origin(kind) is Literal), ())
    return Parameter(
        parameter.name,
        _kind(found),
        words,
        is_required=parameter.default is inspect.Parameter.empty,
        is_positional=parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD,
        is_nullable=UnsetType in kinds,
        choices=tuple(choices),
    )


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _kind(found: Sequence[Any]) -> Kind:
    """The kind of a parameter. Times are text, which the API parses. Switches and numbers are flags
    and nullable numbers by the names in `choices`; texts have any names."""
    if mapping := next(filter(_is_mapping, found), None):
        return {bool: "switches", str: "texts"}.get(get_args(mapping)[1], "numbers")  # type: ignore[return-value]
    if any(NewAttachment in get_args(kind) for kind in found):
        return "files"
    if any(get_origin(kind) is not None and get_origin(kind) is not Literal for kind in found):
        return "list"
    if bool in found:
        return "flag"
    return "number" if found == [int] else "text"
