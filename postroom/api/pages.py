"""Paging: offset and limit as the specification has them, and a keyset cursor in the `Link` header (RFC 8288)."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, urlencode

from postroom.api.call import Call

# Past this an index still has to be walked, so it happens off the loop.
DEEP = 1_000


def next_link(call: Call, last_id: int, limit: int) -> Mapping[bytes, bytes]:
    """The header that leads to the page after this one."""
    kept = [(k, v) for k, v in parse_qsl(call.query_text.decode("ascii", "ignore")) if k not in _PAGING]
    query = urlencode([*kept, ("limit", limit), ("after", last_id)])
    return {b"link": f'<{quote(call.path_text)}?{query}>; rel="next"'.encode()}


_PAGING = {"limit", "offset", "after"}
