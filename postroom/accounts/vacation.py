"""Vacation: a reply to mail while the owner of an account is away (RFC 5230)."""

import msgspec

from postroom.accounts import account_events, delivery_rules, delivery_scripts
from postroom.accounts import commands as accounts
from postroom.accounts.delivery_rules import Vacation
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.db import Tx

LONGEST_TEXT = 16 * 1024  # octets of UTF-8
MOST_DAYS = 365


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> tuple[Account, Vacation]:
    """Raises not_found."""
    account = accounts.get(tx, actor, id_, user_id)
    return account, delivery_rules.vacation(tx, account.id)


def put(tx: Tx, actor: Actor, id_: int, user_id: str | None, wanted: Vacation) -> tuple[Account, Vacation]:
    """Replaces the rule, which is in force for the next message from the commit on. The same rule
    again changes nothing. Raises not_found."""
    account = accounts.lock(tx, actor, id_, user_id)
    old = delivery_rules.vacation(tx, account.id)
    new = msgspec.structs.replace(wanted, updated_at=old.updated_at)
    if old == new:
        return account, old
    new = msgspec.structs.replace(wanted, updated_at=tx.now)
    delivery_rules.set_vacation(tx, account.id, new)
    delivery_scripts.refresh(tx, account)
    changed = [name for name in Vacation.__struct_fields__[:-1] if getattr(old, name) != getattr(new, name)]
    account_events.record(tx, actor, "account.vacation_changed", account, changed=changed)
    return account, new
