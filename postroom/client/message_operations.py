"""The methods of both clients that read and send messages, one for each route (see operations.py).
What the reading ones return was written by strangers."""

from collections.abc import Mapping, Sequence

from postroom import parameters as p
from postroom.client import answers
from postroom.client import message_shapes as shapes
from postroom.client.methods import listing, operation
from postroom.client.new_attachment import NewAttachment
from postroom.client.request import Request, given
from postroom.client.shape import Page


class MessageOperations:
    """The operations on messages."""

    @operation("GET", "/v2/email-accounts/:id/mailboxes")
    def list_mailboxes(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[list[shapes.Mailbox]]:
        """Lists the mailboxes (folders) of an account, with the number of their messages."""
        return Request(answers.mailboxes, path={"id": id}, query=given(user_id=user_id))

    @listing("/v2/email-accounts/:id/messages")
    def list_messages(
        self,
        id: p.Id,
        *,
        mailbox: p.MailboxName | None = None,
        unseen: p.Unseen[bool] | None = None,
        from_: p.MessageFrom | None = None,
        to: p.MessageTo | None = None,
        subject: p.MessageSubject | None = None,
        since: p.MessageSince | None = None,
        until: p.MessageUntil | None = None,
        q: p.MessageQuery | None = None,
        before_uid: p.BeforeUid | None = None,
        after_uid: p.AfterUid | None = None,
        limit: p.Limit | None = None,
        user_id: p.UserId | None = None,
    ) -> Request[Page[shapes.ListedMessage]]:
        """Lists the messages of a mailbox, newest first, with the beginning of their text. With
        `after_uid` a page has the messages that come next."""
        query = given(mailbox=mailbox, to=to, subject=subject, since=since, until=until, q=q, user_id=user_id)
        query |= given(before_uid=before_uid, after_uid=after_uid, limit=limit) | given(**{"from": from_})
        query |= {"unseen": "true"} if unseen else {}
        return Request(answers.messages, path={"id": id}, query=query)

    @operation("POST", "/v2/email-accounts/:id/messages/send")
    def send_message(
        self,
        id: p.Id,
        to: p.DraftTo[Sequence[str]],
        *,
        subject: p.DraftSubject | None = None,
        text: p.DraftText | None = None,
        html: p.DraftHtml | None = None,
        cc: p.Cc[Sequence[str]] | None = None,
        bcc: p.Bcc[Sequence[str]] | None = None,
        from_: p.DraftFrom | None = None,
        reply_to: p.DraftReplyTo | None = None,
        attachments: p.DraftAttachments[Sequence[NewAttachment]] | None = None,
        headers: p.DraftHeaders[Mapping[str, str]] | None = None,
        in_reply_to_id: p.InReplyToId | None = None,
        in_reply_to_mailbox: p.InReplyToMailbox | None = None,
        save_sent: p.SaveSent | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.SentMessage]:
        """Sends a message in the name of the account, once, and returns when Postfix has it on its
        disk. A copy goes to the mailbox for sent mail."""
        body = given(to=to, subject=subject, text=text, html=html, reply_to=reply_to, headers=headers)
        body |= given(cc=cc, bcc=bcc, save_sent=save_sent, user_id=user_id)
        body |= given(in_reply_to_id=in_reply_to_id, in_reply_to_mailbox=in_reply_to_mailbox, **{"from": from_})
        body |= {"attachments": [one.body() for one in attachments]} if attachments else {}
        return Request(answers.sent_message, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/:id/messages/:message_id")
    def get_message(
        self,
        id: p.Id,
        message_id: p.MessageId,
        *,
        mailbox: p.MailboxName | None = None,
        user_id: p.UserId | None = None,
    ) -> Request[shapes.Message]:
        """Returns a message: its addresses, subject, texts and attachments. Reading a message does
        not mark it as read."""
        path: dict[str, str | int] = {"id": id, "message_id": message_id}
        return Request(answers.message, path=path, query=given(mailbox=mailbox, user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/messages/:message_id/raw")
    def get_raw_message(
        self,
        id: p.Id,
        message_id: p.MessageId,
        *,
        mailbox: p.MailboxName | None = None,
        user_id: p.UserId | None = None,
    ) -> Request[bytes]:
        """Returns a message byte for byte, as IMAP does."""
        path: dict[str, str | int] = {"id": id, "message_id": message_id}
        return Request(bytes, path=path, query=given(mailbox=mailbox, user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/messages/:message_id/attachments/:part")
    def get_attachment(
        self,
        id: p.Id,
        message_id: p.MessageId,
        part: p.AttachmentPart,
        *,
        mailbox: p.MailboxName | None = None,
        user_id: p.UserId | None = None,
    ) -> Request[bytes]:
        """Returns the content of an attachment, decoded."""
        path: dict[str, str | int] = {"id": id, "message_id": message_id, "part": part}
        return Request(bytes, path=path, query=given(mailbox=mailbox, user_id=user_id))
