"""Lets the other nodes read messages here: a port on which a node, identified by its certificate,
gets an IMAP session of an account whose home this node is (decision 0307).

The worker relays the bytes between the node and a process of Dovecot's.
"""

import asyncio
import contextlib
import ssl
import time
from functools import partial
from pathlib import Path

from postroom.cluster import nodes
from postroom.cluster.nodes import Node
from postroom.db import Database
from postroom.errors import Busy
from postroom.log import log
from postroom.messages.doors import NODE_PORT, LocalDoor, Way, node_context

MOST_SESSIONS = 128
# Seconds for the line with the account; and without a byte in either direction, after which a
# session ends.
FIRST_SECONDS = 5.0
SILENT_SECONDS = 120.0
PIECE_BYTES = 64 * 1024
CLOSING_SECONDS = 5.0
# Seconds after which a listener that could not start is tried again.
RETRY_SECONDS = 10.0


class NodeImap:
    """The listener of one node. `addresses` are those at which the other nodes reach it."""

    def __init__(self, database: Database, node: Node, addresses: list[str], data: Path) -> None:
        self._database, self._node, self._addresses, self._data = database, node, addresses, data
        self._door = LocalDoor(data / "dovecot" / "dovecot.conf")
        self._server: asyncio.Server | None = None
        self._certificates: tuple[int, ...] = ()
        self._failed_at = -RETRY_SECONDS
        self._sessions = 0

    async def keep_on(self) -> None:
        """Starts the listener; and again when the certificates have changed. Open sessions stay. A
        port that cannot be opened is tried again after a pause."""
        if time.monotonic() < self._failed_at + RETRY_SECONDS:
            return
        try:
            files = (self._data / "tls" / "nodes.pem", self._data / "db" / "node.pem")
            changed = tuple(file.stat().st_mtime_ns for file in files)
            if changed == self._certificates:
                return
            context = node_context(self._data, ssl.Purpose.CLIENT_AUTH)
        except OSError:  # this node or the others have no certificate yet
            return
        await self._listen(context)
        self._certificates = changed if self._server else ()

    async def _listen(self, context: ssl.SSLContext) -> None:
        if self._server:
            self._server.close()
            self._server = None
        port = self._node.port + NODE_PORT
        try:
            self._server = await asyncio.start_server(
                self._serve, self._addresses, port, ssl=context, limit=PIECE_BYTES
            )
        except (OSError, OverflowError) as error:  # the port is taken, or above 65535
            self._failed_at = time.monotonic()
            log.error("other nodes cannot read messages here", port=port, reason=str(error))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sessions += 1
        try:
            if self._sessions <= MOST_SESSIONS and (way := await self._open(reader)):
                try:
                    await relay(way, reader, writer)
                finally:
                    await asyncio.to_thread(way.end)
        except (OSError, EOFError, ValueError, Busy, asyncio.LimitOverrunError) as error:
            log.info("a node's imap session has ended", reason=type(error).__name__)
        finally:
            self._sessions -= 1
            await close(writer)

    async def _open(self, reader: asyncio.StreamReader) -> Way | None:
        """Reads the account's id. Returns the way to its mail; None if its home is elsewhere."""
        async with asyncio.timeout(FIRST_SECONDS):
            line = await reader.readuntil(b"\n")
        text = line.strip()
        if not text.isdigit() or len(text) > 18:
            return None
        account_id = int(text)
        homes = (await self._database.read(partial(nodes.homes, ids=[account_id]))).get(account_id, ())
        if not homes or homes[0].id != self._node.id:
            return None
        return await asyncio.to_thread(self._door.open, account_id)


async def close(writer: asyncio.StreamWriter) -> None:
    """Closes a connection to a node, which gets CLOSING_SECONDS to read what is left."""
    writer.close()
    with contextlib.suppress(OSError):
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await writer.wait_closed()
        except TimeoutError:
            writer.transport.abort()


async def relay(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on in both directions until one side ends or is silent. Then the way is closed,
    also if its other end has not read everything."""
    way.socket.setblocking(False)
    from_imap, to_imap = await asyncio.open_connection(sock=way.socket)
    directions = [asyncio.create_task(_pass_on(*each)) for each in ((reader, to_imap), (from_imap, writer))]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        to_imap.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(SILENT_SECONDS):
            piece = await reader.read(PIECE_BYTES)
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
