"""How many recipients an account has written to on each day, by what became of them.

sent_mail.py counts in the transaction that records a status: a recipient whose status changes moves
from one count to another. The counts name nobody and are kept longer than the recipients (decision
0300).
"""

from collections import Counter
from collections.abc import Mapping

import msgspec

from postroom.accounts import commands as accounts
from postroom.actor import Actor
from postroom.db import Tx

DAYS = 30
DAY_MS = 24 * 3600 * 1000
# Largest number of rows that one transaction deletes.
STEP = 500

MESSAGE = "SELECT account_id, sent_at FROM sent_messages WHERE id = :id"
COUNT = """
INSERT INTO sent_days (account_id, day, status, recipients) VALUES (:account_id, :day, :status, :recipients)
ON CONFLICT (account_id, day, status) DO UPDATE SET recipients = sent_days.recipients + excluded.recipients"""
READ = "SELECT day, status, recipients FROM sent_days WHERE account_id = :account_id AND day > :before"
FORGET = """
DELETE FROM sent_days WHERE (account_id, day, status) IN (
  SELECT account_id, day, status FROM sent_days WHERE day <= :before ORDER BY day LIMIT :limit) RETURNING day"""
ERASE = """
DELETE FROM sent_days WHERE (account_id, day, status) IN (
  SELECT account_id, day, status FROM sent_days WHERE account_id = :account_id LIMIT :limit) RETURNING day"""


class SentDay(msgspec.Struct, frozen=True):
    """The recipients to whom an account wrote on a day, which is in days since 1970 UTC."""

    day: int
    delivered: int
    delayed: int
    bounced: int


def count(tx: Tx, changes: Mapping[tuple[int, str], int]) -> None:
    """Adds to the counts: the keys are the id of a sent message and a status. Transactions of
    several workers lock the counts in the same order, so none waits for ever."""
    days: Counter[tuple[int, int, str]] = Counter()
    messages: dict[int, tuple[int, int]] = {}
    for (message, status), recipients in changes.items():
        if message not in messages:
            account_id, sent_at = tx.all(MESSAGE, id=message)[0]
            messages[message] = (account_id, sent_at // DAY_MS)
        days[*messages[message], status] += recipients
    for (account_id, day, status), recipients in sorted(days.items()):
        if recipients:
            tx.run(COUNT, account_id=account_id, day=day, status=status, recipients=recipients)


def read(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> list[SentDay]:
    """Returns the last DAYS days, the oldest first. Raises not_found."""
    account = accounts.get(tx, actor, id_, user_id)
    today = tx.now // DAY_MS
    rows = tx.all(READ, account_id=account.id, before=today - DAYS)
    found = {(day, status): recipients for day, status, recipients in rows}
    return [
        SentDay(day, *(found.get((day, status), 0) for status in ("delivered", "delayed", "bounced")))
        for day in range(today - DAYS + 1, today + 1)
    ]


def forget(tx: Tx) -> int:
    """Deletes counts that are older than DAYS days, at most STEP. Returns their number."""
    return len(tx.all(FORGET, before=tx.now // DAY_MS - DAYS, limit=STEP))


def erase(tx: Tx, account_id: int) -> int:
    """Deletes the counts of an account whose purge has begun, at most STEP. Returns their
    number."""
    return len(tx.all(ERASE, account_id=account_id, limit=STEP))
