"""Turns bytes into typed requests: query strings, JSON bodies and the small types that they share.

UNSET is "not sent" and None is "sent as null". If a JSON key is repeated, the last one counts (RFC
8259 section 4); a repeated query parameter is refused.
"""

import contextlib
import difflib
import functools
import mmap
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import Meta

from postroom.api.type_words import in_words
from postroom.errors import FieldError, Refused, invalid
from postroom.parameters import LARGEST, LIMIT_MAX

B = TypeVar("B", bound=msgspec.Struct)
_WHERE = re.compile(r" - at `[^`]*`$")
# Number of unknown names that an answer lists: a body of 64 KiB has room for thousands, a header
# for few.
NAMES_MAX = 20
HEADER_NAMES_MAX = 5


class NoQuery(msgspec.Struct, frozen=True):
    """The query of a route that takes no parameters."""


class NoBody(msgspec.Struct, frozen=True):
    """The body of a route that takes none."""


def parse_query(kind: type[B], query: bytes, *, refuses_near_misses: bool = True) -> B:
    """A query string as an instance of its type. Known parameters are parsed strictly. Unknown ones
    are ignored (decision 0100), unless one is a known name in another spelling (decision 0212).
    Raises `invalid_request`."""
    empty: B | None = None if query else _without_parameters(kind)
    if empty is not None:
        return empty
    parsers = _query_parsers(kind)
    values: dict[str, Any] = {}
    problems: list[FieldError] = []
    for pair in query.split(b"&") if query else ():
        raw_name, _, raw_value = pair.partition(b"=")
        name, value = _unquote(raw_name), _unquote(raw_value)
        if name is None or value is None:
            raise invalid(FieldError("query", "invalid_encoding", "Use UTF-8, percent-encoded, without NUL."))
        if name not in parsers:
            if refuses_near_misses and (meant := _spellings(kind).get(_plain(name))):
                message = f"There is no such parameter: did you mean {meant}?"
                problems.append(FieldError(_safe(name), "unknown_parameter", message))
            continue
        if name in values:
            problems.append(FieldError(name, "repeated", "Send this parameter once."))
            continue
        try:
            values[name] = parsers[name](value)
        except ValueError as error:
            problems.append(FieldError(name, "invalid", str(error)))
    problems += [FieldError(name, "required", "Send this parameter.") for name in _required(kind) if name not in values]
    if problems:
        raise invalid(*problems)
    names = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    return kind(**{names[name]: value for name, value in values.items()})


def ignored(kind: type[msgspec.Struct], query: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The header that lists the unknown parameters of a query string, with the known names that
    they may mean. A name that resembles no known name is given only by its position: it may be
    anything, even a secret."""
    raw = {pair.partition(b"=")[0] for pair in query.split(b"&")}
    if raw <= _raw_names(kind):  # the usual case
        return ()
    known = _query_parsers(kind)
    names = enumerate((_unquote(pair.partition(b"=")[0]) or "" for pair in query.split(b"&")), 1)
    near = _spellings(kind)
    unknown = {
        name: place
        for place, name in reversed(list(names))
        if name and name not in known and _plain(name) not in near  # a near miss is refused, and not ignored
    }
    if not unknown:
        return ()
    first = sorted(unknown.items(), key=lambda item: item[1])[:HEADER_NAMES_MAX]
    meant = ((place, name, _meant(name, known, ";meant={}")) for name, place in first)
    shown = (f"{quote(name, safe='')[:64]}{words}" if words else f"#{place}" for place, name, words in meant)
    return ((b"x-ignored-parameters", ", ".join(shown).encode()),)


def _meant(name: str, known: Iterable[str], words: str) -> str:
    """`words`, filled in with the known name that resembles this name most; an empty string if none
    does."""
    plain = {_plain(each): each for each in known}
    close = difflib.get_close_matches(_plain(name[:64]), plain, 1)
    return words.format(plain[close[0]]) if close else ""


def _plain(name: str) -> str:
    """The letters of a name, by which two spellings of one name are equal."""
    return name.lower().replace("_", "").replace("-", "")


def unknown_names(names: Iterable[str], known: Iterable[str]) -> str:
    """A sentence that says which names of a list are unknown, by their positions: no value that was
    sent is repeated."""
    wrong = [(place, name) for place, name in enumerate(names, 1) if name not in known][:NAMES_MAX]
    told = (f"name {place}{_meant(name, known, ' (did you mean {}?)')}" for place, name in wrong)
    return f"Not known: {', '.join(told)}."


def decode_body(
    decoder: msgspec.json.Decoder[B],
    body: bytes | mmap.mmap,
    size_problems: Callable[[bytes | mmap.mmap], Sequence[FieldError]] = lambda _: (),
) -> B:
    """A JSON body as an instance of its type; no body at all counts as an empty object.
    `size_problems` says what is too large in it, before anything is built. Raises
    `invalid_request`."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            if problems := size_problems(body):
                raise invalid(*problems)
            return decoder.decode(body or b"{}")
        except msgspec.ValidationError as error:
            raise invalid(*_field_errors(decoder.type, body) or [_field_error("", str(error), decoder.type)]) from None
    # Outside, because that error would keep parts of a mapped body, which could not be closed.
    raise Refused("invalid_request", "The body is not valid JSON in UTF-8 (RFC 8259).")


def check_user_id(text: str, field: str = "user_id") -> FieldError | None:
    """The problem with a user_id, or None. It must be 1 to 128 printable characters, and is
    compared exactly."""
    if 1 <= len(text) <= 128 and text.isprintable():
        return None
    return FieldError(field, "invalid", "A user_id must be 1 to 128 printable characters.")


def check_display_name(text: str, field: str = "display_name") -> FieldError | None:
    """The problem with a display name, or None. It may be any Unicode text of up to 255 characters,
    without control characters."""
    if len(text) > 255:
        return FieldError(field, "too_long", "A name must have at most 255 characters.")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        return FieldError(field, "control_character", "A name must not have control characters.")
    return None


def _unquote(raw: bytes) -> str | None:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


@functools.cache
def _query_parsers(kind: type[msgspec.Struct]) -> dict[str, Callable[[str], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return {names[name]: _parser(names[name], hint) for name, hint in hints.items()}


@functools.cache
def _without_parameters(kind: type[B]) -> B | None:
    """The instance that an empty query string stands for; None if a parameter is required."""
    return None if _required(kind) else kind()


@functools.cache
def _required(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(kind) if field.required)


@functools.cache
def _spellings(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {_plain(name): name for name in _query_parsers(kind)}


@functools.cache
def _raw_names(kind: type[msgspec.Struct]) -> frozenset[bytes]:
    return frozenset(name.encode() for name in _query_parsers(kind))


def _parser(name: str, hint: Any) -> Callable[[str], Any]:
    args = [hint, *get_args(hint)]
    ints = [a for a in args if a is int or (get_origin(a) is Annotated and a.__origin__ is int)]
    if not ints:
        return _text
    metas = [m for a in ints if get_origin(a) is Annotated for m in a.__metadata__ if isinstance(m, Meta)]
    metas += [m for m in args if isinstance(m, Meta)]
    lowest = next((m.ge for m in metas if m.ge is not None), 0)
    return functools.partial(_number, lowest=int(lowest), most=LIMIT_MAX if name == "limit" else LARGEST)


def _text(value: str) -> str:
    if not value:
        raise ValueError("Leave the parameter out or give it a value.")
    return value


def _number(value: str, lowest: int, most: int) -> int:
    if not (value.isascii() and value.isdigit()) or len(value) > 19 or int(value) > LARGEST:
        raise ValueError("Send a whole number in plain digits.")
    if int(value) < lowest:
        raise ValueError(f"The smallest value is {lowest}.")
    return min(int(value), most)


def _field_errors(kind: Any, body: bytes | mmap.mmap | msgspec.Raw) -> list[FieldError]:
    """All problems with the fields of an object, each field checked by itself."""
    try:
        sent = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:  # the body is not an object
        return []
    by_attribute = get_type_hints(kind, include_extras=True)
    hints = {field.encode_name: by_attribute[field.name] for field in msgspec.structs.fields(kind)}
    unknown = [name for name in sent if name not in hints][:NAMES_MAX]
    problems = [unknown_field(name, hints) for name in unknown]
    problems += [
        FieldError(name, "required", "This field is required.") for name in _required(kind) if name not in sent
    ]
    for name in filter(hints.get, sent):
        try:
            msgspec.json.decode(sent[name], type=hints[name])
        except msgspec.ValidationError as error:
            inner = [problem for struct in _structs(hints[name]) for problem in _field_errors(struct, sent[name])]
            problems += [_inside(name, one) for one in inner] or [_field_error(name, str(error), hints[name])]
    return problems


def _inside(name: str, problem: FieldError) -> FieldError:
    """A problem with a field of the object `name`. An unknown name in an object is not repeated,
    because it may be a value."""
    field = name if problem.code == "unknown_field" else f"{name}.{problem.field}"
    return FieldError(field, problem.code, problem.message)


def _structs(hint: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs among the types that a field may have, whose own fields are then checked."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield hint
    for arg in get_args(hint):
        yield from _structs(arg)


def unknown_field(name: str, known: Iterable[str]) -> FieldError:
    """The problem with a field that the type of the body lacks."""
    hint = _meant(name, known, ": did you mean {}?") or f". Known: {', '.join(known)}."
    return FieldError(_safe(name), "unknown_field", f"There is no such field{hint}")


def _field_error(name: str, message: str, hint: Any) -> FieldError:
    """msgspec's one-line message as a field error that names types and rules, never a value that
    was sent."""
    problem = in_words(_WHERE.sub("", message))  # a fault in an element is reported for the whole list
    if problem.startswith("Invalid enum value"):
        problem = f"Use one of: {', '.join(_choices(hint))}"
    return FieldError(name or "body", "invalid", f"{problem}.".replace("..", "."))


def _choices(hint: Any) -> Iterator[str]:
    for arg in get_args(hint):
        yield from [arg] if isinstance(arg, str) else _choices(arg)


def _safe(name: str) -> str:
    return "".join(c for c in name[:64] if c.isprintable())
