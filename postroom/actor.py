"""Who asks: the organization, what the key may do, and what the audit log writes down of it."""

import msgspec

ALL_SCOPES = (
    "accounts:read",
    "accounts:write",
    "domains:read",
    "domains:write",
    "keys:read",
    "keys:write",
    "events:read",
    "stats:read",
    "metrics:read",
    "limits:write",
)


class Actor(msgspec.Struct, frozen=True):
    """The caller of one request. The operator and Postroom itself have no key."""

    organization_id: int
    scopes: frozenset[str] = frozenset(ALL_SCOPES)
    user_id: str | None = None  # the user that the key is bound to
    key_id: int | None = None
    root_id: int | None = None  # the key at the top of those that made this one, or itself: they share a limit of calls
    restricted_key_id: int | None = None  # the key, where it is bound to domains: no others exist then
    request_id: str | None = None
    client_address: str | None = None
