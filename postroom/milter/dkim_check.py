"""Whether a message has a valid DKIM signature of one domain (RFC 6376):
`dkim_check.py DOMAIN OCTETS`.

Runs alone in Debian's Python, whose package python3-dkim verifies, as a process of its own with
bounds for time and memory (decision 0145). Reads the message from standard input, writes the name
of each key that it needs as a line, and reads the TXT record as the next line, which is empty where
there is none. The last line is `valid` or `invalid`.
"""

import logging
import os
import resource
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import dkim

# Signatures of one message that are looked at, and those of the domain that are verified.
MOST_SIGNATURES = 20
MOST_VERIFIED = 3
SMALLEST_KEY_BITS = 1024  # RFC 8301 3.2
SECONDS_OF_CPU = 10
OCTETS_OF_MEMORY = 1 << 30
# Fields of which a message has one at most (RFC 5322 3.6). Where it has more, one of them is not
# what was signed.
SINGLE = (
    b"from",
    b"sender",
    b"reply-to",
    b"to",
    b"cc",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"subject",
    b"date",
)

# What a signature that cannot be read raises. The next one may be valid.
UNREADABLE = (dkim.DKIMException, ValueError, KeyError)


def is_valid(message: bytes, domain: str) -> bool:
    """Whether one of the signatures of the domain is valid and covers From and the whole body."""
    reader = dkim.DKIM(message, minkey=SMALLEST_KEY_BITS)
    names = [name.strip().lower() for name, _ in reader.headers]
    if names.count(b"from") != 1 or any(names.count(name) > 1 for name in SINGLE):
        return False
    signatures = min(names.count(b"dkim-signature"), MOST_SIGNATURES)
    candidates = [number for number in range(signatures) if _counts(reader, number, domain)]
    return any(_verifies(reader, number) for number in candidates[:MOST_VERIFIED])


def _counts(reader: Any, number: int, domain: str) -> bool:
    """Whether a signature is one of the domain, and covers enough."""
    try:
        tags, fields, _ = reader.verify_headerprep(number)
    except UNREADABLE:
        return False
    covers = b"from" in fields and b"l" not in tags and tags[b"a"] != b"rsa-sha1"  # RFC 8301 3.1
    return covers and bool(tags[b"d"].lower() == domain.encode())


def _verifies(reader: Any, number: int) -> bool:
    try:
        return bool(reader.verify(number, dnsfunc=_key))
    except UNREADABLE:
        return False


def _key(name: bytes, timeout: float = 0) -> bytes | None:  # noqa: ARG001 - dkimpy's
    """The record of a key, asked of the process that has started this one."""
    print(name.decode("ascii").rstrip("."), flush=True)
    record = sys.stdin.buffer.readline().rstrip(b"\n")
    return record if record and _may_sign_mail(record) else None


def _may_sign_mail(record: bytes) -> bool:
    """Not a key that is being tested, or for something else (RFC 6376 3.6.1): it counts as none."""
    try:
        tags: Mapping[bytes, bytes] = dkim.util.parse_tag_value(record)
    except dkim.util.InvalidTagValueList:
        return False
    flags, services, digests = (
        [item.strip() for item in tags.get(name, default).split(b":")]
        for name, default in ((b"t", b""), (b"s", b"*"), (b"h", b"sha256"))
    )
    return b"y" not in flags and not {b"*", b"email"}.isdisjoint(services) and b"sha256" in digests


def main(domain: str, octets: str) -> None:
    logging.disable()
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_OF_CPU, SECONDS_OF_CPU))
    resource.setrlimit(resource.RLIMIT_AS, (OCTETS_OF_MEMORY, OCTETS_OF_MEMORY))
    message = sys.stdin.buffer.read(int(octets))
    print("valid" if is_valid(message, domain) else "invalid", flush=True)


def say_shortly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line for whatever a message does to the library. Without an answer its signature
    counts as not valid."""
    print(f"dkim_check.py: {kind.__name__} while a signature was verified: {ascii(str(error))[:200]}", file=sys.stderr)
    del trace


if __name__ == "__main__":
    sys.excepthook = say_shortly
    main(*sys.argv[1:])
