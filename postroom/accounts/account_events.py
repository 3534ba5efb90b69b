"""Events about an account. Each has the account's address and status at that time."""

from postroom import events
from postroom.accounts.model import Account
from postroom.actor import Actor
from postroom.db import Tx


def record(tx: Tx, actor: Actor, type_: str, account: Account, **more: object) -> None:
    """Records an event about the account; `more` is further data of the event. `by` tells an event
    of the owner's page from one of the operator, who has no key either."""
    if actor.account_id is not None:
        more["by"] = "owner"
    events.record(
        tx,
        actor,
        type_,
        account_id=account.id,
        domain_id=account.domain_id,
        user_id=account.user_id,
        data={"address": account.address, "status": account.status, **more},
    )
