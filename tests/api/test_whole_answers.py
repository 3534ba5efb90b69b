"""What an application sends and what the client gets: answers in one piece, in several pieces, and
broken ones."""

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from postroom.api.connection import Connection

LENGTH = (b"content-length", b"5")


async def application(scope: Any, _receive: Any, send: Any) -> None:
    """Each path answers in a different way."""

    async def head(*headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})

    async def body(text: bytes, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": text, "more_body": more})

    match scope["path"]:
        case "/whole":
            await head(LENGTH)
            await body(b"" if scope["method"] == "HEAD" else b"hello")
        case "/pieces":
            await head(LENGTH)
            await body(b"hel", more=True)
            await body(b"lo")
        case "/unmeasured":
            await head()
            await body(b"hello")
        case "/break":
            await head(LENGTH, (b"location", b"/\r\nset-cookie: a=b"))
            await body(b"hello")
        case "/half":
            await head(LENGTH)
            raise OSError("the file is gone")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, http=Connection, ws="none", lifespan="off", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("path", ["/whole", "/pieces", "/unmeasured"])
def test_the_client_gets_what_was_sent(port: int, path: str) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for _ in range(2):  # the connection stays open
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"hello")
            assert answer.headers["date"]


def test_a_head_has_the_length_and_no_body(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for method in ("HEAD", "GET"):
            connection.request(method, "/whole")
            answer = connection.getresponse()
            assert (answer.headers["content-length"], len(answer.read())) == ("5", 0 if method == "HEAD" else 5)


def test_half_an_answer_is_not_sent(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/half")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["connection"]) == (500, "close")


def test_a_header_with_a_line_break_never_leaves(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/break")
        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()


def test_one_packet(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(65536).endswith(b"\r\n\r\nhello")
