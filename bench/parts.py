"""Where the time of a get goes: in one process, without sockets, in µs of CPU time. Best of many
short rounds.

python -m bench.parts
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bench.connection_cost import Nowhere
from bench.fill import fill
from bench.report import Row, show
from postroom.accounts import commands as accounts
from postroom.actor import Actor
from postroom.api.app import App, create_app
from postroom.api.connection import Connection, configure
from postroom.auth import keys
from postroom.db import Database, migrate, open_database
from postroom.log import log
from postroom.settings import Settings

ACCOUNTS = 2000
BATCH = 400
ROUNDS = 40
HEADERS = [
    (b"content-type", b"application/json"),
    (b"ratelimit-policy", b'"default";q=6000;w=60'),
    (b"ratelimit", b'"default";r=5999;t=60'),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-length", b"77"),
    (b"x-request-id", b"0" * 24),
]


def constant(headers: list[tuple[bytes, bytes]]) -> Any:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * 77})

    return app


def connect(kind: type[HttpToolsProtocol], config: uvicorn.Config) -> HttpToolsProtocol:
    config.load()
    protocol = kind(config, ServerState(), {})
    protocol.connection_made(Nowhere())
    return protocol


def application(database: Database) -> App:
    """The API, without mail daemons and without a limit that could be reached."""

    async def nothing(*_: Any) -> Any:
        return {}

    settings = Settings(rate_limit="600000000/minute")
    return create_app(database, settings, end_sessions=nothing, probe=nothing, instance="b", digest_key="b")


def on_a_new_database(costs: Callable[[str], Coroutine[Any, Any, dict[str, float]]]) -> dict[str, float]:
    """What `costs` finds on a SQLite database of its own."""
    log.configure("info")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'postroom.db'}"
        migrate(url)
        return uvloop.run(costs(url))


async def costs(url: str) -> dict[str, float]:
    organization, key, first = fill(url, ACCOUNTS, 1)
    database = open_database(url)
    app = application(database)
    bare = uvicorn.Config(constant([HEADERS[0], HEADERS[5]]), ws="none", access_log=False, log_config=None)
    ours = uvicorn.Config(constant(HEADERS), ws="none", access_log=False, log_config=None)
    head = f" HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\r\n"
    heads = [f"GET /v2/email-accounts/{first + n}{head}".encode() for n in range(ACCOUNTS)]
    actor = Actor(organization)

    def send(protocol: HttpToolsProtocol) -> Callable[[int], Awaitable[object]]:
        def one(n: int) -> Awaitable[object]:
            protocol.data_received(heads[n % ACCOUNTS])
            return asyncio.sleep(0)

        return one

    parts: dict[str, Callable[[int], Awaitable[object]]] = {
        "bare": send(connect(HttpToolsProtocol, bare)),
        "connection": send(connect(Connection, ours)),
        "whole": send(connect(Connection, configure(app))),
        "key": lambda _: database.read(lambda tx: keys.authenticate(tx, key, "127.0.0.1")),
        "account": lambda n: database.read(lambda tx: accounts.get(tx, actor, first + n % ACCOUNTS, None)),
    }
    best = dict.fromkeys(parts, float("inf"))
    for number in range(ROUNDS):
        for name, call in parts.items():
            began = time.process_time()
            for n in range(number * BATCH, number * BATCH + BATCH):
                await call(n)
            best[name] = min(best[name], (time.process_time() - began) / BATCH * 1e6)
    database.close()
    return best


def measure() -> Iterator[Row]:
    best = on_a_new_database(costs)
    rest = best["whole"] - best["connection"] - best["key"] - best["account"]
    for what, value in (
        ("a bare answer: uvicorn alone", best["bare"]),
        ("get, whole", best["whole"]),
        ("of that: the connection, with every header of ours", best["connection"]),
        ("of that: the key, looked up in SQLite", best["key"]),
        ("of that: the account, looked up in SQLite", best["account"]),
        ("of that: route, limits, parameters, JSON, and code that is not in the cache", rest),
    ):
        yield Row(what, value, "µs", 0.0, "a bare answer", best["bare"])


if __name__ == "__main__":
    for row in measure():
        print(show(row))
