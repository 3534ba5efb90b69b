"""Secrets of webhooks, in the form of Standard Webhooks: `whsec_` and 32 random bytes in base64.

Signing needs the secret itself, so it is stored sealed, with a key derived from the key file beside
the database (instance/digest_key.py): the database alone reveals no secret (decision 0288).
"""

import os
import secrets
from base64 import b64decode, b64encode
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MARK = "whsec_"
SECRET_BYTES = 32
# Numbers of bytes that a secret of somebody else's making may have.
SIZES = range(24, 65)
INFO = b"postroom webhook secrets 1"
NONCE = 12


def is_valid(text: str) -> bool:
    """Whether this is `whsec_` and 24 to 64 bytes in base64."""
    try:
        secret = b64decode(text.removeprefix(MARK), validate=True)
    except ValueError:
        return False
    return text == MARK + b64encode(secret).decode() and len(secret) in SIZES


def make() -> str:
    """Returns a new secret."""
    return MARK + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def seal(key: str, text: str) -> str:
    """Returns the text encrypted. `key` is that of the digests, in hexadecimal."""
    nonce = os.urandom(NONCE)
    return b64encode(nonce + _cipher(key).encrypt(nonce, text.encode(), None)).decode()


def open_sealed(key: str, text: str) -> str:
    """Returns what was sealed. Raises ValueError if the key is another one."""
    raw = b64decode(text, validate=True)
    try:
        return _cipher(key).decrypt(raw[:NONCE], raw[NONCE:], None).decode()
    except InvalidTag:
        raise ValueError("sealed with another key, or damaged") from None


@lru_cache(maxsize=8)
def _cipher(key: str) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, None, INFO).derive(bytes.fromhex(key)))
