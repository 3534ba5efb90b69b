"""From bytes to typed requests: query strings, JSON bodies and the small types that they share.

UNSET is "not sent" and None is "sent as null"; of a repeated JSON key the last counts
(RFC 8259 section 4), a repeated query parameter is refused.
"""

import difflib
import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote_to_bytes

import msgspec
from msgspec import Meta

from postroom.errors import FieldError, Refused, invalid
from postroom.parameters import LARGEST, LIMIT_MAX

B = TypeVar("B", bound=msgspec.Struct)
_WHERE = re.compile(r" - at `[^`]*`$")
# How many unknown names are told: a body of 64 KiB has room for thousands, a header for few.
NAMES_MAX = 20
HEADER_NAMES_MAX = 5


class NoQuery(msgspec.Struct, frozen=True):
    """A route without query parameters."""


class NoBody(msgspec.Struct, frozen=True):
    """A route without a body."""


def parse_query(kind: type[B], query: bytes) -> B:
    """A query string as its type. Unknown parameters are ignored (decision 0100); known ones are
    parsed strictly."""
    parsers = _query_parsers(kind)
    values: dict[str, Any] = {}
    problems: list[FieldError] = []
    for pair in query.split(b"&") if query else ():
        raw_name, _, raw_value = pair.partition(b"=")
        name, value = _unquote(raw_name), _unquote(raw_value)
        if name is None or value is None:
            raise invalid(FieldError("query", "invalid_encoding", "Use UTF-8, percent-encoded, without NUL."))
        if name not in parsers:
            continue
        if name in values:
            problems.append(FieldError(name, "repeated", "Send this parameter once."))
            continue
        try:
            values[name] = parsers[name](value)
        except ValueError as error:
            problems.append(FieldError(name, "invalid", str(error)))
    if problems:
        raise invalid(*problems)
    return kind(**values)


def ignored(kind: type[msgspec.Struct], query: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """The header that names the parameters of a query string that its type does not know, and
    what they may mean. One that looks like none that it knows is told by its place: it may be
    anything, a secret too."""
    raw = {pair.partition(b"=")[0] for pair in query.split(b"&")}
    if raw <= _raw_names(kind):  # as nearly always
        return ()
    known = _query_parsers(kind)
    names = enumerate((_unquote(pair.partition(b"=")[0]) or "" for pair in query.split(b"&")), 1)
    unknown = {name: place for place, name in reversed(list(names)) if name and name not in known}
    if not unknown:
        return ()
    first = sorted(unknown.items(), key=lambda item: item[1])[:HEADER_NAMES_MAX]
    meant = ((place, name, _meant(name, known, ";meant={}")) for name, place in first)
    shown = (f"{quote(name, safe='')[:64]}{words}" if words else f"#{place}" for place, name, words in meant)
    return ((b"x-ignored-parameters", ", ".join(shown).encode()),)


def _meant(name: str, known: Iterable[str], words: str) -> str:
    """These words with the known name that looks most like this one; nothing where none does."""
    plain = {each.replace("_", ""): each for each in known}
    spelled = name[:64].lower().replace("_", "").replace("-", "")
    close = difflib.get_close_matches(spelled, plain, 1)
    return words.format(plain[close[0]]) if close else ""


def unknown_names(names: Iterable[str], known: Iterable[str]) -> str:
    """Says which names of a list are unknown, by their places: no value that was sent is
    repeated."""
    wrong = [(place, name) for place, name in enumerate(names, 1) if name not in known][:NAMES_MAX]
    told = (f"name {place}{_meant(name, known, ' (did you mean {}?)')}" for place, name in wrong)
    return f"Not known: {', '.join(told)}."


def decode_body(decoder: msgspec.json.Decoder[B], body: bytes) -> B:
    """A JSON body as its type; no body at all counts as an empty object."""
    try:
        try:
            return decoder.decode(body or b"{}")
        except msgspec.ValidationError as error:
            raise invalid(*_field_errors(decoder.type, body) or [_field_error("", str(error), decoder.type)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_request", "The body is not valid JSON in UTF-8 (RFC 8259).") from None


def check_user_id(text: str, field: str = "user_id") -> FieldError | None:
    """1 to 128 printable characters, compared exactly."""
    if 1 <= len(text) <= 128 and text.isprintable():
        return None
    return FieldError(field, "invalid", "A user_id must be 1 to 128 printable characters.")


def check_display_name(text: str, field: str = "display_name") -> FieldError | None:
    """Any Unicode up to 255 characters, without control characters."""
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
    return {name: _parser(name, hint) for name, hint in hints.items()}


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


def _field_errors(kind: Any, body: bytes) -> list[FieldError]:
    """All that is wrong with the fields of an object, each looked at by itself."""
    try:
        sent = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:  # no object at all
        return []
    hints = get_type_hints(kind, include_extras=True)
    unknown = [name for name in sent if name not in hints][:NAMES_MAX]
    problems = [_unknown_field(name, hints) for name in unknown]
    required = (field.name for field in msgspec.structs.fields(kind) if field.required)
    problems += [FieldError(name, "required", "This field is required.") for name in required if name not in sent]
    for name in filter(hints.get, sent):
        try:
            msgspec.json.decode(sent[name], type=hints[name])
        except msgspec.ValidationError as error:
            problems.append(_field_error(name, str(error), hints[name]))
    return problems


def _unknown_field(name: str, known: Iterable[str]) -> FieldError:
    hint = _meant(name, known, ": did you mean {}?") or f". Known: {', '.join(known)}."
    return FieldError(_safe(name), "unknown_field", f"There is no such field{hint}")


def _field_error(name: str, message: str, hint: Any) -> FieldError:
    """msgspec's one-line message as a field error that names types and rules, never a value that
    was sent."""
    problem = _WHERE.sub("", message)  # an element of a list is at fault as the list
    if problem.startswith("Invalid enum value"):
        problem = f"Use one of: {', '.join(_choices(hint))}"
    return FieldError(name or "body", "invalid", f"{problem}.".replace("..", "."))


def _choices(hint: Any) -> Iterator[str]:
    for arg in get_args(hint):
        yield from [arg] if isinstance(arg, str) else _choices(arg)


def _safe(name: str) -> str:
    return "".join(c for c in name[:64] if c.isprintable())
