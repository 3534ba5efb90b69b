"""The internal names of an account in the mail daemons. The views (schema/mail_views.sql) build the
same names.

Clients cannot send mail to these names: every listener refuses them.
"""

INTERNAL_DOMAIN = "acct.internal"
# Mail to <id>@INBOX_DOMAIN goes to the INBOX without running the account's Sieve script.
INBOX_DOMAIN = f"inbox.{INTERNAL_DOMAIN}"
# Header field with which the filter of this instance marks spam, as `X-Spam: Yes`. Mail that enters
# in any other way loses the field (decision 0248).
SPAM_HEADER = "X-Spam"
# Header field with which our milter tells opendkim the domain that signs a reply. No sent message
# has this field.
SIGNING_HEADER = "X-Postroom-Signing-Domain"


def login_name(account_id: int, generation: int) -> str:
    """Returns the login name of a session. A reset or a suspension starts a new generation."""
    return f"{account_id}@{generation}.{INTERNAL_DOMAIN}"


def login_mask(account_id: int, generation: int, credential_id: int | None = None) -> str:
    """Returns a pattern for the login names of a generation: of all passwords, or of one app
    password, which keeps its number in every generation."""
    if credential_id is None:
        return f"{account_id}@{generation}.*{INTERNAL_DOMAIN}"
    return f"{account_id}@*.c{credential_id}.{INTERNAL_DOMAIN}"


def every_login(account_id: int) -> str:
    """Returns a pattern for all login names of an account."""
    return f"{account_id}@*.{INTERNAL_DOMAIN}"


def inbox_name(account_id: int) -> str:
    """Returns the recipient for mail that goes to an account's INBOX, past its Sieve script."""
    return f"{account_id}@{INBOX_DOMAIN}"


def delivery_name(account_id: int) -> str:
    """Returns the recipient for mail to an account."""
    return f"{account_id}@{INTERNAL_DOMAIN}"
