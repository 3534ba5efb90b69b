"""Projections: the shapes in which answers show a noun (decision 0193).

A field of a projection has the name of the noun's field or property that it shows; `rename` gives
it another name in JSON. A time has a name that ends in `_at` or `_since`: milliseconds
since 1970 UTC in the noun, RFC 3339 text in the projection.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

Projection = TypeVar("Projection", bound=msgspec.Struct)
TIMES = ("_at", "_since")


def derive(
    name: str,
    noun: type[msgspec.Struct],
    fields: Iterable[str],
    *,
    rename: Mapping[str, str] | None = None,
    doc: str | None = None,
) -> type[msgspec.Struct]:
    """A projection with the types of the noun's fields."""
    shown = [(field, _type(noun, field)) for field in fields]
    return msgspec.defstruct(name, shown, frozen=True, rename=rename, namespace={"__doc__": doc})


def filler(kind: type[Projection]) -> Callable[[Any], Projection]:
    """The function that makes a projection from a noun."""
    names = kind.__struct_fields__
    if any(name.endswith(TIMES) for name in names):
        every = [_reader(name) for name in names]
        return lambda noun: kind(*[read(noun) for read in every])
    at_once = operator.attrgetter(*names)  # needs at least two names: with one, attrgetter returns no tuple
    return lambda noun: kind(*at_once(noun))


def readers(kind: type[msgspec.Struct]) -> dict[str, Callable[[Any], Any]]:
    """The functions that read the fields of a projection from a noun, by the fields' names in
    JSON."""
    return dict(zip(kind.__struct_encode_fields__, map(_reader, kind.__struct_fields__), strict=True))


def timestamp(milliseconds: int) -> str:
    """A time in milliseconds since 1970 UTC as RFC 3339 text in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _type(noun: type[msgspec.Struct], field: str) -> Any:
    declared = vars(noun)[field]
    hint = get_type_hints(declared.fget)["return"] if isinstance(declared, property) else get_type_hints(noun)[field]
    if not field.endswith(TIMES):
        return hint
    return str | None if type(None) in get_args(hint) else str


def _reader(field: str) -> Callable[[Any], Any]:
    read = operator.attrgetter(field)
    if not field.endswith(TIMES):
        return read

    def read_time(noun: Any) -> str | None:
        milliseconds = read(noun)
        return None if milliseconds is None else timestamp(milliseconds)

    return read_time
