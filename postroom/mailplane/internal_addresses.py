"""The names by which the mail daemons know an account; the views (schema/mail_views.sql) make the
same ones.

Neither is an address that mail can be sent to. They are refused on every listener.
"""

INTERNAL_DOMAIN = "acct.internal"
# <id>@INBOX_DOMAIN is delivered to the INBOX, past the account's Sieve script.
INBOX_DOMAIN = f"inbox.{INTERNAL_DOMAIN}"
# Between our milter and opendkim: the domain that signs a reply. It leaves in no message.
SIGNING_HEADER = "X-Postroom-Signing-Domain"


def login_name(account_id: int, generation: int) -> str:
    """Who a session has logged in as. A reset or a suspension starts a new generation."""
    return f"{account_id}@{generation}.{INTERNAL_DOMAIN}"


def every_login(account_id: int) -> str:
    """Every login name of an account, for commands that take a pattern."""
    return f"{account_id}@*.{INTERNAL_DOMAIN}"


def inbox_name(account_id: int) -> str:
    """Where mail for an account's INBOX is delivered, past its Sieve script."""
    return f"{account_id}@{INBOX_DOMAIN}"


def delivery_name(account_id: int) -> str:
    """Where mail for an account is delivered."""
    return f"{account_id}@{INTERNAL_DOMAIN}"
