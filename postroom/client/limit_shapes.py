"""The answers of the API about limits, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from postroom.client.shape import Shape


class SendLimits(Shape, frozen=True):
    """The limits of each account; None: no limit of this kind."""

    recipients_per_hour: int | None
    recipients_per_day: int | None
    new_recipients_per_day: int | None
    recipients_per_message: int | None


class SendTotals(Shape, frozen=True):
    """The limits of the sum over all accounts; None: no limit."""

    recipients_per_hour: int | None
    recipients_per_day: int | None


class Sent(Shape, frozen=True):
    """What an account has sent. `limits` are those that apply to it."""

    recipients_this_hour: int
    recipients_today: int
    new_recipients_today: int
    limits: SendLimits


class LimitNumbers(Shape, frozen=True):
    """The limits of a user or an organization; None means no limit. `quota_bytes` is the quota of
    accounts that are made without one, `storage_bytes` the largest sum of all quotas. `send_limits`
    is for each account, `send_limits_total` for all accounts together."""

    domains: int | None
    accounts: int | None
    accounts_per_domain: int | None
    aliases_per_account: int | None
    quota_bytes: int | None
    storage_bytes: int | None
    send_limits: SendLimits
    send_limits_total: SendTotals


class Limits(Shape, frozen=True):
    """The limits of a user or of an organization; None means no limit."""

    user_id: str | None
    limits: LimitNumbers
