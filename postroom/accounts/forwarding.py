"""Forwarding: every message to an account also goes to other addresses, or only to these."""

import re

import msgspec

from postroom.accounts import account_events, delivery_rules, delivery_scripts
from postroom.accounts import commands as accounts
from postroom.accounts.delivery_rules import Forwarding
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.address import LONGEST_LOCAL_PART, Address, BadAddress, parse_host, refused_domain
from postroom.db import Tx
from postroom.errors import FieldError, invalid

MOST_TARGETS = 10

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
# RFC 5321 4.1.2 without quoting and address literals.
_LOCAL_PART = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")


def parse_target(text: str) -> str:
    """Returns the address to forward to: as it was written, with the domain in its canonical
    spelling. Raises BadAddress."""
    local_part, _, domain = text.rpartition("@")
    if len(local_part) > LONGEST_LOCAL_PART or not _LOCAL_PART.fullmatch(local_part):
        raise BadAddress("invalid_address", "An address must have the form local_part@domain, in ASCII.")
    domain = parse_host(domain)
    if refused_domain(domain, own_hostname=""):
        raise BadAddress("invalid_domain", "Nobody owns this domain: send an address on the Internet.")
    return str(Address(local_part, domain))


def get(tx: Tx, actor: Actor, id_: int, user_id: str | None) -> tuple[Account, Forwarding]:
    """Raises not_found."""
    account = accounts.get(tx, actor, id_, user_id)
    return account, delivery_rules.forwarding(tx, account.id)


def put(tx: Tx, actor: Actor, id_: int, user_id: str | None, wanted: Forwarding) -> tuple[Account, Forwarding]:
    """Replaces the rule, which is in force for the next message from the commit on. The same rule
    again changes nothing. Raises not_found, and `invalid_request` for the account's own address."""
    account = accounts.lock(tx, actor, id_, user_id)
    own = delivery_scripts.addresses_of(tx, account)
    if any(_untagged(target) in own for target in wanted.to):
        message = "An account cannot forward to its own address: use keep_copy to keep the mail."
        raise invalid(FieldError("to", "invalid", message))
    old = delivery_rules.forwarding(tx, account.id)
    new = msgspec.structs.replace(wanted, updated_at=tx.now)
    if _shown(old) == _shown(new):
        return account, old
    delivery_rules.set_forwarding(tx, account.id, new)
    delivery_scripts.refresh(tx, account)
    account_events.record(tx, actor, "account.forwarding_changed", account, old=_shown(old), new=_shown(new))
    return account, new


def _shown(rule: Forwarding) -> dict[str, object]:
    return {"enabled": rule.enabled, "to": list(rule.to), "keep_copy": rule.keep_copy}


def _untagged(target: str) -> str:
    local_part, _, domain = target.rpartition("@")
    return f"{local_part.partition('+')[0].lower()}@{domain}"
