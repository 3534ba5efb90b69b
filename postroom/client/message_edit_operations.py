"""The methods of both clients that change messages and follow changes, one for each route (see
operations.py)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from postroom import parameters as p
from postroom.client import answers
from postroom.client import message_shapes as shapes
from postroom.client.mailbox_change import MailboxChange
from postroom.client.methods import operation, streaming
from postroom.client.request import Request, given

MessageFlag = Literal["seen", "flagged", "answered"]


class MessageEditOperations:
    """The operations that change messages, and those that tell of changes."""

    @operation("PUT", "/v2/email-accounts/:id/messages/:message_id")
    def update_message(
        self,
        id: p.Id,
        message_id: p.MessageId,
        *,
        mailbox: p.MailboxName | None = None,
        flags: p.MessageFlags[Mapping[MessageFlag, bool]] | None = None,
        move_to: p.MoveTo | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.EditedMessage]:
        """Sets or removes flags of a message, and moves it to another mailbox, in which it has
        another id. `mailbox` is where it is now."""
        path: dict[str, str | int] = {"id": id, "message_id": message_id}
        body = given(flags=flags, mailbox=move_to, user_id=user_id)
        query = given(mailbox=mailbox)
        return Request(answers.edited_message, path=path, query=query, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/messages/delete")
    def delete_messages(
        self,
        id: p.Id,
        ids: p.MessageIds[Sequence[str]],
        *,
        mailbox: p.MailboxName | None = None,
        purge: p.PurgeMessages | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.DeletedMessages]:
        """Moves up to 500 messages of a mailbox to the Trash, or erases them with `purge`. Messages
        that are not in the mailbox are listed, and are no error."""
        body = given(ids=ids, mailbox=mailbox, purge=purge, user_id=user_id)
        return Request(answers.deleted_messages, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/messages/sync")
    def sync_mailbox(
        self,
        id: p.Id,
        *,
        mailbox: p.MailboxName | None = None,
        uidvalidity: p.UidValidity | None = None,
        token: p.SyncToken | None = None,
        user_id: p.UserId | None = None,
    ) -> Request[shapes.Synced]:
        """Tells which messages of a mailbox are new, changed or gone since the answer that had this
        token, up to 10,000 in a call: repeat it while there is `more`."""
        body = given(mailbox=mailbox, uidvalidity=uidvalidity, token=token, user_id=user_id)
        return Request(answers.synced, path={"id": id}, body=body)

    @streaming("/v2/email-accounts/:id/changes")
    def follow_changes(
        self, id: p.Id, *, last_event_id: p.LastEventId | None = None, user_id: p.UserId | None = None
    ) -> Request[MailboxChange]:
        """Tells of each change in the mailboxes of an account as it happens, without an end. The
        stream is opened again when it ends, and misses nothing."""
        query = given(last_event_id=last_event_id, user_id=user_id)
        return Request(answers.mailbox_change, path={"id": id}, query=query)
