"""Sent counts: to how many recipients an account has written in this hour and this day (UTC), and
whether it may write to more.

`count` is the one rule for every way to send: submission, Sieve scripts, and mail sent over HTTP.
What is refused is not counted, because the refusal ends the transaction; `full_periods.note` then
records it in another one. A row counts an hour and its day (decision 0279).
"""

from collections.abc import Collection
from typing import NoReturn

import msgspec

from postroom.accounts import known_recipients
from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.db import Tx
from postroom.tenants import limits
from postroom.tenants.limits import Limits
from postroom.tenants.send_limits import SendLimits, narrowest

HOUR_MS = 3600 * 1000
SUM = 0
Whose = dict[str, int | str]

GET_ACCOUNT = f"SELECT {COLUMNS} FROM accounts WHERE id = :id AND deleted_at IS NULL"
# A count of a later hour stays: the clock of another node may be ahead.
COUNT = """
INSERT INTO sent_counts (organization_id, user_id, account_id, hour, in_hour, in_day)
VALUES (:organization, :user_id, :account_id, :hour, :recipients, :recipients)
ON CONFLICT (organization_id, user_id, account_id) DO UPDATE SET
  in_hour = excluded.in_hour + CASE WHEN sent_counts.hour >= excluded.hour THEN sent_counts.in_hour ELSE 0 END,
  in_day = excluded.in_day + CASE WHEN sent_counts.hour / 24 >= excluded.hour / 24 THEN sent_counts.in_day ELSE 0 END,
  hour = CASE WHEN sent_counts.hour > excluded.hour THEN sent_counts.hour ELSE excluded.hour END
RETURNING hour, in_hour, in_day"""
GET = """
SELECT hour, in_hour, in_day FROM sent_counts
WHERE organization_id = :organization AND user_id = :user_id AND account_id = :account_id"""
ERASE = """
DELETE FROM sent_counts WHERE organization_id = :organization AND user_id = :user_id AND account_id = :account_id"""

# What a limit counts, and its period in hours; the name of a sum begins with `total_`.
PERIODS = {
    "recipients_per_hour": ("recipients an hour", 1),
    "recipients_per_day": ("recipients a day", 24),
    "new_recipients_per_day": ("new recipients a day", 24),
}


# The limits that a single message can exceed.
AT_ONCE = {
    "recipients_per_message": "a message",
    "recipients_per_hour": "an hour",
    "recipients_per_day": "a day",
}


class NotSent(Exception):
    """The account may not send this message. The text is a sentence for its sender."""


class TooManyRecipients(NotSent):
    """The message has more recipients than `limit`, which is called `name`: it can never be sent as
    it is."""

    def __init__(self, name: str, limit: int, text: str) -> None:
        super().__init__(text)
        self.name, self.limit = name, limit


class SendLimitReached(NotSent):
    """A limit of an hour or a day is reached. The message may be sent when the period is over, at
    `next_at` (milliseconds since 1970 UTC)."""

    def __init__(self, account: Account, name: str, number: int, hour: int, *, is_own: bool) -> None:
        what, hours = PERIODS[name.removeprefix("total_")]
        whose = " of all accounts" if name.startswith("total_") else ""
        self.account, self.name, self.number, self.is_own = account, name, number, is_own
        self.period = hour // hours
        self.next_at = (self.period + 1) * hours * HOUR_MS
        clock = self.next_at // HOUR_MS % 24
        super().__init__(f"Sending limit{whose}: {number} {what}, next at {clock:02}:00 UTC")


class Sent(msgspec.Struct, frozen=True):
    """What an account has sent. `limits` are those that apply to it."""

    recipients_this_hour: int
    recipients_today: int
    new_recipients_today: int
    limits: SendLimits


def count(tx: Tx, account_id: int, recipients: int, hashes: Collection[int], *, by_script: bool = False) -> None:
    """Counts a message to this many recipients before it is sent. `hashes` are the recipients'
    (known_recipients.digests); none for a reply, whose recipient has written first. Raises NotSent:
    then the transaction must be rolled back. `by_script`: a Sieve script sends the message."""
    row = tx.one(GET_ACCOUNT, id=account_id)
    if row is None:
        raise NotSent("This account does not exist")
    account = from_row(row)
    applying = limits.of_sending(tx, account.organization_id, account.user_id)
    each = narrowest(account.send_limits, *(one.send_limits for _, one in applying))
    _check(account, each, recipients)
    hour = _count_account(tx, account, each, recipients, is_own=not by_script)
    for user_id, one in applying:
        _count_sum(tx, account, user_id, one, recipients)
    known_recipients.remember(tx, account_id, hashes, hour // 24)
    most = each.new_recipients_per_day
    if most is not None and hashes and known_recipients.new(tx, account_id, hour // 24) > most:
        raise SendLimitReached(account, "new_recipients_per_day", most, hour, is_own=not by_script)


def check(tx: Tx, account: Account, recipients: int) -> None:
    """Raises NotSent if the account may not send at all, or not to so many recipients at once."""
    applying = limits.of_sending(tx, account.organization_id, account.user_id)
    _check(account, narrowest(account.send_limits, *(one.send_limits for _, one in applying)), recipients)


def get(tx: Tx, account: Account) -> Sent:
    """Returns what the account has sent."""
    applying = limits.of_sending(tx, account.organization_id, account.user_id)
    each = narrowest(account.send_limits, *(one.send_limits for _, one in applying))
    now = tx.now // HOUR_MS
    row = tx.one(GET, **_whose(account))
    hour, in_hour, in_day = row or (0, 0, 0)
    return Sent(
        in_hour if hour >= now else 0,
        in_day if hour // 24 >= now // 24 else 0,
        known_recipients.new(tx, account.id, max(hour, now) // 24),
        each,
    )


def erase(tx: Tx, account: Account) -> None:
    """Removes the counts of an account."""
    tx.run(ERASE, **_whose(account))


def _check(account: Account, each: SendLimits, recipients: int) -> None:
    """Raises NotSent if the message can never be sent as it is."""
    if not account.may_send:
        raise NotSent("This account may not send")
    if account.send_blocked_at is not None:
        raise NotSent("Sending is blocked: this account was at its sending limit for too long")
    for name, what in AT_ONCE.items():
        most = getattr(each, name)
        if most is not None and recipients > most:
            text = f"Sending limit: {most} recipients {what}, and this message has {recipients}"
            raise TooManyRecipients(name, most, text)


def _count_account(tx: Tx, account: Account, each: SendLimits, recipients: int, *, is_own: bool) -> int:
    """Counts the account's recipients. Returns the hour that they count for."""
    hour, in_hour, in_day = _count(tx, _whose(account), recipients)
    if each.recipients_per_day is not None and in_day > each.recipients_per_day:
        raise SendLimitReached(account, "recipients_per_day", each.recipients_per_day, hour, is_own=is_own)
    if each.recipients_per_hour is not None and in_hour > each.recipients_per_hour:
        raise SendLimitReached(account, "recipients_per_hour", each.recipients_per_hour, hour, is_own=is_own)
    return hour


def _count_sum(tx: Tx, account: Account, user_id: str, found: Limits, recipients: int) -> None:
    """Counts the recipients of all accounts of a user, or of the organization, if their sum has a
    limit."""
    total = found.send_limits_total
    if total.recipients_per_hour is None and total.recipients_per_day is None:
        return
    whose: Whose = {"organization": account.organization_id, "user_id": user_id, "account_id": SUM}
    hour, in_hour, in_day = _count(tx, whose, recipients)
    if total.recipients_per_day is not None and in_day > total.recipients_per_day:
        _refuse_sum(account, "total_recipients_per_day", total.recipients_per_day, hour)
    if total.recipients_per_hour is not None and in_hour > total.recipients_per_hour:
        _refuse_sum(account, "total_recipients_per_hour", total.recipients_per_hour, hour)


def _refuse_sum(account: Account, name: str, number: int, hour: int) -> NoReturn:
    raise SendLimitReached(account, name, number, hour, is_own=False)


def _count(tx: Tx, whose: Whose, recipients: int) -> tuple[int, int, int]:
    row = tx.one(COUNT, **whose, hour=tx.now // HOUR_MS, recipients=recipients)
    if row is None:
        raise LookupError("a count that returned no row")
    return row[0], row[1], row[2]


def _whose(account: Account) -> Whose:
    return {"organization": account.organization_id, "user_id": account.user_id, "account_id": account.id}
