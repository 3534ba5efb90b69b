"""Sealed files: a stream encrypted with a passphrase, in chunks, each authenticated with its place
and the end with it.

    "postroom-sealed-1\\n", salt (16 bytes), check (32 bytes), then chunks of 64 KiB and their tags of 16 bytes

The key and the check are scrypt's 64 bytes. A chunk is ChaCha20-Poly1305 under a nonce of its
number and a byte that marks the last one: the STREAM construction, as in age. What `read` gave
is authentic, and still nothing is whole before it has given the end.
"""

import hmac
import os
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from postroom.errors import BadBackup

MAGIC = b"postroom-sealed-1\n"
SALT = 16
CHECK = 32
CHUNK = 64 * 1024
TAG = 16
COST = 2**17  # 128 MiB and about half a second for each guess


class EncryptingWriter:
    """Writes to a file what it is given, sealed. Only `finish` makes it whole."""

    def __init__(self, output: BinaryIO, passphrase: str) -> None:
        salt = os.urandom(SALT)
        self._cipher, check = _derive(passphrase, salt)
        self._output = output
        self._number = 0
        self._waiting = bytearray()
        output.write(MAGIC + salt + check)

    def write(self, data: bytes) -> int:
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._output.write(self._cipher.encrypt(_nonce(self._number, last), chunk, None))
        self._number += 1


class DecryptingReader:
    """Reads what a Sealer wrote. Raises BadBackup for a wrong passphrase and for any byte that
    is not as written."""

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        head = source.read(len(MAGIC) + SALT + CHECK)
        if len(head) < len(MAGIC) + SALT + CHECK:
            raise BadBackup("The backup is cut short.")
        self._cipher, check = _derive(passphrase, head[len(MAGIC) : -CHECK])
        if not hmac.compare_digest(check, head[-CHECK:]):
            raise BadBackup("The passphrase is wrong, or the first bytes of the backup are damaged.")
        self._source = source
        self._number = 0
        self._open = b""
        self._next = source.read(CHUNK + TAG)

    def read(self, size: int) -> bytes:
        while self._next and len(self._open) < size:
            self._open += self._unseal()
        given, self._open = self._open[:size], self._open[size:]
        return given

    def _unseal(self) -> bytes:
        sealed, self._next = self._next, self._source.read(CHUNK + TAG)
        try:
            chunk = self._cipher.decrypt(_nonce(self._number, not self._next), sealed, None)
        except InvalidTag:
            raise BadBackup("The backup is damaged or cut short: a part of it has changed.") from None
        self._number += 1
        return chunk


def _derive(passphrase: str, salt: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    derived = Scrypt(salt=salt, length=32 + CHECK, n=COST, r=8, p=1).derive(passphrase.encode())
    return ChaCha20Poly1305(derived[:32]), derived[32:]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
