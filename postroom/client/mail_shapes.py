"""The answers of the API about sent mail, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import date, datetime

from postroom.client.shape import Shape


class SentRecipient(Shape, frozen=True):
    """A recipient of a sent message, and the last that is known of its delivery."""

    id: int
    message_id: str
    recipient: str
    status: str
    smtp_code: int | None
    enhanced_code: str
    reason: str | None
    sent_at: datetime
    status_at: datetime


class SentDay(Shape, frozen=True):
    """How many recipients an account wrote to on a day in UTC, by what became of them."""

    day: date
    delivered: int
    delayed: int
    bounced: int


class SentDays(Shape, frozen=True):
    """The last 30 days, the oldest first."""

    items: list[SentDay]
