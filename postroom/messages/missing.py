"""Errors for what an account does not have. The text of the answer is the route's
(api/problems.py); the field says which of the things that it names is missing."""

from postroom.errors import FieldError, Refused, not_found


def no_mailbox() -> Refused:
    """The account has no mailbox with the name that was sent."""
    return not_found(FieldError("mailbox", "unknown", "The account has no such mailbox."))


def no_message(field: str = "message_id") -> Refused:
    """The mailbox has no message with the number that was sent in `field`."""
    return not_found(FieldError(field, "unknown", "The mailbox has no such message."))


def no_attachment() -> Refused:
    """The message has no part with the number that was sent."""
    return not_found(FieldError("part", "unknown", "The message has no such attachment."))
