"""The sizes of the fields of a message to send, which are checked before the fields become objects:
a list of numbers takes thirty times the memory of its text (decision 0342)."""

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw

from postroom.api.decoding import unknown_field
from postroom.api.endpoints.draft_bodies import LARGEST_TEXT_BYTES, MOST_ATTACHMENTS, SendMessageBody
from postroom.api.large_bodies import Body
from postroom.errors import FieldError

# All that is neither a text nor the content of an attachment.
LARGEST_REST_BYTES = 1024 * 1024
# JSON may write each byte of a text as \u0041, between two quotes.
LARGEST_JSON_TEXT_BYTES = 6 * LARGEST_TEXT_BYTES + 2
_TEXTS = ("text", "html")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_ATTACHMENTS = (
    f"Send a list of at most {MOST_ATTACHMENTS} objects with filename, content_type, content_base64 and perhaps "
    "content_id; all but content_base64 may have 1 MiB."
)
_REST = "Send less: a body may have 1 MiB beside text, html and content_base64 of attachments."

# What a message is decoded into first. A `Raw` is a place in the body, and costs the same whatever
# is there; unknown fields cost nothing. An object of 100 fields that is an array in JSON ends at
# the element 101; a list would be built first.
_FIELDS = dict(zip(SendMessageBody.__struct_fields__, SendMessageBody.__struct_encode_fields__, strict=True))
_RAW = [(name, Raw, Raw()) for name in _FIELDS]
_Outline = msgspec.defstruct("_Outline", _RAW, rename=_FIELDS)
_StrictOutline = msgspec.defstruct("_StrictOutline", _RAW, rename=_FIELDS, forbid_unknown_fields=True)
_Content = msgspec.defstruct("_Content", [("content_base64", Raw, Raw())], frozen=True)
_Contents = msgspec.defstruct(
    "_Contents",
    [(f"number_{number}", _Content, _Content()) for number in range(MOST_ATTACHMENTS)],
    array_like=True,
    forbid_unknown_fields=True,
)


def size_problems(body: Body) -> list[FieldError]:
    """What is too large in the body of a message. Nothing that refers to the body may outlive this
    call, since the body is unmapped then. Raises msgspec.DecodeError."""
    outline = msgspec.json.decode(body, type=_Outline)
    sizes = {name: len(memoryview(getattr(outline, attribute))) for attribute, name in _FIELDS.items()}
    contents = _contents(outline.attachments)  # type: ignore[attr-defined]
    sizes["attachments"] -= sum(len(memoryview(one)) for one in contents)
    texts = {name: sizes.pop(name) for name in _TEXTS}
    problems = [
        FieldError(name, "too_long", "A text must have at most 1 MiB.")
        for name, size in texts.items()
        if size > LARGEST_JSON_TEXT_BYTES
    ]
    rest = len(body) - sum(texts.values()) - sum(len(memoryview(one)) for one in contents)
    if rest > LARGEST_REST_BYTES:
        problems.append(_rest_problem(body, sizes, rest))
    return problems or list(_content_problems(contents))


def _contents(attachments: Raw) -> list[Raw]:
    """The contents of the attachments; none if there are too many, or something else is there."""
    try:
        found = msgspec.json.decode(attachments, type=_Contents)
    except msgspec.DecodeError:
        return []
    return [one.content_base64 for one in msgspec.structs.astuple(found)]


def _rest_problem(body: Body, sizes: dict[str, int], rest: int) -> FieldError:
    """The problem with the field that has most of the rest. What no known field has is that of
    unknown and repeated ones."""
    name = max(sizes, key=lambda each: sizes[each])
    if 2 * sizes[name] > rest:
        return FieldError(name, "too_long", _ATTACHMENTS if name == "attachments" else _REST)
    try:
        msgspec.json.decode(body[:LARGEST_REST_BYTES], type=_StrictOutline)
    except msgspec.DecodeError as error:
        if found := _UNKNOWN.fullmatch(str(error)):
            return unknown_field(found[1], _FIELDS.values())
    return FieldError("body", "too_long", _REST)


def _content_problems(contents: Iterable[Raw]) -> Iterable[FieldError]:
    """Contents that are not of ASCII, which would take up to four bytes of memory a letter."""
    for number, content in enumerate(contents):
        letters = bytes(content)
        has_wide = b"\\" in letters and letters.count(b"\\u") > letters.count(b"\\u00")
        if has_wide or not letters.isascii():
            yield FieldError(f"attachments[{number}].content_base64", "invalid", "Send base64 (RFC 4648, 4).")
