"""Whether a message has a valid DKIM signature of a domain, asked of a process that dies with the
question.

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
# Keys that are asked for one message.
MOST_KEYS = 5
# Processes at once; who comes later waits.
AT_ONCE = 2

_turns = asyncio.Semaphore(AT_ONCE)


class Unclear(Exception):
    """It cannot be said now: the DNS does not answer, or it takes too long."""


async def is_signed_by(
    domain: str, headers: Sequence[tuple[bytes, bytes]], body: Iterable[bytes], resolver: Resolver
) -> bool:
    """Whether a signature with `d=domain` is valid. `headers`: values folded by line feeds, with
    their first space.

    Raises Unclear where a key could not be asked for, and no other signature is valid.
    """
    message = b"".join([*(_field(name, value) for name, value in headers), b"\r\n", *body])
    try:
        async with asyncio.timeout(SECONDS), _turns:
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
    """Answers with keys until the process has decided. One that ends without a word has found
    nothing valid."""
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
