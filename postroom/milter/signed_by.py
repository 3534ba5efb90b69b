"""Checks whether a message has a valid DKIM signature of a domain. Each check is a process of its
own (dkim_check.py), which ends with the check.

The keys come from the DNS, as for every receiver.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from postroom.domains.resolver import Resolver, Unanswered

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("dkim_check.py")
SECONDS = 20.0
# Largest number of keys that are looked up for one message.
MOST_KEYS = 5
# Largest number of processes at once; further checks wait.
AT_ONCE = 2

_slots = asyncio.Semaphore(AT_ONCE)


class Unclear(Exception):
    """The check has no result now: the DNS does not answer, or the check takes too long."""


async def is_signed_by(
    domain: str, headers: Sequence[tuple[bytes, bytes]], body: Iterable[bytes], resolver: Resolver
) -> bool:
    """Returns whether a signature with `d=domain` is valid. The values in `headers` are folded by
    line feeds and have their first space.

    Raises Unclear if a key could not be looked up and no other signature is valid, and after
    SECONDS.
    """
    message = b"".join([*(_field(name, value) for name, value in headers), b"\r\n", *body])
    try:
        async with asyncio.timeout(SECONDS), _slots:
            return await _ask(domain, message, resolver)
    except TimeoutError:
        raise Unclear from None


def _field(name: bytes, value: bytes) -> bytes:
    return name + b":" + value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"


async def _ask(domain: str, message: bytes, resolver: Resolver) -> bool:
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-I",
        SCRIPT,
        domain,
        str(len(message)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
        env={},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(message)
        await process.stdin.drain()
        del message
        return await _converse(domain, process.stdin, process.stdout, resolver)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _converse(domain: str, to: asyncio.StreamWriter, answers: asyncio.StreamReader, resolver: Resolver) -> bool:
    """Sends keys to the process until it reports the result. A process that ends without a result
    counts as `invalid`. Raises Unclear."""
    unanswered = False
    for _ in range(MOST_KEYS + 1):
        line = (await answers.readline()).decode("ascii", "replace").rstrip("\n")
        if line == "valid":
            return True
        if not line.lower().endswith(f"._domainkey.{domain}"):
            break
        try:
            found = await resolver.find(line, "TXT")
            record = found.values[0] if len(found.values) == 1 else ""
        except Unanswered:
            unanswered, record = True, ""
        to.write(record.replace("\n", " ").encode() + b"\n")
        await to.drain()
    if unanswered:
        raise Unclear
    return False
