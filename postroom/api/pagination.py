"""Paging: offset and limit as in the specification, and a keyset cursor in the `Link` header (RFC
8288)."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_from_bytes

from postroom.api.context import RequestContext
from postroom.db import Tx

T = TypeVar("T")

# Offset in rows. A larger offset makes the database walk the index, so the read runs outside the
# event loop.
DEEP = 1_000
# Rows. Reading and encoding more rows than this takes so long that it is done only once per
# iteration of the event loop.
MANY = 100


async def read_page(call: RequestContext, work: Callable[[Tx], T], *, limit: int, slow: bool) -> T:
    """A page, read in the way that delays other requests least."""
    database = call.services.database
    if slow:
        return await database.read_slow(work)
    return await (database.read_many(work) if limit > MANY else database.read(work))


def next_link(call: RequestContext, last_id: int, limit: int, cursor: str = "after") -> Mapping[bytes, bytes]:
    """The `Link` header that leads to the next page. `cursor` is the parameter that takes
    `last_id`."""
    kept = [pair for pair in call.query_text.split(b"&") if pair and pair.partition(b"=")[0] not in _PAGING]
    query = quote_from_bytes(b"&".join((*kept, b"limit=%d&%b=%d" % (limit, cursor.encode(), last_id))), safe="=&%+")
    return {b"link": f'<{quote(call.path_text)}?{query}>; rel="next"'.encode()}


_PAGING = {b"limit", b"offset", b"after", b"before_uid", b"after_uid"}
