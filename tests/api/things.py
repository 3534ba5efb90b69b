"""What the requests of tests/api/test_tenancy.py are about, and values that name it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MISSING_ID = 9**18
MISSING_DOMAIN = "nobody-has-this.test"


@dataclass
class Thing:
    """What a request is about: an account, its domain, a domain without accounts, a key for both
    domains and a deleted account; or ids and names that do not exist."""

    id: int
    domain: str
    empty: str
    key_id: int
    alias_id: int = MISSING_ID
    credential_id: int = MISSING_ID
    webhook_id: int = MISSING_ID
    deleted_id: int = MISSING_ID
    """A deleted account that can be restored."""
    maker_id: int = MISSING_ID
    """The key that made the account."""


NOTHING = Thing(MISSING_ID, MISSING_DOMAIN, MISSING_DOMAIN, MISSING_ID)

# The id that a route expects, by the noun in its path. A new noun needs a row here.
IDS: dict[str, Callable[[Thing], int]] = {
    "email-accounts": lambda t: t.id,
    "email-aliases": lambda t: t.alias_id,
    "keys": lambda t: t.key_id,
    "webhooks": lambda t: t.webhook_id,
    "domains": lambda t: 2,  # a cursor
    "events": lambda t: 2,
}
# Values of required fields. A new required field needs a row here.
FIELDS: dict[str, Callable[[Thing], Any]] = {
    "account_ids": lambda t: [t.id],
    "address": lambda t: f"private@{t.domain}",
    "name": lambda t: "hidden",
    "scopes": lambda t: ["imap"],
    "domain": lambda t: t.domain,
    "local_part": lambda t: "new",
    "forward_mode": lambda t: "store",
    "url": lambda t: "https://private.example/hook",
    "events": lambda t: ["account.*"],
    "subdomain": lambda t: f"shop.{t.domain}",
}
# Every parameter of a list that could name a foreign thing, made from the thing's id and local
# part. A new parameter needs a row here or in NAMES_NOTHING.
FILTERS: dict[str, Callable[[Thing, int, str], Any]] = {
    "user_id": lambda t, id_, local_part: "owner",
    "account_id": lambda t, id_, local_part: t.id,
    "key_id": lambda t, id_, local_part: t.maker_id,
    "domain": lambda t, id_, local_part: t.domain,
    "q": lambda t, id_, local_part: f"{local_part}@{t.domain}",
    "after": lambda t, id_, local_part: id_ - 1,
    "every_user": lambda t, id_, local_part: "true",
}
NAMES_NOTHING = {
    "kind",
    "status",
    "password_scheme",
    "order",
    "limit",
    "offset",
    "fields",
    "deleted",
    "type",
    "since",
    "until",
}
# Optional fields that cannot name a foreign thing. test_create_domain.py tests `organization_id`.
SAYS_HOW = {
    *("mailbox", "move_to", "token", "uidvalidity"),
    *(
        "user_id",
        "organization_id",
        "display_name",
        "name",
        "password",
        "password_hash",
        "credential",
        "expires_in",
        "allow_reserved",
        "status",
        "is_default",
    ),
    *("purge", "disable_scripts", "revoke_app_passwords", "scopes", "networks", "expires_at", "webhook_url"),
    *("webhook_secret", "former_days"),
    *("accounts", "accounts_per_domain", "to", "keep_copy", "text", "subject", "from_at", "until_at", "days"),
    *("quota_bytes", "quota_messages", "storage_bytes", "aliases_per_account", "may_send", "keep_former"),
    # delivery_id stands in place of failed: tests/webhooks/test_routes.py asks with a foreign one.
    *("description", "keep_webhooks", "after_event_id", "failed", "delivery_id"),
    *("cc", "bcc", "from_", "reply_to", "html", "attachments", "headers", "in_reply_to_id", "in_reply_to_mailbox"),
    "save_sent",
    *("protocols", "main_password", "send_limits", "send_limits_total", "send_blocked"),
}
