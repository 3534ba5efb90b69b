"""What a change of an account's quota needs to know: the size of the mailbox now."""

import msgspec

from postroom.accounts import commands as accounts
from postroom.accounts.quotas import SetQuota
from postroom.api.context import RequestContext
from postroom.errors import MailUnavailable, Refused


async def with_size(context: RequestContext, id_: int, user_id: str | None, quota: SetQuota) -> SetQuota:
    """The change with the size of the mailbox, so that Postfix knows by the answer whether the
    mailbox is full. Without the size if Dovecot does not answer: the worker then asks later. Raises
    not_found before Dovecot is asked about a foreign account."""
    if not quota.is_given:
        return quota
    await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
    try:
        return msgspec.structs.replace(quota, size=await context.services.mailboxes.count(id_))
    except (MailUnavailable, Refused):
        return quota
