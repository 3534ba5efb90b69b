"""Paging: offset and limit as the specification has them, and a keyset cursor in the `Link`
header (RFC 8288)."""

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, quote_from_bytes

from postroom.api.context import RequestContext
from postroom.db import Tx

T = TypeVar("T")

# Past this an index still has to be walked, so it happens off the loop.
DEEP = 1_000
# Rows whose reading, showing and encoding takes long enough to be done once in a turn of the loop.
MANY = 100


async def read_page(call: RequestContext, work: Callable[[Tx], T], *, limit: int, slow: bool) -> T:
    """A page, read in the way that holds up others least."""
    database = call.services.database
    if slow:
        return await database.read_slow(work)
    return await (database.read_many(work) if limit > MANY else database.read(work))


def next_link(call: RequestContext, last_id: int, limit: int) -> Mapping[bytes, bytes]:
    """The header that leads to the page after this one."""
    kept = [pair for pair in call.query_text.split(b"&") if pair and pair.partition(b"=")[0] not in _PAGING]
    query = quote_from_bytes(b"&".join((*kept, b"limit=%d&after=%d" % (limit, last_id))), safe="=&%+")
    return {b"link": f'<{quote(call.path_text)}?{query}>; rel="next"'.encode()}


_PAGING = {b"limit", b"offset", b"after"}
