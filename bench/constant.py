"""The limit that the API is compared with: a bare ASGI application on the same uvicorn, with the
same bytes.

python -m bench.constant PORT answer              answers the bytes of standard input python -m
bench.constant PORT page DATABASE ORGANIZATION  runs the product's own SQL of a page and encodes
it
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from postroom.accounts import queries as account_queries
from postroom.accounts.model import COLUMNS
from postroom.db.sqlite import SQLite

Application = Callable[[Any, Any, Any], Awaitable[None]]


def application(body: Callable[[bytes], bytes]) -> Application:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["method"] == "POST":
            await receive()
        answer = body(scope["query_string"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def page(path: str, organization: int) -> Callable[[bytes], bytes]:
    """The SQL of a page of the organization's accounts, and its JSON; nothing else."""
    connection = SQLite(f"sqlite:///{path}").connect()
    sql = account_queries.page_sql(frozenset(), False)
    columns = [name.strip() for name in COLUMNS.split(",")]
    places = [columns.index(name) for name in ("id", "user_id", "address")]
    encode = msgspec.json.Encoder().encode

    def answer(query: bytes) -> bytes:
        after = int(query.rpartition(b"after=")[2] or b"0")
        rows = connection.fetch(sql, {"organization": organization, "after": after, "limit": 51})
        items = []
        for row in rows[:50]:
            id_, user_id, address = (row[place] for place in places)
            items.append({"id": id_, "user_id": user_id, "domain": address.partition("@")[2], "address": address})
        return encode({"items": items, "limit": 50, "offset": 0})

    return answer


def main() -> None:
    port, kind = int(sys.argv[1]), sys.argv[2]
    if kind == "answer":
        constant = sys.stdin.buffer.read()
        app = application(lambda _query: constant)
    else:
        app = application(page(str(Path(sys.argv[3])), int(sys.argv[4])))
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main()
