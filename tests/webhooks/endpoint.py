"""An endpoint for webhooks on the loopback: keeps what it gets, and answers as a test wants."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any

import h11
import msgspec

# Seconds in which a delivery comes too that was put off because its message could not be read.
PUT_OFF = 120.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Post:
    """One request. `port` tells its connection."""

    path: str
    headers: dict[str, str]
    body: bytes
    port: int
    at: float

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


def answers(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", "Content-Length: 0", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


Answer = bytes | Callable[[socket.socket, Post], None]


@dataclass
class Endpoint:
    """`answer` is what each request gets, or a function that answers it on the connection;
    `answer_of` holds the answers of some paths."""

    port: int
    tls: ssl.SSLContext | None
    answer: Answer = OK
    answer_of: dict[str, Answer] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    open_now: int = 0
    most_at_once: int = 0
    changed: Condition = field(default_factory=Condition)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def of(self, path: str) -> list[Post]:
        return [post for post in list(self.posts) if post.path == path]

    def wait(self, is_enough: "Callable[[Endpoint], object]", seconds: float = PUT_OFF) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: is_enough(self), seconds), [post.id for post in self.posts]

    @classmethod
    @contextmanager
    def start(cls, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> "Iterator[Endpoint]":
        listener = socket.create_server((host, port), backlog=1024)
        endpoint = cls(listener.getsockname()[1], tls)
        Thread(target=endpoint._accept, args=(listener,), daemon=True).start()
        try:
            yield endpoint
        finally:
            with suppress(OSError):  # wakes the thread in accept()
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, (_, port, *_rest) = listener.accept()
                Thread(target=self._serve, args=(connection, port), daemon=True).start()

    def _serve(self, connection: socket.socket, port: int) -> None:
        with suppress(OSError, h11.RemoteProtocolError):
            connection.settimeout(60)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                while post := _read(connection, port):
                    self._take(connection, post)

    def _take(self, connection: socket.socket, post: Post) -> None:
        with self.changed:
            self.posts.append(post)
            self.open_now += 1
            self.most_at_once = max(self.most_at_once, self.open_now)
            self.changed.notify_all()
        try:
            answer = self.answer_of.get(post.path, self.answer)
            connection.sendall(answer) if isinstance(answer, bytes) else answer(connection, post)
        finally:
            with self.changed:
                self.open_now -= 1
                self.changed.notify_all()


def _read(connection: socket.socket, port: int) -> Post | None:
    """The next request of a connection, or None at its end."""
    parser, target, headers, body = h11.Connection(h11.SERVER), "", {}, b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            data = connection.recv(65536)
            if not data and not target:
                return None
            parser.receive_data(data)
        elif isinstance(event, h11.Request):
            target = event.target.decode()
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Post(target, headers, body, port, time.time())
        else:
            return None
