"""The endpoints that change the messages of an account: flags, the mailbox, and deletions.

Dovecot carries out a change before the transaction that records the event and keeps the answer
(decision 0332).
"""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import account_events
from postroom.accounts import commands as accounts
from postroom.accounts.model import Account
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.endpoints.messages import REFUSES, check_text
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_MESSAGE
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import FieldError, Refused
from postroom.messages.edits import FLAGS, Edit
from postroom.messages.message_ids import MessageId, message_id_of
from postroom.messages.shown import INBOX
from postroom.parameters import MailboxName, MessageFlags, MessageIds, MoveTo, PurgeMessages, UserId

MOST_IDS = 500

SomeIds = Annotated[MessageIds[list[str]], Meta(min_length=1, max_length=MOST_IDS)]


Flag = Annotated[bool, Meta(description="True sets the flag, false removes it.", examples=[True])]


class EditQuery(msgspec.Struct, frozen=True):
    mailbox: MailboxName = INBOX
    user_id: UserId | UnsetType = UNSET


class FlagsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The flags to set (true) or to remove (false); absent ones stay as they are."""

    seen: Flag | UnsetType = UNSET
    flagged: Flag | UnsetType = UNSET
    answered: Flag | UnsetType = UNSET


class UpdateMessageBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"move_to": "mailbox"}):
    flags: MessageFlags[FlagsBody] | UnsetType = UNSET
    move_to: MoveTo | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET


class DeleteQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class DeleteMessagesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ids: SomeIds
    mailbox: MailboxName = INBOX
    purge: PurgeMessages = False
    user_id: UserId | UnsetType = UNSET


class EditedMessage(msgspec.Struct, frozen=True):
    """A message after a change."""

    id: str
    mailbox: str
    flags: tuple[str, ...]


class EditedMessageAnswer(msgspec.Struct, frozen=True):
    message: EditedMessage


class DeletedMessage(msgspec.Struct, frozen=True):
    """A message that was deleted, and its id in the Trash, or null."""

    id: str
    new_id: str | None


class DeletedMessagesAnswer(msgspec.Struct, frozen=True):
    """`mailbox` is where the deleted messages are now, or null."""

    mailbox: str | None
    deleted: list[DeletedMessage]
    not_found: list[str]


@route(
    "PUT",
    "/v2/email-accounts/:id/messages/:message_id",
    "messages:write",
    "Update message",
    EditedMessageAnswer,
    missing=NO_MESSAGE,
    refuses=REFUSES,
)
async def update(context: RequestContext, query: EditQuery, body: UpdateMessageBody) -> Result:
    """Sets or removes flags of a message, and moves it to another mailbox, in which it has another
    id. The query's `mailbox` is where the message is, that of the body where it shall be."""
    problems = text_problems(query.user_id, body.user_id)
    check_text(query.mailbox, "mailbox", problems)
    wanted = _edit(body, problems)
    raise_if_any(problems)
    account = await _account(context, query.user_id, body.user_id)
    id_ = message_id_of(context.path["message_id"])
    found = await context.services.messages.edit(account.id, query.mailbox, id_, wanted)

    def work(tx: Tx) -> Result:
        if found.is_changed:
            account_events.record(tx, context.actor, "message.updated", account, moved=found.id != id_)
        return Result(EditedMessageAnswer(EditedMessage(str(found.id), found.mailbox, found.flags)))

    return await context.write(work)


@route(
    "POST",
    "/v2/email-accounts/:id/messages/delete",
    "messages:write",
    "Delete messages",
    DeletedMessagesAnswer,
    missing=NO_MESSAGE,
    refuses=REFUSES,
)
async def delete(context: RequestContext, query: DeleteQuery, body: DeleteMessagesBody) -> Result:
    """Moves up to 500 messages of a mailbox to the Trash, or erases them with `purge`. Messages
    that are not in the mailbox are listed, and are no error."""
    problems = text_problems(query.user_id, body.user_id)
    check_text(body.mailbox, "mailbox", problems)
    sent = _ids(body.ids, problems)
    raise_if_any(problems)
    account = await _account(context, query.user_id, body.user_id)
    found = await context.services.messages.delete(account.id, body.mailbox, tuple(sent), body.purge)
    missing = {sent[id_] for id_ in found.missing}

    def work(tx: Tx) -> Result:
        if found.changed:
            more = {"messages": found.changed, "purged": body.purge}
            account_events.record(tx, context.actor, "message.deleted", account, **more)
        deleted = [DeletedMessage(str(old), None if new is None else str(new)) for old, new in found.deleted.items()]
        not_found = [text for text in dict.fromkeys(body.ids) if text in missing]
        return Result(DeletedMessagesAnswer(found.mailbox, deleted, not_found))

    return await context.write(work)


async def _account(context: RequestContext, *sent_users: str | UnsetType) -> Account:
    """Raises not_found."""
    id_, user_id = path_id(context), resolve_user(context.actor, *sent_users)
    return await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))


def _edit(body: UpdateMessageBody, problems: list[FieldError]) -> Edit:
    """The change that the body asks for. Any problems are added to `problems`."""
    sent = {} if body.flags is UNSET else {FLAGS[name]: getattr(body.flags, name) for name in FLAGS}
    flags = {name: is_set for name, is_set in sent.items() if is_set is not UNSET}
    target = None if body.move_to is UNSET else body.move_to
    if target is not None:
        check_text(target, "mailbox", problems)
    elif not flags:
        problems.append(FieldError("flags", "required", "Send flags, mailbox or both: there is nothing to change."))
    return Edit(flags, target)


def _ids(texts: list[str], problems: list[FieldError]) -> dict[MessageId, str]:
    """The ids and how they were sent. The first text that is no id is added to `problems`."""
    found: dict[MessageId, str] = {}
    for place, text in enumerate(texts):
        try:
            found[message_id_of(text)] = text
        except Refused:
            problems.append(FieldError(f"ids[{place}]", "invalid", "Use ids of messages, like 1796028450.33."))
            break
    return found
