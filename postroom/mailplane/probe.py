"""Whether the daemons answer: each one's greeting on its first listen address, read with a time
limit.

A connection that opens proves nothing. Postfix's master accepts for a dead smtpd, and an smtpd
that cannot reach the database gives no banner at all. opendkim speaks second: it is asked as
Postfix asks.
"""

import asyncio
import struct
from pathlib import Path

from postroom.mailplane.render import judge_path, milter_path, reachable
from postroom.settings import Settings

LIMIT_SECONDS = 2.0
UNSEEN = "This user cannot see it: ask again as root or as postroom."
# The milter protocol: a length, a command, its data. Option negotiation (version 6; every action
# and protocol step is offered, because opendkim turns away a mail server that offers less than it
# needs), and the end.
NEGOTIATE = struct.pack(">IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
QUIT = struct.pack(">Ic", 1, b"Q")


async def dovecot(settings: Settings) -> str | None:
    """None when IMAP greets, else one sentence why not."""
    return await _greeting("Dovecot", settings, settings.imap_port, (b"* OK",), b"a LOGOUT\r\n")


async def postfix(settings: Settings) -> str | None:
    """None when SMTP greets, else one sentence why not. 421 is Postfix too: other clients of
    this address were many."""
    return await _greeting("Postfix", settings, settings.smtp_port, (b"220 ", b"421 "), b"QUIT\r\n")


async def opendkim(settings: Settings) -> str | None:
    """None when the milter negotiates, else one sentence why not."""
    return await _milter("opendkim", milter_path(settings))


async def milter(settings: Settings) -> str | None:
    """None when our own milter negotiates, else one sentence why not."""
    return await _milter("The milter", judge_path(settings))


async def _milter(name: str, path: Path) -> str | None:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = await _negotiate(path)
    except TimeoutError:
        return f"{name} gives no answer within {LIMIT_SECONDS:.0f} s: nothing can be submitted."
    except PermissionError:
        return UNSEEN
    except (OSError, asyncio.IncompleteReadError):
        return f"{name} does not answer: nothing can be submitted."
    return None if answer == b"O" else f"{name} answers wrongly: nothing can be submitted."


async def _negotiate(path: Path) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(NEGOTIATE)
        answer = await reader.readexactly(5)
        writer.write(QUIT)
        await writer.drain()
        return answer[4:]
    finally:
        writer.close()


async def _greeting(
    name: str, settings: Settings, port: int, expected: tuple[bytes, ...], farewell: bytes
) -> str | None:
    address = reachable(settings.listen_addresses[0])
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            line = await _first_line(address, port, farewell)
    except TimeoutError:
        return f"{name} gives no greeting on port {port} within {LIMIT_SECONDS:.0f} s."
    except OSError as error:
        return f"{name} does not answer on port {port}: {error.strerror or error}."
    if not line.startswith(expected):
        return f"{name} closed the connection on port {port}." if not line else f"{name} greets wrongly on port {port}."
    return None


async def _first_line(address: str, port: int, farewell: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        line = await reader.readline()
        writer.write(farewell)
        await writer.drain()
        await reader.readline()  # the answer, so that the daemon does not log a lost connection
        return line
    finally:
        writer.close()
