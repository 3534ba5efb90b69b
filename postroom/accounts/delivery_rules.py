"""What happens to mail that comes to an account: the rules that its platform has set. An account
without a row has the defaults."""

import msgspec

from postroom.db import Tx

FORWARDING = "SELECT enabled, targets, keep_copy, updated_at FROM forwardings WHERE account_id = :id"
SET_FORWARDING = """
INSERT INTO forwardings (account_id, enabled, targets, keep_copy, updated_at)
VALUES (:id, :enabled, :targets, :keep_copy, :now)
ON CONFLICT (account_id) DO UPDATE SET enabled = excluded.enabled, targets = excluded.targets,
  keep_copy = excluded.keep_copy, updated_at = excluded.updated_at"""
VACATION = """
SELECT enabled, subject, message, from_at, until_at, days, updated_at FROM vacations WHERE account_id = :id"""
SET_VACATION = """
INSERT INTO vacations (account_id, enabled, subject, message, from_at, until_at, days, updated_at)
VALUES (:id, :enabled, :subject, :message, :from_at, :until_at, :days, :now)
ON CONFLICT (account_id) DO UPDATE SET enabled = excluded.enabled, subject = excluded.subject,
  message = excluded.message, from_at = excluded.from_at, until_at = excluded.until_at, days = excluded.days,
  updated_at = excluded.updated_at"""
ERASE_FORWARDING = "DELETE FROM forwardings WHERE account_id = :id"
ERASE_VACATION = "DELETE FROM vacations WHERE account_id = :id"


class Forwarding(msgspec.Struct, frozen=True):
    """To whom mail is forwarded, and whether a copy stays in the mailbox."""

    enabled: bool = False
    to: tuple[str, ...] = ()
    keep_copy: bool = True
    updated_at: int | None = None


class Vacation(msgspec.Struct, frozen=True):
    """A reply to mail, at most one in `days` days to each sender. Without a subject, the reply has
    that of the message. Times are in milliseconds since 1970 UTC; None means no bound."""

    enabled: bool = False
    subject: str | None = None
    text: str = ""
    from_at: int | None = None
    until_at: int | None = None
    days: int = 7
    updated_at: int | None = None

    def is_active(self, now: int) -> bool:
        """Whether mail is replied to at this time."""
        begun = self.from_at is None or self.from_at <= now
        return self.enabled and begun and (self.until_at is None or now < self.until_at)


def forwarding(tx: Tx, account_id: int) -> Forwarding:
    row = tx.one(FORWARDING, id=account_id)
    if row is None:
        return Forwarding()
    enabled, targets, keep_copy, updated_at = row
    return Forwarding(enabled == 1, tuple(targets.split()), keep_copy == 1, updated_at)


def vacation(tx: Tx, account_id: int) -> Vacation:
    row = tx.one(VACATION, id=account_id)
    return Vacation(row[0] == 1, *row[1:]) if row else Vacation()


def set_forwarding(tx: Tx, account_id: int, rule: Forwarding) -> None:
    flags = {"enabled": int(rule.enabled), "keep_copy": int(rule.keep_copy)}
    tx.run(SET_FORWARDING, id=account_id, targets="\n".join(rule.to), **flags, now=tx.now)


def set_vacation(tx: Tx, account_id: int, rule: Vacation) -> None:
    text = {"subject": rule.subject, "message": rule.text, "days": rule.days}
    window = {"from_at": rule.from_at, "until_at": rule.until_at}
    tx.run(SET_VACATION, id=account_id, enabled=int(rule.enabled), **text, **window, now=tx.now)


def erase(tx: Tx, account_id: int) -> None:
    """Deletes both rules, because a purge erases personal data."""
    tx.run(ERASE_FORWARDING, id=account_id)
    tx.run(ERASE_VACATION, id=account_id)
