"""Parameters and fields of requests that cannot name a thing of another tenant."""

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
    *(
        "user_id",
        "organization_id",
        "display_name",
        "name",
        "password",
        "password_hash",
        "allow_reserved",
        "status",
        "is_default",
    ),
    *("purge", "disable_scripts", "scopes", "networks", "expires_at", "webhook_url", "webhook_secret", "former_days"),
    *("accounts", "accounts_per_domain", "to", "keep_copy", "text", "subject", "from_at", "until_at", "days"),
    *("quota_bytes", "quota_messages", "storage_bytes", "aliases_per_account", "may_send", "keep_former"),
}
