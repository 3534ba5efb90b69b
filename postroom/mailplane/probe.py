"""Checks whether the daemons answer: reads the greeting of each daemon on its first listen address,
with a time limit.

An open connection proves nothing. Postfix's master accepts connections for a dead smtpd, and an
smtpd that cannot reach the database sends no banner. opendkim waits for the client to speak first,
so it is asked as Postfix asks it.
"""

import asyncio
import struct

from postroom.mailplane.render import FILTER_SECONDS, judge_path, milter_path, reachable
from postroom.settings import Settings

LIMIT_SECONDS = 2.0
UNSEEN = "This user cannot see it: ask again as root or as postroom."
# Frames of the milter protocol: a length, a command, its data. NEGOTIATE is the option negotiation
# (version 6). It offers every action and protocol step, because opendkim refuses a mail server that
# offers less than it needs.
NEGOTIATE = struct.pack(">IcIII", 13, b"O", 6, 0x1FF, 0x1FFFFF)
QUIT = struct.pack(">Ic", 1, b"Q")


async def dovecot(settings: Settings) -> str | None:
    """Returns None if IMAP greets, else one sentence that says why not."""
    return await _greeting("Dovecot", settings, settings.imap_port, (b"* OK",), b"a LOGOUT\r\n")


async def postfix(settings: Settings) -> str | None:
    """Returns None if SMTP greets, else one sentence that says why not. A 421 counts as a greeting:
    there are too many connections from this address. A filter that hangs delays the greeting."""
    limit = LIMIT_SECONDS + (FILTER_SECONDS if settings.filter_milter else 0)
    return await _greeting("Postfix", settings, settings.smtp_port, (b"220 ", b"421 "), b"QUIT\r\n", limit)


async def opendkim(settings: Settings) -> str | None:
    """Returns None if opendkim negotiates, else one sentence that says why not."""
    return await _milter("opendkim", f"unix:{milter_path(settings)}", "nothing can be submitted")


async def milter(settings: Settings) -> str | None:
    """Returns None if our own milter negotiates, else one sentence that says why not."""
    return await _milter("The milter", f"unix:{judge_path(settings)}", "nothing can be submitted")


async def filter_milter(settings: Settings) -> str | None:
    """Returns None if the spam filter negotiates, else one sentence that says why not."""
    return await _milter("The filter", settings.filter_milter, "mail arrives unfiltered")


async def _milter(name: str, address: str, consequence: str) -> str | None:
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = await _negotiate(address)
    except TimeoutError:
        return f"{name} gives no answer within {LIMIT_SECONDS:.0f} s: {consequence}."
    except PermissionError:
        return UNSEEN
    except (OSError, asyncio.IncompleteReadError):
        return f"{name} does not answer: {consequence}."
    return None if answer == b"O" else f"{name} answers wrongly: {consequence}."


async def _negotiate(address: str) -> bytes:
    """Returns the first octet of the answer of the milter at an address in Postfix's form."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        host, _, port = place.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(NEGOTIATE)
        answer = await reader.readexactly(5)
        writer.write(QUIT)
        await writer.drain()
        return answer[4:]
    finally:
        writer.close()


async def _greeting(
    name: str,
    settings: Settings,
    port: int,
    expected: tuple[bytes, ...],
    farewell: bytes,
    limit: float = LIMIT_SECONDS,
) -> str | None:
    address = reachable(settings.listen_addresses[0])
    try:
        async with asyncio.timeout(limit):
            line = await _first_line(address, port, farewell)
    except TimeoutError:
        return f"{name} gives no greeting on port {port} within {limit:.0f} s."
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
        await reader.readline()  # reads the answer, so that the daemon does not log a lost connection
        return line
    finally:
        writer.close()
