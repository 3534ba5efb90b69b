"""The port on which other nodes read messages: what keeps it closed, and how a connection ends.
tests/cluster/test_messages.py reads over it."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from postroom.cluster.nodes import Node
from postroom.mailplane import node_pair
from postroom.messages.doors import NODE_PORT, Way
from postroom.service import node_imap
from postroom.service.node_imap import NodeImap, close, relay
from tests.harness.kept import KeptDatabase
from tests.harness.ports import free_port

HERE = "127.0.0.1"


def listener(folder: Path, port: int) -> NodeImap:
    node = Node(1, "n1", HERE, port - NODE_PORT, True, False, None, None, None, None, None, 1, 0)
    pair = node_pair.new(node.host, HERE)
    for name, content in (("tls/nodes.pem", pair.certificate), ("db/node.pem", pair.pem)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(content)
    return NodeImap(KeptDatabase(f"sqlite:///{folder / 'unused.db'}"), node, [HERE], folder)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HERE, port)) == 0


def test_a_port_that_is_taken_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause, and without an error that would end the worker."""
    port = free_port()
    taken = socket.create_server((HERE, port))
    used = listener(tmp_path, port)

    async def work() -> None:
        with closing(taken):
            await used.keep_on()
        await used.keep_on()
        assert not is_open(port)
        monkeypatch.setattr(node_imap, "RETRY_SECONDS", 0)
        await used.keep_on()
        assert is_open(port)

    asyncio.run(work())


def test_a_port_that_cannot_be(tmp_path: Path) -> None:
    asyncio.run(listener(tmp_path, 65_536).keep_on())


@pytest.mark.parametrize("side", ["node", "imap"])
def test_a_peer_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    monkeypatch.setattr(node_imap, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(node_imap, "CLOSING_SECONDS", 0.1)
    (our_imap, imap), (our_node, node) = socket.socketpair(), socket.socketpair()

    async def work() -> None:
        reader, writer = await asyncio.open_connection(sock=our_node)
        sender = node if side == "imap" else imap
        sender.setblocking(False)
        flood = asyncio.create_task(asyncio.get_running_loop().sock_sendall(sender, bytes(4 * 1024 * 1024)))
        await relay(Way(our_imap), reader, writer)
        await close(writer)
        await asyncio.sleep(0)  # asyncio closes an aborted connection in its next round
        assert (our_imap.fileno(), our_node.fileno()) == (-1, -1)
        flood.cancel()
        await asyncio.gather(flood, return_exceptions=True)

    with imap, node:
        asyncio.run(work())
