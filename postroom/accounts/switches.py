"""Switches: which protocols an account can be used with, and whether its main password is valid.

A protocol that is off is off for every password. `main_password` leaves app passwords alone. The
sessions of what is switched off end, and no others: the login name carries the protocol (decision
0260).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from postroom.accounts import account_events
from postroom.accounts.model import Account
from postroom.accounts.protocols import PROTOCOLS, closed
from postroom.actor import Actor
from postroom.db import Tx
from postroom.mailboxes import session_revocations
from postroom.mailboxes.session_revocations import MAIN_PASSWORD, Ended

SET = """
UPDATE accounts SET protocols_off = :protocols_off, main_password = :main_password, updated_at = :now
WHERE id = :id AND organization_id = :organization"""
# Postfix asks before each message whether a session is still valid (the view mail_sessions), so no
# session of submission has to be ended.
KICKED = ("imap", "pop3", "sieve")


class SetSwitches(msgspec.Struct, frozen=True):
    """The switches to change; a protocol that is absent, and UNSET, stay as they are."""

    protocols: Mapping[str, bool] = {}
    main_password: bool | UnsetType = UNSET

    def columns(self, off: str = "", is_main: bool = True) -> dict[str, Any]:
        """Returns both columns of an account after the change, by those before it."""
        names = closed(off)
        return {
            "protocols_off": ",".join(name for name in PROTOCOLS if not self.protocols.get(name, name not in names)),
            "main_password": int(is_main if self.main_password is UNSET else self.main_password),
        }


def change(tx: Tx, actor: Actor, account: Account, command: SetSwitches) -> tuple[Account, list[Ended]]:
    """Changes the switches of an account that this transaction has locked. Returns the account and
    the sessions that must end. Values that are already set change nothing."""
    columns = command.columns(account.protocols_off, account.main_password)
    off, is_main = columns["protocols_off"], columns["main_password"] == 1
    new = msgspec.structs.replace(account, protocols_off=off, main_password=is_main)
    if new == account:
        return account, []
    tx.run(SET, id=account.id, organization=account.organization_id, now=tx.now, **columns)
    was, now = ({"protocols": asdict(one.protocols), "main_password": one.main_password} for one in (account, new))
    changed = {name: value for name, value in now.items() if value != was[name]}
    account_events.record(tx, actor, "account.updated", account, changed=list(changed), **changed)
    for allowed in _sessions(account, closed(account.protocols_off) - closed(off), is_main > account.main_password):
        session_revocations.cancel(tx, allowed)
    closing, is_ended = closed(off) - closed(account.protocols_off), is_main < account.main_password
    has_sessions = account.status == "active" and (is_ended or bool(closing))
    new = msgspec.structs.replace(new, updated_at=tx.now, sessions_ended=has_sessions or None)
    ended = _sessions(account, closing, is_ended) if has_sessions else ()
    return new, [session_revocations.end(tx, *one) for one in ended]


def _sessions(account: Account, protocols: frozenset[str], is_main: bool) -> Iterator[Ended]:
    """The sessions of these protocols, and with `is_main` those of the main password."""
    for name in KICKED:
        if name in protocols:
            yield Ended(account.id, account.generation, protocol=name)
    if is_main:
        yield Ended(account.id, account.generation, MAIN_PASSWORD)
