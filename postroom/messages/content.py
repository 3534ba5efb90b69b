"""The content of a part without its transfer encoding (RFC 2045, 6), piece by piece."""

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterator

from postroom.messages.structure import Part, Raw

PIECE_BYTES = 256 * 1024
# A piece with more padding than that is no base64, and decodes to anything.
MOST_PADDINGS = 1000
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_PADDING = re.compile(rb"=+")


def pieces(raw: Raw, part: Part, most: int | None = None) -> Iterator[bytes]:
    """Yields the decoded content of a part; with `most`, that of its first `most` encoded bytes."""
    end = part.end if most is None else min(part.end, part.start + most)
    encoding = (part.fields.first("content-transfer-encoding") or "").partition(";")[0].strip().lower()
    encoded = (raw[at : min(at + PIECE_BYTES, end)] for at in range(part.start, end, PIECE_BYTES))
    if encoding == "base64":
        yield from _base64(encoded)
    elif encoding == "quoted-printable":
        yield from _quoted_printable(encoded)
    else:
        yield from encoded


def size(raw: Raw, part: Part) -> int:
    """Returns the number of decoded bytes of a part."""
    return sum(map(len, pieces(raw, part)))


def _base64(encoded: Iterator[bytes]) -> Iterator[bytes]:
    """Ignores what is no base64, as RFC 2045 wants; padding ends a group of four."""
    left = b""
    for piece in encoded:
        letters = left + piece.translate(None, _NOT_BASE64)
        if letters.count(b"=") > MOST_PADDINGS:
            letters = letters.replace(b"=", b"")
        groups = _PADDING.split(letters)
        left = groups.pop()
        keep = len(left) % 4
        groups.append(left[: len(left) - keep])
        left = left[len(left) - keep :]
        yield b"".join(map(_group, groups))
    yield _group(left)


def _group(letters: bytes) -> bytes:
    if len(letters) % 4 == 1:  # six bits are no byte
        letters = letters[:-1]
    return a2b_base64(letters + b"=" * (-len(letters) % 4))


def _quoted_printable(encoded: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    for piece in encoded:
        data = left + piece
        cut = data.rfind(b"\n") + 1
        if cut == 0:  # no line ends here: do not cut an encoded byte
            cut = max(len(data) - 3, 0)
            found = data.find(b"=", cut)
            cut = len(data) if found < 0 else found
        left = data[cut:]
        yield a2b_qp(data[:cut])
    yield a2b_qp(left)
