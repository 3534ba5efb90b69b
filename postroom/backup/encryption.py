"""Encrypted files in age's format with a passphrase (age-encryption.org/v1): `age -d` opens them.

The header holds a random key, wrapped under scrypt's key of the passphrase. The payload is chunks
of 64 KiB and their tags, each sealed with its number and a mark on the last one (decision 0199).
What `read` gives is authentic; nothing is whole before `read` has given the end.
"""

import hmac
import os
import re
from base64 import b64decode, b64encode
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from postroom.errors import BadBackup

MAGIC = b"age-encryption.org/v1\n"
HEADER = re.compile(
    rb"(%s-> scrypt ([A-Za-z0-9+/]{22}) (1\d)\n([A-Za-z0-9+/]{43})\n---) ([A-Za-z0-9+/]{43})\n" % re.escape(MAGIC)
)
HEADER_SIZE = 150  # with a cost of two digits
NONCE = 16
CHUNK = 64 * 1024
TAG = 16
COST = 17  # log2: 128 MiB and about half a second for each guess


class EncryptingWriter:
    """Writes to a file what it is given, encrypted. Only `finish` makes the file whole."""

    def __init__(self, output: BinaryIO, passphrase: str) -> None:
        salt, key, nonce = os.urandom(16), os.urandom(16), os.urandom(NONCE)
        wrapped = _scrypt(passphrase, salt, COST).encrypt(bytes(12), key, None)
        header = b"%s-> scrypt %s %d\n%s\n---" % (MAGIC, _base64(salt), COST, _base64(wrapped))
        self._cipher = ChaCha20Poly1305(_hkdf(key, nonce, b"payload"))
        self._output = output
        self._number = 0
        self._waiting = bytearray()
        output.write(header + b" " + _mac(key, header) + b"\n" + nonce)

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
    """Reads what an EncryptingWriter or `age -p` wrote. Raises BadBackup for a wrong passphrase
    and for any byte that is not as written."""

    def __init__(self, source: BinaryIO, passphrase: str) -> None:
        found, nonce = HEADER.fullmatch(source.read(HEADER_SIZE)), source.read(NONCE)
        self._next = source.read(CHUNK + TAG)
        if not found or len(self._next) < TAG:
            raise BadBackup("The backup is cut short, or its first bytes are damaged.")
        header, salt, cost, wrapped, mac = found.groups()
        cipher = _scrypt(passphrase, b64decode(salt + b"=="), int(cost))
        try:
            key = cipher.decrypt(bytes(12), b64decode(wrapped + b"="), None)
        except InvalidTag:
            raise BadBackup("The passphrase is wrong, or the first bytes of the backup are damaged.") from None
        if not hmac.compare_digest(mac, _mac(key, header)):
            raise BadBackup("The first bytes of the backup are damaged.")
        self._cipher = ChaCha20Poly1305(_hkdf(key, nonce, b"payload"))
        self._source = source
        self._number = 0
        self._open = b""

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


def _scrypt(passphrase: str, salt: bytes, cost: int) -> ChaCha20Poly1305:
    scrypt = Scrypt(salt=b"age-encryption.org/v1/scrypt" + salt, length=32, n=2**cost, r=8, p=1)
    return ChaCha20Poly1305(scrypt.derive(os.fsencode(passphrase)))


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(key)


def _mac(key: bytes, header: bytes) -> bytes:
    return _base64(hmac.digest(_hkdf(key, b"", b"header"), header, "sha256"))


def _base64(data: bytes) -> bytes:
    return b64encode(data).rstrip(b"=")


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
