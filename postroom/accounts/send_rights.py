"""Send rights: whether an account may send at all, and its own send limits.

The limits of its user and its organization apply too (tenants/limits.py). An account that was at a
limit for too long is blocked (accounts/full_periods.py); this module lifts the block.
"""

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from postroom.accounts import account_events, full_periods
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.db import Tx
from postroom.tenants.send_limits import SetSendLimits

SET = """
UPDATE accounts SET may_send = :may_send, recipients_per_hour = :recipients_per_hour,
  recipients_per_day = :recipients_per_day, new_recipients_per_day = :new_recipients_per_day,
  recipients_per_message = :recipients_per_message, send_blocked_at = :send_blocked_at, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
NAMES = ("may_send", "send_limits", "send_blocked_at")


class SetSendRights(msgspec.Struct, frozen=True):
    """The rights to change; UNSET leaves one as it is. `lifts_block` ends a block."""

    may_send: bool | UnsetType = UNSET
    send_limits: SetSendLimits = SetSendLimits()
    lifts_block: bool = False


def change(tx: Tx, actor: Actor, account: Account, command: SetSendRights) -> Account:
    """Changes the rights of an account that this transaction has locked. Returns the account.
    Values that are already set change nothing."""
    limits = command.send_limits.of(account.send_limits)
    may_send = account.may_send if command.may_send is UNSET else command.may_send
    blocked_at = None if command.lifts_block else account.send_blocked_at
    new = msgspec.structs.replace(account, may_send=may_send, send_blocked_at=blocked_at, **asdict(limits))
    if new == account:
        return account
    columns = {"may_send": int(may_send), "send_blocked_at": blocked_at, **asdict(limits)}
    tx.run(SET, id=account.id, organization=account.organization_id, now=tx.now, **columns)
    if blocked_at != account.send_blocked_at:
        full_periods.erase(tx, account.id)
    changed = [name for name in NAMES if getattr(new, name) != getattr(account, name)]
    account_events.record(tx, actor, "account.updated", account, changed=changed)
    return msgspec.structs.replace(new, updated_at=tx.now)
