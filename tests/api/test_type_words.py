"""What the API says about values of a wrong type."""

from typing import Any

import msgspec
import pytest

from postroom.api.decoding import decode_body
from postroom.api.routes import ROUTES
from postroom.errors import Refused

VALUES: tuple[Any, ...] = (None, True, -1, 0, 10**30, 1.5, "", "x", [], [1], {}, {"x": 1}, "2027-01-01")
BODIES = [route for route in ROUTES if route.body is not None]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: f"{route.method} {route.path}")
def test_every_field_says_what_to_send(route: Any) -> None:
    """No message has the words of a programming language."""
    decoder = msgspec.json.Decoder(route.body)
    for field in msgspec.structs.fields(route.body):
        for value in VALUES:
            try:
                decode_body(decoder, msgspec.json.encode({field.encode_name: value}))
            except Refused as error:
                for one in error.fields:
                    assert "`" not in one.message, (field.name, value)
                    assert "Invalid" not in one.message, (field.name, value)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int | None, "1", "Send a whole number or null, not a text."),
        (msgspec.Meta(ge=1), 0, "The smallest value is 1."),
        (msgspec.Meta(le=9), 10, "The largest value is 9."),
        (msgspec.Meta(min_length=1), [], "Send a list of at least 1 item."),
        (msgspec.Meta(max_length=2), [1, 2, 3], "Send a list of at most 2 items."),
    ],
)
def test_messages(kind: Any, value: Any, said: str) -> None:
    from typing import Annotated

    if isinstance(kind, msgspec.Meta):
        kind = Annotated[list[int] if isinstance(value, list) else int, kind]
    body = msgspec.defstruct("Body", [("x", kind)])
    with pytest.raises(Refused) as refused:
        decode_body(msgspec.json.Decoder(body), msgspec.json.encode({"x": value}))
    assert [one.message for one in refused.value.fields] == [said]
