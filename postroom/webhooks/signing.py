"""The headers of a delivery, as https://www.standardwebhooks.com defines them. Loads little,
because the command line uses it."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

# Seconds that a signature is valid, in both directions.
TOLERANCE = 300


class BadSignature(Exception):
    """The text says what is wrong."""


def headers(secrets: Sequence[str], message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """Returns the headers of a body that is sent at this time, in seconds since 1970 UTC. It has a
    signature for each secret, so that a receiver may know the former secret or the new one."""
    signatures = [f"v1,{_signature(secret, message_id, seconds, body)}" for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(signatures),
    }


def verify(secret: str, sent: Mapping[str, str], body: bytes, now: float) -> None:
    """Judges a delivery as a receiver does. `sent` has the headers with their names in lower case.
    Raises BadSignature; ValueError for a secret that is none."""
    try:
        message_id, seconds = sent["webhook-id"], int(sent["webhook-timestamp"])
        signatures = sent["webhook-signature"].split(" ")
    except (KeyError, ValueError):
        raise BadSignature("a header is missing or malformed") from None
    if abs(now - seconds) > TOLERANCE:
        raise BadSignature("it is too old, or the clocks differ")
    wanted = f"v1,{_signature(secret, message_id, seconds, body)}".encode()
    if not any(hmac.compare_digest(wanted, signature.encode()) for signature in signatures):
        raise BadSignature("the signature is not of this secret and body")


def _signature(secret: str, message_id: str, seconds: int, body: bytes) -> str:
    key = b64decode(secret.removeprefix("whsec_"), validate=True)
    text = b"%s.%d.%s" % (message_id.encode(), seconds, body)
    return b64encode(hmac.digest(key, text, sha256)).decode()
