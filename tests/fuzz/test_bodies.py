"""JSON bodies of every route: accepted or refused as Python's own `json` and a second reading of
the types decide. Refusals never repeat the values."""

import datetime
import json
import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, UnsetType

from postroom.api.decoding import decode_body
from postroom.api.routes import ROUTES
from postroom.errors import Refused

BODIES = sorted({route.body for route in ROUTES if route.body}, key=lambda kind: kind.__qualname__)
DECODERS = {kind: msgspec.json.Decoder(kind) for kind in BODIES}
NAMES = sorted({name for kind in BODIES for name in kind.__struct_fields__})
MARK = "zqx"
NUMBERS = st.sampled_from([-1, 0, 1, 500, 501, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63)]) | st.integers()
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12).map(lambda text: MARK + text),
    st.sampled_from(["active", "suspended", "disabled", "store", "webhook", "2030-01-01T00:00:00Z", ""]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
KEYS = st.sampled_from(NAMES) | st.text(max_size=6)


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    """Returns values that have this type, or nearly."""
    origin = get_origin(kind)
    if origin in (Annotated, typing.Union, types.UnionType, Literal):
        options = get_args(kind)
        if origin is Literal:
            return st.sampled_from([*options, f"{MARK} is none of them"])
        return st.one_of([fitting(option) for option in options if option is not UnsetType and not is_note(option)])
    if origin is list:
        return st.lists(fitting(get_args(kind)[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(*map(fitting, get_args(kind)), max_size=3)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return documents(kind).map(lambda made: made[1])
    plain = {str: st.text(max_size=12).map(lambda text: MARK + text), int: NUMBERS, bool: st.booleans()}
    plain |= {types.NoneType: st.none(), datetime.datetime: st.datetimes().map(lambda time: f"{time.isoformat()}Z")}
    return plain[kind]


def is_note(option: Any) -> bool:
    return isinstance(option, Meta)


def required_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind) if field.required}


def documents(kind: type[msgspec.Struct]) -> st.SearchStrategy[tuple[type[msgspec.Struct], dict[str, Any]]]:
    """Returns bodies of a type: required fields, some optional ones, and sometimes a wrong value or
    name."""
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {field.encode_name: fitting(hints[field.name]) for field in msgspec.structs.fields(kind)}
    required = {name: strategy for name, strategy in fields.items() if name in required_of(kind)}
    others = {name: strategy for name, strategy in fields.items() if name not in required}
    right = st.fixed_dictionaries(required, optional=others)
    wrong = st.one_of(st.just({}), st.dictionaries(st.sampled_from(list(fields)) | KEYS, VALUES, max_size=2))
    return st.builds(lambda good, bad: (kind, good | bad), right, wrong)


OBJECTS = st.sampled_from(BODIES).flatmap(documents)
ODD = st.sampled_from([b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b",", b"}", b"[", b'"', b"NaN", b" \n\t"])
Found = bool | None


class Repeated(Exception):
    """A name occurs twice, for which two readings may both be right."""


def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(found)) < len(found):
        raise Repeated
    return dict(found)


def parsed(text: bytes) -> Any:
    """Returns the document as Python's parser reads it, restricted to RFC 8259: UTF-8 and no NaN.
    Raises ValueError."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    document = json.loads(text.decode("utf-8"), parse_constant=refuse, object_pairs_hook=pairs)
    json.dumps(document, ensure_ascii=False).encode("utf-8")  # fails for a lone surrogate, which UTF-8 cannot encode
    return document


def fits(value: Any, kind: Any) -> Found:
    """Returns whether a value has a type; None if only the server can know."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *notes = get_args(kind)
        bounds = [note for note in notes if isinstance(note, Meta)]
        found = fits(value, inner)
        return found and all(within(value, bound) for bound in bounds)
    if origin in (typing.Union, types.UnionType):
        each = [fits(value, option) for option in get_args(kind)]
        return True if True in each else None if None in each else False
    if origin is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if origin is dict:
        inner = [fits(item, get_args(kind)[1]) for item in value.values()] if isinstance(value, dict) else [False]
        return False if False in inner else None if None in inner else True
    if origin is list:
        inner_found = [fits(item, get_args(kind)[0]) for item in value] if isinstance(value, list) else [False]
        return False if False in inner_found else None if None in inner_found else True
    if kind is datetime.datetime:
        return None if isinstance(value, str) else False
    if kind is UnsetType:
        return False
    if kind in (types.NoneType, None):
        return value is None
    if issubclass(kind, msgspec.Struct):
        return judged(kind, value)
    assert kind in (str, int, bool), kind
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def within(value: Any, bound: Meta) -> bool:
    checks = [bound.ge is None or value >= bound.ge, bound.le is None or value <= bound.le]
    if isinstance(value, list | str):
        checks = [bound.max_length is None or len(value) <= bound.max_length]
        checks += [bound.min_length is None or len(value) >= bound.min_length]
    return all(checks)


def judged(kind: type[msgspec.Struct], document: Any) -> Found:
    """Returns whether this document is a body of this type."""
    kinds = typing.get_type_hints(kind, include_extras=True)
    hints = {field.encode_name: kinds[field.name] for field in msgspec.structs.fields(kind)}
    if (
        not isinstance(document, dict)
        or not required_of(kind) <= document.keys()
        or not document.keys() <= hints.keys()
    ):
        return False
    found = [fits(value, hints[name]) for name, value in document.items()]
    return False if False in found else None if None in found else True


def taken(kind: type[msgspec.Struct], body: bytes) -> msgspec.Struct | None:
    """Returns the body as the server reads it. A refusal has a proper form and none of the
    values."""
    try:
        return decode_body(DECODERS[kind], body)
    except Refused as error:
        refused = error
    assert refused.code == "invalid_request"
    assert MARK not in " ".join([refused.detail, *(problem.message for problem in refused.fields)])
    return None


def check_read(found: Any, value: Any) -> None:
    """Checks that the server has read this value, and nothing else."""
    if isinstance(found, msgspec.Struct):
        for field in msgspec.structs.fields(found):
            if field.encode_name in value:
                check_read(getattr(found, field.name), value[field.encode_name])
    elif isinstance(found, list):
        assert len(found) == len(value)
        for one, sent in zip(found, value, strict=True):
            check_read(one, sent)
    else:
        assert found == value or isinstance(found, datetime.datetime)


def check(kind: type[msgspec.Struct], body: bytes) -> None:
    try:
        document = parsed(body or b"{}")
    except Repeated:
        taken(kind, body)
        return
    except (ValueError, RecursionError):
        assert taken(kind, body) is None
        return
    found, wanted = taken(kind, body), judged(kind, document)
    if wanted is not None:
        assert (found is not None) == wanted
    if found is not None:
        check_read(found, document)


@given(OBJECTS)
def test_an_object_is_judged_alike(made: tuple[type[msgspec.Struct], dict[str, Any]]) -> None:
    kind, document = made
    check(kind, json.dumps(document).encode())
    check(kind, json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass"))


@given(st.sampled_from(BODIES), OBJECTS, st.lists(st.tuples(st.integers(0, 200), ODD), max_size=3), st.integers(0, 200))
def test_what_is_nearly_json_is_judged_alike(
    kind: type[msgspec.Struct], made: tuple[Any, dict[str, Any]], put: list[tuple[int, bytes]], cut: int
) -> None:
    body = json.dumps(made[1]).encode()
    for at, odd in put:
        body = body[:at] + odd + body[at:]
    check(kind, body)
    check(kind, body[:cut])


@given(st.sampled_from(BODIES), st.binary(max_size=60), st.integers(0, 30_000), st.sampled_from([b"[", b'{"a":']))
def test_any_bytes_are_refused_or_read(kind: type[msgspec.Struct], body: bytes, depth: int, open_: bytes) -> None:
    check(kind, body)
    assert taken(kind, open_ * min(depth, 60_000 // len(open_))) is None or depth == 0
