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
# Topmost header field of mail in a hidden account: the address that the message was sent to.
RECIPIENT_HEADER = "X-Postroom-Recipient"
# Header field with which our milter tells opendkim the domain that signs a reply. No sent message
# has this field.
SIGNING_HEADER = "X-Postroom-Signing-Domain"


# Protocols whose login names end in `.<protocol>.INTERNAL_DOMAIN`, so that sessions of one protocol
# can be ended (decision 0260). The login names of submission are without a protocol.
SESSION_PROTOCOLS = ("imap", "pop3", "sieve")


def login_name(account_id: int, generation: int) -> str:
    """Returns the login name of submission. A reset or a suspension starts a new generation."""
    return f"{account_id}@{generation}.{INTERNAL_DOMAIN}"


def login_mask(account_id: int, generation: int) -> str:
    """Returns a pattern for all login names of a generation."""
    return f"{account_id}@{generation}.*{INTERNAL_DOMAIN}"


def login_masks(
    account_id: int, generation: int, credential_id: int | None = None, protocol: str | None = None
) -> list[str]:
    """Returns patterns for the login names of a generation: of all passwords, of one app password,
    which keeps its number in every generation, of the main password (0), or of one protocol."""
    if protocol is not None:
        return [f"{account_id}@{generation}.*{protocol}.{INTERNAL_DOMAIN}"]
    if credential_id is None:
        return [login_mask(account_id, generation)]
    if credential_id == 0:
        return [f"{account_id}@{generation}.{name}.{INTERNAL_DOMAIN}" for name in SESSION_PROTOCOLS]
    return [f"{account_id}@*.c{credential_id}.*{INTERNAL_DOMAIN}"]


def every_login(account_id: int) -> str:
    """Returns a pattern for all login names of an account."""
    return f"{account_id}@*.{INTERNAL_DOMAIN}"


def inbox_name(account_id: int) -> str:
    """Returns the recipient for mail that goes to an account's INBOX, past its Sieve script."""
    return f"{account_id}@{INBOX_DOMAIN}"


def delivery_name(account_id: int) -> str:
    """Returns the recipient for mail to an account."""
    return f"{account_id}@{INTERNAL_DOMAIN}"
