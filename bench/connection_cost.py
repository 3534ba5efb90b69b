"""What our bounds cost a request before the application is asked: uvicorn's protocol, and ours, in
µs.

python bench/connection_cost.py
"""

import asyncio
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from postroom.api.connection import Connection

REQUEST = (
    b"GET /v2/email-accounts/1 HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\nConnection: keep-alive\r\nx-api-key: pr_" + b"x" * 43 + b"\r\n\r\n"
)
CALLS = 50_000


class Nowhere(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None: ...
    def close(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4000) if name in ("peername", "sockname") else default


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def cost(kind: type[HttpToolsProtocol]) -> float:
    """µs a request on one connection."""
    config = uvicorn.Config(application, ws="none", access_log=False, log_config=None)
    protocol = kind(config, ServerState(), {})
    protocol.connection_made(Nowhere())
    started = time.perf_counter()
    for _ in range(CALLS):
        protocol.data_received(REQUEST)
        await asyncio.sleep(0)
    return (time.perf_counter() - started) / CALLS * 1e6


async def main() -> None:
    best = {HttpToolsProtocol: float("inf"), Connection: float("inf")}
    for _ in range(7):
        for kind in best:
            best[kind] = min(best[kind], await cost(kind))
    for kind, found in best.items():
        print(f"{kind.__name__:20} {found:6.2f} µs")


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
