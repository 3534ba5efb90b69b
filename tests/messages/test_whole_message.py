"""A whole message as JSON says exactly its bytes, whatever they are."""

import json

import pytest

from postroom.messages import whole_message
from postroom.messages.content import PIECE_BYTES
from postroom.messages.structure import DEEPEST, MOST_PARTS

END = b'","rfc822":"x"}\\'
RAWS = {
    "nothing": b"",
    "ascii": b"Subject: x\r\n\r\nhi\r\n",
    "controls": b"Subject: x\r\n\r\n" + bytes(range(32)) + b"\x7f",
    "the end of a string": b"Subject: " + END + b"\r\n\r\n" + END,
    "utf-8": "Subject: ä\r\n\r\n€😀\u2028\ufeff".encode(),
    "a letter across two pieces": b"x" * (PIECE_BYTES - 1) + "😀".encode() + b"y" * PIECE_BYTES,
    "a letter that is cut": b"Subject: x\r\n\r\n" + "😀".encode()[:-1],
    "a surrogate": b"Subject: x\r\n\r\n\xed\xa0\x80",
    "any bytes": b"Subject: x\r\n\r\n" + bytes(range(256)) * 2000,
}


@pytest.mark.parametrize("name", RAWS)
def test_it_says_the_bytes(name: str) -> None:
    raw = RAWS[name]
    size, pieces = whole_message.encode(raw, 7, ["\\Seen", "$x"])
    text = b"".join(pieces)
    found = json.loads(text)
    assert len(text) == size
    assert found["rfc822"].encode(found.get("rfc822_encoding", "utf-8")) == raw
    assert (found["uid"], found["flags"]) == (7, ["$x", "\\Seen"])
    assert ("rfc822_encoding" in found) == (name in ("a letter that is cut", "a surrogate", "any bytes"))
    if name == "the end of a string":
        assert found["envelope"]["subject"] == END.decode()


def structure(raw: bytes) -> dict[str, object]:
    _, pieces = whole_message.encode(raw, 1, [])
    found: dict[str, object] = json.loads(b"".join(pieces))["bodyStructure"]
    return found


def _multipart(boundary: str, *parts: bytes) -> bytes:
    mark = boundary.encode()
    inner = b"".join(b"--" + mark + b"\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/mixed; boundary=" + mark + b"\r\n\r\n" + inner + b"--" + mark + b"--\r\n"


def test_the_structure() -> None:
    text = b"Content-Type: text/plain; charset=latin1\r\nContent-ID: <a@b>\r\n\r\nhi"
    nested = _multipart("x", _multipart("y", text, text), _multipart("z", text))
    leaf = {
        "type": "text/plain",
        "parameters": {"charset": "latin1"},
        "id": "<a@b>",
        "encoding": "7bit",
        "size": 2,
    }
    found = structure(nested)
    assert found == {
        "type": "multipart/mixed",
        "childNodes": [
            {
                "type": "multipart/mixed",
                "part": "1",
                "childNodes": [leaf | {"part": "1.1"}, leaf | {"part": "1.2"}],
            },
            {"type": "multipart/mixed", "part": "2", "childNodes": [leaf | {"part": "2.1"}]},
        ],
    }


def test_a_structure_has_bounds() -> None:
    many = structure(_multipart("x", *[b"\r\nhi"] * (MOST_PARTS + 10)))
    assert len(many["childNodes"]) == MOST_PARTS  # type: ignore[arg-type]
    deep = b"\r\nhi"
    for number in range(DEEPEST + 5):
        deep = _multipart(f"x{number}", deep)
    node, levels = structure(deep), 0
    while "childNodes" in node:
        (node,), levels = node["childNodes"], levels + 1  # type: ignore[misc]
    assert levels == DEEPEST
    assert structure(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x--\r\n") == {"type": "multipart/mixed"}
