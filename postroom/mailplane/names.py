"""The names by which the mail daemons know an account; the views (schema/mail_views.sql) make the same ones.

A stranger would get wrong: neither is an address that mail can be sent to. They are refused on every listener.
"""

INTERNAL_DOMAIN = "acct.internal"


def login_name(account_id: int, generation: int) -> str:
    """Who a session has logged in as. A reset or a suspension starts a new generation."""
    return f"{account_id}@{generation}.{INTERNAL_DOMAIN}"


def every_login(account_id: int) -> str:
    """All of an account's sessions, as a mask."""
    return f"{account_id}@*.{INTERNAL_DOMAIN}"
