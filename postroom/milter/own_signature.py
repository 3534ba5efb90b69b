"""Whether a message has left this instance before, as it is: it has a DKIM signature of ours that
still fits (decision 0139).

Only what our signer writes is read (RFC 6376: rsa-sha256, relaxed/relaxed, whole body), with the
public key from our own database: no DNS. Any other signature counts as none.
"""

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

# Signatures of one message that are looked at.
MOST_SIGNATURES = 5
# Octets of a body that are hashed before the loop serves others.
PORTION = 262_144

Header = tuple[bytes, bytes]

_SIGNATURE_VALUE = re.compile(rb"(;[ \t\r\n]*b[ \t\r\n]*=)[^;]*")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature field as it was read, not yet verified."""

    header: Header
    domain: str
    selector: str
    fields: tuple[bytes, ...]
    body_hash: bytes
    value: bytes


def signatures(headers: Sequence[Header], domain: str) -> Iterator[Signature]:
    """The signatures of a message that claim to be ours for this domain (canonical)."""
    found = [header for header in headers if header[0].strip().lower() == b"dkim-signature"]
    for header in found[:MOST_SIGNATURES]:
        signature = _read(header)
        if signature and signature.domain == domain:
            yield signature


async def verify(signature: Signature, record: str, headers: Sequence[Header], body: Iterable[bytes]) -> bool:
    """Whether the signature fits. `record`: the TXT of its key (RFC 6376 3.6.1). `body`: pieces,
    with CRLF."""
    key = _key(record)
    if key is None or await _body_hash(body) != signature.body_hash:
        return False
    try:
        key.verify(signature.value, _signed(signature, headers), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _read(header: Header) -> Signature | None:
    parts = (part.partition(b"=") for part in header[1].replace(b"\r\n", b"\n").split(b";"))
    pairs = [(name.strip(), re.sub(rb"\s", b"", value)) for name, equals, value in parts if equals]
    tags = dict(pairs)
    ours = {b"v": b"1", b"a": b"rsa-sha256", b"c": b"relaxed/relaxed"}
    if len(tags) != len(pairs) or b"l" in tags or any(tags.get(name) != value for name, value in ours.items()):
        return None
    try:
        fields = tuple(name.strip().lower() for name in tags[b"h"].split(b":"))
        domain, selector = tags[b"d"].decode("ascii").lower(), tags[b"s"].decode("ascii")
        body_hash, value = (base64.b64decode(tags[name], validate=True) for name in (b"bh", b"b"))
    except (KeyError, UnicodeDecodeError, binascii.Error):
        return None
    return Signature(header, domain, selector, fields, body_hash, value) if b"from" in fields else None


def _key(record: str) -> rsa.RSAPublicKey | None:
    encoded = record.partition("p=")[2].partition(";")[0]
    key = load_der_public_key(base64.b64decode(encoded))
    return key if isinstance(key, rsa.RSAPublicKey) else None


def _signed(signature: Signature, headers: Sequence[Header]) -> bytes:
    """What the signature was made of (RFC 6376 3.7): each named field from the last on up, then
    the signature's own."""
    left: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        left.setdefault(name.strip().lower(), []).append(value)
    lines = [_relaxed(name, left[name].pop()) for name in signature.fields if left.get(name)]
    name, value = signature.header
    emptied = _SIGNATURE_VALUE.sub(rb"\1", b";" + value)[1:]
    return b"\r\n".join([*lines, _relaxed(name.strip().lower(), emptied)])


def _relaxed(name: bytes, value: bytes) -> bytes:
    unfolded = re.sub(rb"\r?\n", b"", value)
    return name + b":" + re.sub(rb"[ \t]+", b" ", unfolded).strip(b" ")


async def _body_hash(body: Iterable[bytes]) -> bytes:
    """SHA-256 of the body in relaxed form (RFC 6376 3.4.4)."""
    digest, blank, rest = hashlib.sha256(), 0, b""
    for portion in _portions(body):
        *lines, rest = (rest + portion).split(b"\r\n")
        blank = _update(digest, lines, blank)
        await asyncio.sleep(0)
    if rest:
        _update(digest, [rest], blank)
    return digest.digest()


def _update(digest: "hashlib._Hash", lines: list[bytes], blank: int) -> int:
    """Blank lines count only once another line follows. Answers how many are pending."""
    for line in lines:
        plain = re.sub(rb"[ \t]+", b" ", line).rstrip(b" ")
        if not plain:
            blank += 1
            continue
        digest.update(b"\r\n" * blank + plain + b"\r\n")
        blank = 0
    return blank


def _portions(body: Iterable[bytes]) -> Iterator[bytes]:
    for piece in body:
        for start in range(0, len(piece), PORTION):
            yield piece[start : start + PORTION]
