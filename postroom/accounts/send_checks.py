"""Whether an account may send a message over HTTP, with the code of the refusal. The milter decides
again when it takes the message (milter/outgoing.py)."""

from postroom.accounts import commands as accounts
from postroom.accounts import senders, sent_counts
from postroom.accounts.model import Account
from postroom.accounts.sent_counts import NotSent, TooManyRecipients
from postroom.actor import Actor
from postroom.address import Address, BadAddress
from postroom.db import Tx
from postroom.errors import FieldError, LimitReached, Refused, invalid

STATUSES = {
    "suspended": ("account_suspended", "A suspended account sends nothing: make it active first."),
    "disabled": ("account_disabled", "A disabled account sends nothing: make it active first."),
}


def check(tx: Tx, actor: Actor, id_: int, user_id: str | None, sender: str | None, recipients: int) -> Account:
    """Returns the account. `sender` is the address in From; None: the account's own. Raises
    `not_found`, and a Refused that says why the account may not send this."""
    account = accounts.get(tx, actor, id_, user_id)
    if account.status in STATUSES:
        raise Refused(*STATUSES[account.status])
    try:
        sent_counts.check(tx, account, recipients)
    except TooManyRecipients as why:
        raise LimitReached(why.name, why.limit, "send it to fewer at a time, or have the limit raised") from None
    except NotSent as why:
        raise Refused("sending_off", f"{why}: PUT /v2/email-accounts/:id with may_send true changes that.") from None
    if not _may_use(tx, account, account.address):
        raise Refused("domain_not_active", "The account's domain is not active: it sends nothing.")
    if sender is not None and not _may_use(tx, account, sender):
        raise invalid(not_yours())
    return account


def not_yours() -> FieldError:
    message = (
        "Use an address of the account, or an alias of it that may send. "
        "The name beside it may show no other address of this server."
    )
    return FieldError("from", "not_yours", message)


def _may_use(tx: Tx, account: Account, text: str) -> bool:
    try:
        address: Address = senders.parse(text)
    except BadAddress:
        return False
    return senders.may_use(tx, senders.Account(account.id), address)
