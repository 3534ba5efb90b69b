"""The actor of a request: the organization, the scopes of the key, and facts for the audit log."""

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
    "credentials:write",
    "sent:read",
    "webhooks:read",
    "webhooks:write",
    "messages:read",
    "messages:write",
    "messages:send",
)
# The scope of the routes of the owner's page. No key has it, and the page's sessions have no other.
OWNER_SCOPE = "owner"
# Scopes that a key has only if they were asked for by name (decision 0250).
BY_NAME = frozenset({"credentials:write", "messages:read", "messages:write", "messages:send"})
DEFAULT_SCOPES = tuple(scope for scope in ALL_SCOPES if scope not in BY_NAME)


class Actor(msgspec.Struct, frozen=True):
    """The actor of one request. The operator, Postroom itself and the owner of an account have no
    key."""

    organization_id: int
    scopes: frozenset[str] = frozenset(ALL_SCOPES)
    user_id: str | None = None  # the user that the key is bound to
    key_id: int | None = None
    root_id: int | None = None  # the oldest ancestor of the key, or the key itself; they share one limit of calls
    restricted_key_id: int | None = None  # the key, if it is bound to domains: it sees no other domains
    request_id: str | None = None
    client_address: str | None = None
    account_id: int | None = None  # the account whose owner asks, on the owner's page
    session_id: int | None = None  # the owner's session
    token_id: int | None = None  # the mail token that stands for the key, and opens only its accounts
